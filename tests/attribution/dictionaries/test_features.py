"""Dictionaries inside the linear map: nothing is lost, wherever they stand and whatever they are."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from interp import attribution
from interp.attribution import contrast, direct, edges, features, freeze, logit_difference, orders, path_tree, sources
from interp.attribution.dictionaries import site as sites
from interp.errors import CheckFailedError, UnsupportedModelError, UsageError
from tests import models
from tests.attribution.dictionaries.samples import everywhere, random_dictionary, transcoders

IDS, OTHER = models.tokens(1, 6), models.tokens(1, 6, seed=7)
FAMILIES = ("llama", "gpt2", "gemma2", "qwen3", "neox", "olmo2", "olmoe", "gpt_oss")


def inputs(name: str, dtype: torch.dtype = torch.float64):
    """The frozen input and the contrast of one small model."""
    model = models.load(name, dtype)
    return freeze(model, IDS), contrast(model, IDS, OTHER)


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("kind", ["frozen", "contrast"])
def test_every_attribution_sums_to_the_same_total_with_dictionaries_everywhere(name, kind):
    """In float64 to 1e-10 of the absolute mass, the issue's bound; each component conserves what flows through it."""
    base = inputs(name)[kind == "contrast"]
    mixed = features(base, everywhere(base.model))
    target = logit_difference(base.model, 3, 5)
    value = direct(base, target).value
    tree = path_tree(mixed, target, 1500)
    assert tree.expanded.sum() == 1501
    assert tree.error < 1e-10
    assert abs(tree.total - value) < 1e-10 * tree.mass
    assert {c.kind for c in mixed.layout.named} >= {"latent", "error", "dictionary_bias", "skip"}
    assert any(".f" in path.components[0] for path in tree.paths(500))
    for result in (direct(mixed, target), edges(mixed, target)):
        assert result.value == value
        assert result.error < 1e-10
    assert sources(mixed, target) == sources(base, target)
    assert orders(mixed, target) == orders(base, target)
    scores = attribution.scores(mixed, 2, 1, -1, -2)
    assert scores.value == attribution.scores(base, 2, 1, -1, -2).value
    assert scores.error < 1e-10
    assert any(".f" in writer for writer in scores.writers)


@pytest.mark.parametrize("kind", ["frozen", "contrast"])
def test_in_float32_at_random_subsets_of_layers(kind):
    """The issue's bound of 1e-5 of the absolute mass; a few thousand terms at 1e-7 each lie well inside."""
    base = inputs("llama", torch.float32)[kind == "contrast"]
    every, target = transcoders(base.model), logit_difference(base.model, 3, 5)
    value, draw = direct(base, target).value, np.random.default_rng(0)
    for _ in range(3):
        chosen = draw.permutation(sorted(every))[: draw.integers(1, len(every) + 1)]
        tree = path_tree(features(base, {hook: every[hook] for hook in chosen}), target, 2000)
        assert tree.error < 1e-5
        assert abs(tree.total - value) < 1e-5 * tree.mass


def test_a_wrong_encoder_does_not_conserve(monkeypatch):
    """The check can fail: latents that read with encoders a thousandth too large do not sum to what they write."""
    base = inputs("llama")[0]
    made = sites._each_slot
    monkeypatch.setattr(sites, "_each_slot", lambda back, columns: made(back, columns) * 1.001)
    mixed = features(base, transcoders(base.model))
    with pytest.raises(CheckFailedError, match="misses the sum of its children"):
        path_tree(mixed, logit_difference(base.model, 3, 5), 500)


def test_a_latent_is_the_dictionarys_own_value_and_an_error_what_it_leaves():
    """Against the model run with hooks: activations by `encode`, the error as MLP output less reconstruction."""
    base = inputs("gpt2")[0]
    hook, written = "blocks.1.mlp.hook_in", "blocks.1.hook_mlp_out"
    dictionary = random_dictionary(base.model.spec.d_model, top=5)
    mixed = features(base, {hook: dictionary})
    _, cache = base.model.run_with_cache(IDS, [hook, written])
    values = dictionary.encode(cache[hook][0].float()).double()
    (site,) = mixed.sites
    ours = torch.zeros_like(values).scatter(1, torch.from_numpy(site.latents), site.codes)
    torch.testing.assert_close(ours, values, rtol=1e-5, atol=1e-6)  # `encode` runs in float32
    error = cache[written][0] - ours @ dictionary.W_dec.double() - dictionary.b_dec.double()
    torch.testing.assert_close(mixed.writes[mixed.layout.error(site)], error, rtol=1e-9, atol=1e-10)


