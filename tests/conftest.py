"""What every test shares: fixed seeds, one thread a worker, and the model and data that cost time to get."""

from __future__ import annotations

import os
import random
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import numpy as np
import pytest

if TYPE_CHECKING:
    from interp import Model

# Two workers on two cores: more threads than cores make both slow. Set before anything imports torch.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
# On a busy machine a draw may take seconds, and that says nothing about the code.
hypothesis.settings.register_profile(
    "steady", deadline=None, derandomize=True, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("steady")
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


def _smollm2(dtype: str) -> Model:
    import interp
    from interp.model import smollm2

    if smollm2.gguf_file() is None:
        pytest.skip(f"the SmolLM2 weights are not installed: {smollm2.INSTALL}")
    return interp.load("smollm2", dtype=dtype)


@pytest.fixture(scope="session")
def smollm2() -> Model:
    """The real model in float32."""
    return _smollm2("float32")


@pytest.fixture(scope="session")
def smollm2_double() -> Model:
    """The real model in float64."""
    return _smollm2("float64")
