"""The studies at their own size reach the paper's and the theory's numbers; `make toys` runs them all."""

import math

import numpy as np
import pytest

from analyses.superposition import study
from interp.errors import UsageError

FAST = ("geometry", "phases", "correlation", "capacity", "closedforms")


@pytest.mark.parametrize("name", FAST)
def test_a_study_lies_in_its_bands(name):
    module = study(name)
    result = module.run(module.Config())
    assert result.checks
    assert result.passed, result.failures()


def test_absolute_values_are_computed_exactly():
    module = study("computation")
    # The crowded network is not what is asked here: one step of it.
    result = module.run(module.Config(features=8, neurons=4, density=(0.2,), steps=1))
    assert result.passed, result.failures()


def test_three_pairs_keep_apart_when_sparse_and_collapse_when_dense():
    module = study("collapse")
    result = module.run(module.Config(density=(0.03, 0.6)))
    assert result.passed, result.failures()


def test_an_untrained_study_fails_its_checks():
    module = study("geometry")
    result = module.run(module.Config(density=(0.5, 0.05), starts=1, steps=5))
    assert not result.passed
    assert "expected" in result.failures()


def test_other_seeds_reach_the_numbers_too():
    module = study("correlation")
    result = module.run(module.Config(seed=1))
    assert result.passed, result.failures()


def test_a_name_with_a_typo_raises_an_error_with_the_nearest():
    with pytest.raises(UsageError, match='no study "geometri"; the nearest is "geometry"'):
        study("geometri")


def test_checks_fail_on_nan_and_at_their_ends():
    from analyses.superposition.base import Check, extreme

    assert Check("c", "", 1.0, 1.0, 2.0).passed
    assert not Check("c", "", 0.999, 1.0, 2.0).passed
    assert not Check("c", "", math.nan, -math.inf, math.inf).passed
    assert extreme("c", "", np.array([]), 0, 1) == ()
    assert extreme("c", "", np.array([1.0, 3.0]), 0, 2, largest=True)[0].passed is False