def test_the_contrasts_latents_are_the_difference_of_the_runs():
    base = inputs("llama")[1]
    mixed = features(base, {"blocks.1.mlp.hook_in": random_dictionary(base.model.spec.d_model, top=5)})
    (site,), ends = mixed.sites, [end.sites[0] for end in mixed.ends]
    values = [torch.zeros(6, 49, dtype=torch.float64) for _ in range(3)]
    for table, each in zip(values, (site, *ends), strict=True):
        table.scatter_(1, torch.from_numpy(each.latents) % 49, each.codes)
    moved = (base.writes != 0).any(-1).any(0)
    torch.testing.assert_close(values[0][moved, :48], (values[1] - values[2])[moved, :48], rtol=1e-8, atol=1e-9)
    assert not values[0][~moved].any()


def test_neurons_are_latents_that_leave_no_error():
    """All neurons of a layer: an error of rounding alone; a few of them: the same total, and an error that matters."""
    for base in inputs("gemma2"):
        target = logit_difference(base.model, 3, 5)
        whole, few = features(base, base.model.spec.d_mlp), features(base, 4)
        size = base.writes.abs().max()
        biases = base.model.spec.mlp_bias
        for site in whole.sites:
            error = whole.writes[whole.layout.error(site)]
            assert biases or error.abs().max() < 1e-12 * size
        assert any(few.writes[few.layout.error(site)].abs().max() > 1e-3 * size for site in few.sites)
        for mixed in (whole, few):
            assert path_tree(mixed, target, 300).error < 1e-10


def test_first_leaves_positions_to_the_error():
    base = inputs("llama")[0]
    mixed = features(base, transcoders(base.model), first=2)
    for site in mixed.sites:
        assert (site.latents[:2] == -1).all()
        mlp = base.writes[base.layout.mlp(site.place.layer) :][: 1 + base.model.spec.mlp_bias].sum(0)
        torch.testing.assert_close(mixed.writes[mixed.layout.error(site)][:2], mlp[:2])
    assert path_tree(mixed, logit_difference(base.model, 3, 5), 300).error < 1e-10


def test_refusals_say_what_to_give():
    frozen, pair = inputs("llama")
    good = random_dictionary(frozen.model.spec.d_model)
    wrong = SimpleNamespace(**vars(good) | {"encode": lambda x: (x @ good.W_enc).relu() ** 2})
    narrow = random_dictionary(7)
    both = {"blocks.0.mlp.hook_in": good, "blocks.0.ln2.hook_normalized": good}
    reads_keys, apart = {"blocks.0.attn.hook_k": good}, SimpleNamespace(**vars(good), writes=("blocks.2.hook_mlp_out",))
    for given, message in (
        ({}, "at least one"),
        ({"blocks.9.mlp.hook_in": good}, "not a hook of this model"),
        (reads_keys, "does not fit the model"),
        ({"blocks.0.mlp.hook_in": apart}, "does not fit the model"),
        (both, "both decompose MLP0"),
        ({"blocks.0.mlp.hook_in": wrong}, "are not x · W_enc"),
        ({"blocks.0.mlp.hook_in": narrow}, "W_enc is \\(d_model, width\\)"),
        ({"blocks.0.mlp.hook_in": SimpleNamespace()}, "needs W_enc, W_dec, b_dec and encode"),
    ):
        with pytest.raises(UsageError, match=message):
            features(frozen, given)
    with pytest.raises(UsageError, match="freeze, contrast or features"):
        features(frozen.model, {"blocks.0.mlp.hook_in": good})
    with pytest.raises(UsageError, match="one pair"):
        batch = contrast(pair.model, models.tokens(2, 6), models.tokens(2, 6, seed=7))
        features(batch, {"blocks.0.mlp.hook_in": good})
    with pytest.raises(UnsupportedModelError, match="have 5 experts: give dictionaries"):
        features(freeze(models.load("mixtral"), IDS), 4)
    with pytest.raises(UsageError, match="max_gigabytes"):
        features(frozen, {"blocks.0.mlp.hook_in": good}, max_gigabytes=1e-6)
    with pytest.raises(UsageError, match="Latents are nodes at positions"):
        path_tree(
            features(frozen, {"blocks.0.mlp.hook_in": good}), logit_difference(frozen.model, 3, 5), 5, nodes="component"
        )
