"""Paths cut for real: exact where the model is linear, informative on a real one, silent on shuffled pairs."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from interp.attribution import direction, freeze, logit, logit_difference, path_tree, score, verify
from interp.attribution.results import Verification
from interp.errors import UsageError
from interp.model.exact import NoSingle
from interp.statistics import rank_correlation
from tests import models
from tests.attribution import planted
from tests.attribution.test_paths import EIFFEL

IDS = models.tokens(1, 6)


@pytest.mark.parametrize("nodes", ["position", "component"])
@pytest.mark.parametrize(
    "baseline", ["mean", "zero", torch.tensor([[1, 2, 3, 4, 5, 6]])], ids=["mean", "zero", "prompt"]
)
def test_on_a_linear_model_the_prediction_is_what_happens(baseline, nodes):
    """Nothing in the planted model can move but the linear part, so bookkeeping and intervention are one."""
    model = planted.inert()
    frozen = freeze(model, torch.tensor([[7, 3, 1, 4, 6, 3]]))
    for target in (logit_difference(model, 2, 5), direction(model, torch.ones(40).cumsum(0) / 40, 0)):
        result = verify(model, path_tree(frozen, target, 100, nodes=nodes), 15, baseline=baseline)
        assert np.abs(result.predicted).max() > 1e-3
        # The norms' scales move by x²/eps < 1e-12 of themselves; the rest is rounding of hidden units near 100.
        np.testing.assert_allclose(result.actual, result.predicted, rtol=1e-9, atol=1e-11)
        felt = np.abs(result.predicted) > 1e-6  # uniform attention passes on no difference from a mean over positions
        assert rank_correlation(result.predicted[felt], result.actual[felt]) > 0.99


def test_on_a_real_network_it_is_not():
    """The control: with gates, norms and patterns free to move, prediction and effect differ."""
    model = models.load("gpt2", torch.float64)
    tree = path_tree(freeze(model, IDS), logit_difference(model, 3, 5), 200)
    result = verify(model, tree, 15, baseline="zero")
    assert np.abs(result.actual - result.predicted).max() > 0.1 * np.abs(result.predicted).max()
    np.testing.assert_allclose(result.predicted, -result.array, atol=1e-12)


@pytest.mark.parametrize("name", models.NAMES)
def test_the_actual_effect_is_that_of_the_models_own_final_norm(name):
    """A path of one write is cut where the model can cut it too: in the stream that reaches the final norm."""
    model = models.load(name, torch.float64)
    frozen = freeze(model, IDS)
    target = logit(model, 4)
    result = verify(model, path_tree(frozen, target, 50), 50, baseline="zero", frozen=frozen)
    row = result.paths.index(f"embed@{_place(frozen, 5)}")
    _, cache = model.run_with_cache(IDS, f"blocks.{model.spec.n_layer - 1}.hook_resid_post")
    stream = cache[f"blocks.{model.spec.n_layer - 1}.hook_resid_post"][0, -1]
    cut = torch.stack([stream, stream - frozen.writes[0, -1]])
    before, after = _readout(model, cut)[:, 4].tolist()
    assert result.actual[row] == pytest.approx(after - before, abs=1e-10)


def _place(frozen, position: int) -> str:
    same = frozen.labels.count(frozen.labels[position]) > 1
    return f"{frozen.labels[position]}.{position}" if same else frozen.labels[position]


def _readout(model, x: torch.Tensor) -> torch.Tensor:
    """The model's own norm, unembedding and softcap."""
    base = model.hf.transformer if hasattr(model.hf, "transformer") else getattr(model.hf, "gpt_neox", None)
    norm = base.ln_f if hasattr(base, "ln_f") else base.final_layer_norm if base is not None else model.hf.model.norm
    with NoSingle():  # as in the model's own forward pass
        logits = model.hf.get_output_embeddings()(norm(x))
    cap = model.spec.logit_softcap
    return logits if cap is None else cap * torch.tanh(logits / cap)


def test_a_score_can_be_verified_too():
    model = planted.induction()
    frozen = freeze(model, torch.tensor([[7, 3, 1, 4, 6, 3]]))
    result = verify(model, path_tree(frozen, score(frozen, 1, 0, 5, 2, side="key"), 100), 5, baseline="zero")
    assert result.paths[0].startswith("L0H0@1 <- embed@3.1")
    assert result.predicted[0] < -1
    assert result.actual[0] < 0.5 * result.predicted[0]


def test_equal_values_share_a_rank():
    assert rank_correlation(np.array([1.0, 2.0, 3.0]), np.array([10.0, 20.0, 90.0])) == pytest.approx(1)
    assert rank_correlation(np.array([1.0, 2.0, 3.0]), np.array([9.0, 8.0, 1.0])) == pytest.approx(-1)
    # By hand: ranks 1.5 1.5 3 against 1 2 3; covariance 1.5, variances 1.5 and 2.
    assert rank_correlation(np.array([0.0, 0.0, 1.0]), np.array([1.0, 2.0, 3.0])) == pytest.approx(1.5 / 3**0.5)
    assert np.isnan(rank_correlation(np.zeros(3), np.arange(3.0)))


@pytest.mark.real
def test_smollm2_above_chance_and_shuffled_not(smollm2):
    frozen = freeze(smollm2, smollm2.to_tokens(EIFFEL))
    tree = path_tree(frozen, logit_difference(smollm2, " Paris", " London"), 500)
    result = verify(smollm2, tree, 20, frozen=frozen)
    assert result.correlation > result.by_chance > 0
    shuffled = np.random.default_rng(0).permutation(result.actual)
    assert abs(rank_correlation(result.predicted, shuffled)) < result.by_chance
    other = verify(smollm2, tree, 20, baseline=smollm2.to_tokens("The Big Ben Tower is located in the city of"))
    assert other.predicted.all()  # paths that begin at a token both prompts share are not cut


def test_what_cannot_be_verified():
    model = models.load("llama", torch.float64)
    frozen = freeze(model, IDS)
    tree = path_tree(frozen, logit(model, 4), 50)
    cases = [
        ((model, tree), dict(baseline="median"), 'The baseline must be "mean", "zero" or token ids, not "median".'),
        ((model, tree), dict(baseline=IDS[:, :4]), "The baseline prompt has 4 tokens, the explained one 6"),
        ((models.load("gpt2"), tree), {}, "grown on another model: its components"),
        ((models.load("llama", torch.float64, seed=1), tree), {}, "grown on another model: its paths"),
        (
            (model, tree),
            dict(frozen=freeze(model, (IDS + 1) % models.D_VOCAB)),
            "is not the prompt the path tree was grown on",
        ),
        ((model, tree), dict(baseline=IDS), "no complete path that begins where the baseline differs"),
    ]
    for args, options, text in cases:
        with pytest.raises(UsageError) as caught:
            verify(*args, **options)
        assert text in str(caught.value)


def test_saved_is_loaded(tmp_path):
    model = models.load("llama", torch.float64)
    result = verify(model, path_tree(freeze(model, IDS), logit(model, 4), 50), 5)
    result.save(tmp_path / "verification")
    loaded = Verification.load(tmp_path / "verification")
    for field in dataclasses.fields(result):
        np.testing.assert_array_equal(getattr(result, field.name), getattr(loaded, field.name))
    assert loaded.table() == result.table()
