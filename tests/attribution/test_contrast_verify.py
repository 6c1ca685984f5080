"""A contrast's paths cut for real, both ways: exact where the model is linear, in the right order where it is not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from interp.attribution import contrast, logit, path_tree, score, verify
from interp.errors import UsageError
from tests import models
from tests.attribution import planted
from tests.attribution.test_contrast_tree import INDUCTION, WITHOUT_MATCH

CLEAN, OTHER = models.tokens(1, 6), models.tokens(1, 6)
OTHER[0, 2] = (OTHER[0, 2] + 1) % models.D_VOCAB


def test_in_a_linear_model_a_path_changes_what_it_says():
    model = planted.inert()
    pair = contrast(model, torch.tensor([[1, 5, 2, 7, 0]]), torch.tensor([[1, 3, 2, 6, 4]]))
    result = verify(model, path_tree(pair, logit(model, 3), 200), 20)
    # Gains of 1e7 undo norms of 1e7: seven of sixteen digits are left of each step.
    np.testing.assert_allclose(result.actual, result.predicted, rtol=0, atol=1e-8 * np.abs(result.array).max() + 1e-12)
    assert len(result.array) == 20 and np.abs(result.array).min() > 1e-6


def test_the_induction_path_through_the_key_is_causal():
    model = planted.induction()
    result = verify(model, path_tree(contrast(model, INDUCTION, WITHOUT_MATCH), logit(model, 1), 100), 3)
    assert result.paths[0].startswith("L1H0.k") and result.baseline == "the counterfactual, both ways"
    assert result.actual[0] == pytest.approx(result.predicted[0], rel=0.01)
    assert abs(result.actual[0]) > 0.5


@pytest.mark.parametrize("name", models.NAMES)
def test_listed_paths_are_ranked_as_their_cuts(name):
    model = models.load(name, torch.float64)
    result = verify(model, path_tree(contrast(model, CLEAN, OTHER), logit(model, 3), 200), 20)
    assert result.correlation > result.by_chance
    # The control: the same predictions against the cuts of other paths.
    assert abs(np.corrcoef(result.predicted, np.roll(result.actual, 1))[0, 1]) < result.correlation


def test_refusals():
    model = models.load("llama", torch.float64)
    pair = contrast(model, CLEAN, OTHER)
    tree = path_tree(pair, logit(model, 3), 50)
    with pytest.raises(UsageError, match="cut by its own counterfactual"):
        verify(model, tree, baseline="zero")
    with pytest.raises(UsageError, match="grown on another model"):
        verify(models.load("llama", torch.float64, seed=5), tree)
    with pytest.raises(UsageError, match="paths of a contrast's score cannot be cut"):
        verify(model, path_tree(pair, score(pair, 1, 0, 3, 2), 20))
