"""What every test shares: fixed seeds, one thread a worker, and the model and data that cost time to get."""

from __future__ import annotations

import os
import random
from pathlib import Path

import numpy as np
import pytest

# Two workers on two cores: more threads than cores make both slow. Set before anything imports torch.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"  # a test that would fetch something fails at once instead of waiting


@pytest.fixture(autouse=True)
def fixed_seeds() -> None:
    """Library code draws from explicit generators; this makes a slip the same slip on every run."""
    random.seed(0)
    np.random.seed(0)


@pytest.fixture(scope="session")
def test_data() -> Path:
    """The folder of larger data sets, which are not part of the project."""
    folder = os.environ.get("INTERP_TEST_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("INTERP_TEST_DATA names no folder with the larger data sets")
    return Path(folder)


# Models: session-scoped fixtures, loaded once a worker. They import torch inside, for the tests that need none.
