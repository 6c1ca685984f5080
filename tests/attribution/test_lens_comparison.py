"""Lenses compared on held-out text, and activations read in another prompt."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
import torch

from interp import cache, edit, results
from interp.attribution import TunedLens, compare_lenses, fit_lenses, lens_comparison, logit_lens, patchscope
from interp.attribution.lens_fit import hooks
from interp.attribution.lens_results import LensComparison
from interp.errors import UsageError
from tests import models


@pytest.fixture(scope="module")
def model():
    return models.load("llama", text=True)


@pytest.fixture(scope="module")
def lenses(model):
    return fit_lenses(model, models.tokens(120, 16), ("tuned", "bias"), steps=30, batch_size=128, lr=1e-2)


def test_each_lens_is_nearer_to_the_model_than_the_one_before_it(model, lenses, tmp_path):
    """A random model has no text to predict, so nearness is by KL; its bias falls too."""
    result = compare_lenses(model, models.tokens(12, 16, seed=50), lenses)
    kl = dict(zip(result.names, result.kl.mean(-1), strict=True))
    assert result.names == ("logit", "tuned", "bias")
    assert (kl["tuned"][:-1] < kl["bias"][:-1]).all() and (kl["bias"][:-1] < kl["logit"][:-1]).all()
    assert (result.bias[1, :-1] < result.bias[0, :-1]).all()
    assert np.abs(result.kl[:, -1]).max() < 1e-6 and np.abs(result.bias[:, -1]).max() < 1e-6  # the model itself
    assert np.ptp(result.cross_entropy[:, -1], axis=0).max() == 0
    again = results.load(result.save(tmp_path))
    assert again == result and again.figure().table.rows
    assert len(result.table().rows) == model.spec.n_layer + 1


def test_cross_entropy_of_the_last_row_is_the_models_own(model):
    tokens = models.tokens(3, 10)
    result = compare_lenses(model, tokens, {})
    own = -model(tokens).log_softmax(-1)[:, :-1].gather(2, tokens[:, 1:, None])[..., 0].mean(1)
    assert np.allclose(result.cross_entropy[0, -1], own, atol=1e-5)


def test_positions_are_drawn_where_the_vocabulary_is_large(model, lenses, monkeypatch):
    """All but the last are those whose next token is known; fewer are an estimate that another seed changes."""
    tokens = models.tokens(4, 12, seed=3)
    whole = compare_lenses(model, tokens, lenses)
    most = compare_lenses(model, tokens, lenses, n_position=11)
    assert np.allclose(most.cross_entropy, whole.cross_entropy, atol=1e-5) and not np.allclose(most.kl, whole.kl)
    assert (whole.n_position, whole.depth.shape[2]) == (12, 12) and "12 tokens" in whole.table().caption
    monkeypatch.setattr(lens_comparison, "WHOLE", 11 * models.D_VOCAB)
    monkeypatch.setattr(lens_comparison, "SAMPLE", 5 * models.D_VOCAB)
    first, second = (compare_lenses(model, tokens, lenses, seed=seed) for seed in (0, 1))
    assert first.depth.shape == (3, 4, 5) and "5 random positions of each of 4" in first.table().caption
    assert np.array_equal(first.kl, compare_lenses(model, tokens, lenses).kl)
    assert not np.allclose(first.kl[:, :-1], second.kl[:, :-1])
    with pytest.raises(UsageError, match="n_position=13: the texts have 12"):
        compare_lenses(model, tokens, lenses, n_position=13)


def test_depth_is_that_of_the_lens_of_one_prompt(lenses):
    model, tokens = models.load("llama"), models.tokens(2, 10, seed=8)  # without texts, which tokens may share
    result = compare_lenses(model, tokens, lenses)
    for name, depth in zip(result.names, result.depth, strict=True):
        for row, ours in zip(tokens, depth, strict=True):
            assert logit_lens(model, row[None], lens=lenses.get(name)).depth == tuple(ours)


def test_a_comparison_of_an_earlier_layout_is_read(model):
    result = compare_lenses(model, models.tokens(2, 10), {})
    values = {field.name: getattr(result, field.name) for field in fields(result)}
    earlier = {name: value for name, value in values.items() if name not in ("depth", "n_position")}
    again = LensComparison(**LensComparison.upgrade(earlier, 1))
    assert again.n_position == 10 and again.depth.shape == (1, 2, 0) and again.table() == result.table()


def test_a_gain_has_an_interval_and_a_lens_has_none_over_itself(model, lenses):
    result = compare_lenses(model, models.tokens(6, 12, seed=3), {"bias": lenses["bias"]})
    gain, low, high = result.gain("bias", "bias")
    assert not gain.any() and not low.any() and not high.any() and result.better("bias", "bias") == 0
    gain, low, high = result.gain("bias")
    assert (low <= gain).all() and (gain <= high).all()


def test_a_lens_fitted_on_a_store_is_a_lens(model, tmp_path):
    """The stream of every layer from disk instead of from runs."""
    tokens = models.tokens(120, 16)
    config = cache.Config(hooks=hooks(model), context=16, exclude=())
    store = cache.harvest(model, tokens.int(), config, tmp_path / "store")
    lens = TunedLens.fit(model, store, kind="linear", batch_size=128)
    result = compare_lenses(model, models.tokens(8, 16, seed=50), {"stored": lens})
    assert (result.kl.mean(-1)[1, :-1] < result.kl.mean(-1)[0, :-1]).all()
    one = cache.harvest(model, tokens.int(), cache.Config(hooks=hooks(model)[:2], context=16), tmp_path / "one")
    with pytest.raises(UsageError, match="The store lacks blocks"):
        TunedLens.fit(model, one)
    with pytest.raises(UsageError, match="at least 3 batches"):
        TunedLens.fit(model, store, batch_size=1000)


def test_wrong_lenses_are_refused(model, lenses):
    with pytest.raises(UsageError, match="always among them"):
        compare_lenses(model, models.tokens(2, 5), {"logit": lenses["bias"]})
    with pytest.raises(UsageError, match="not that of"):
        compare_lenses(models.load("gpt2"), models.tokens(2, 5), lenses)
    with pytest.raises(UsageError, match="at least two tokens"):
        compare_lenses(model, models.tokens(2, 1), lenses)


def test_a_patchscope_writes_what_the_patched_model_writes(model):
    source, prompt = "the tower is", "a b London"
    result = patchscope(model, source, 1, prompt=prompt, layers=(0, 2), max_tokens=3)
    hook = "blocks.2.hook_resid_post"
    stream = model.run_with_cache(source, hook)[1][hook][0, 1]
    patched = model.edited(edit.replace(hook, stream, position=-1))
    ids = patched.generate_tokens(model.to_tokens(prompt), 3)
    assert result.texts[1] == "".join(model.labels(ids))
    # After the last block no mixing is left: the prediction is that of the source.
    assert result.top_tokens[1] == result.own
    assert result.probabilities[1] == pytest.approx(float(model(source)[0, 1].softmax(-1).max()), abs=1e-5)
    assert len(result.table().rows) == 3 and result.table().rows[-1][0] == "no patch"


def test_a_patch_of_a_prompt_into_itself_changes_nothing(model):
    result = patchscope(model, "a b London", -1, prompt="a b London", max_tokens=4)
    assert set(result.texts) == {result.unpatched}
    assert np.allclose(result.own_probabilities, result.unpatched_probability, atol=1e-6)


def test_positions_outside_a_prompt_are_usage_errors(model):
    with pytest.raises(UsageError, match="position=3 is outside"):
        patchscope(model, "the tower is", 3)
    with pytest.raises(UsageError, match="layers="):
        patchscope(model, "the tower is", layers=(3,), prompt="a b")


@pytest.mark.real
def test_the_city_can_be_read_in_another_prompt(smollm2):
    """From block 25 on the stream at "of" writes the city; before block 20 it does not."""
    prompt = "The Eiffel Tower is located in the city of"
    result = patchscope(smollm2, smollm2.to_tokens(prompt), layers=(5, 28), max_tokens=2)
    assert result.own == " Paris"
    assert result.own_probabilities[1] > 0.1 > 100 * result.own_probabilities[0]
    assert torch.isfinite(torch.from_numpy(result.probabilities)).all()
