"""Cross-layer transcoders in the linear map: they read one layer, write all later ones, and nothing is lost."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from interp import attribution
from interp.attribution import contrast, direct, edges, features, freeze, graph, logit_difference, path_tree, sources
from interp.attribution.dictionaries.expand import _Dictionaries
from interp.attribution.graphs.build import adjacency
from interp.attribution.graphs.interventions import _Runs
from interp.attribution.graphs.sources import Sources
from interp.errors import CheckFailedError, UsageError
from tests import models
from tests.attribution.dictionaries.samples import cross_layer, random_dictionary, transcoders

IDS, OTHER = models.tokens(1, 6), models.tokens(1, 6, seed=7)


def base_of(name: str, kind: str, dtype: torch.dtype = torch.float64):
    model = models.load(name, dtype)
    return freeze(model, IDS) if kind == "frozen" else contrast(model, IDS, OTHER)


@pytest.mark.parametrize("kind", ["frozen", "contrast"])
@pytest.mark.parametrize("name", ["llama", "neox", "gemma2"])
def test_every_attribution_sums_to_the_same_total(name, kind):
    """In float64 to 1e-10 of the absolute mass, as for dictionaries of one layer; each node is its children's sum."""
    base = base_of(name, kind)
    mixed = features(base, cross_layer(base.model))
    target = logit_difference(base.model, 3, 5)
    value = direct(base, target).value
    tree = path_tree(mixed, target, 1500)
    assert tree.error < 1e-10
    assert abs(tree.total - value) < 1e-10 * tree.mass
    steps = [path.components for path in tree.paths(1500)]
    assert any("error" in reader and "→" in writer for one in steps for writer, reader in itertools.pairwise(one))
    for result in (direct(mixed, target), edges(mixed, target)):
        assert result.value == value
        assert result.error < 1e-10
    assert sources(mixed, target) == sources(base, target)
    scores = attribution.scores(mixed, 2, 1, -1, -2)
    assert scores.error < 1e-10
    assert any("→" in writer for writer in scores.writers)


def test_any_layer_may_be_missing():
    """A layer without a dictionary of its own still has the writes of earlier ones, and its error."""
    base = base_of("llama", "frozen")
    every, target = cross_layer(base.model), logit_difference(base.model, 3, 5)
    for left_out in range(base.model.spec.n_layer):
        some = {hook: each for hook, each in every.items() if hook != f"blocks.{left_out}.mlp.hook_in"}
        mixed = features(base, some)
        assert path_tree(mixed, target, 500).error < 1e-10
        assert graph(mixed, target).error < 1e-10


def test_an_error_that_forgets_earlier_layers_does_not_conserve(monkeypatch):
    """The check can fail: without what cross-layer latents take back, an error is not the sum of its children."""
    base = base_of("llama", "frozen")
    monkeypatch.setattr(_Dictionaries, "_error_site", lambda *_: None)
    with pytest.raises(CheckFailedError, match="misses the sum of its children"):
        path_tree(features(base, cross_layer(base.model)), logit_difference(base.model, 3, 5), 500)


@torch.no_grad()
def test_what_a_layer_leaves_is_its_output_less_what_all_earlier_layers_write_there():
    """Against a run of the model and the dictionaries' own encode."""
    base = base_of("llama", "frozen")
    made = cross_layer(base.model)
    mixed, d = features(base, made), base.model.spec.d_model
    hooks = [f"blocks.{layer}.hook_mlp_out" for layer in range(base.model.spec.n_layer)]
    _, cache = base.model.run_with_cache(IDS, [*made, *hooks])
    for layer, site in enumerate(mixed.sites):
        rest = cache[hooks[layer]][0].clone()
        for origin in range(layer + 1):
            each = made[f"blocks.{origin}.mlp.hook_in"]
            rows, x = slice((layer - origin) * d, (layer - origin + 1) * d), cache[f"blocks.{origin}.mlp.hook_in"][0]
            rest -= each.encode(x.float()).double() @ each.W_dec[:, rows].double() + each.b_dec[rows].double()
            if origin == layer == 0:
                rest -= x @ each.W_skip[:d].T.double()
        # `encode` runs in float32.
        torch.testing.assert_close(mixed.writes[mixed.layout.error(site)], rest, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["frozen", "contrast"])
def test_one_that_writes_its_own_layer_alone_is_a_set_of_transcoders(kind):
    """Decoders that are zero beyond their layer: effects, influence and values are those of single transcoders."""
    base = base_of("llama", kind)
    alone, d, n = transcoders(base.model), base.model.spec.d_model, base.model.spec.n_layer
    wide = {}
    for layer, (hook, each) in enumerate(alone.items()):
        more = (n - layer - 1) * d
        wide[hook] = SimpleNamespace(
            **vars(each)
            | {"W_dec": torch.nn.functional.pad(each.W_dec, (0, more))}
            | {"b_dec": torch.nn.functional.pad(each.b_dec, (0, more))},
            writes=tuple(f"blocks.{at}.hook_mlp_out" for at in range(layer, n)),
        )
    targets = [logit_difference(base.model, 3, 5)]
    first, second = (adjacency(features(base, each), targets, np.ones(1), 10**6) for each in (alone, wide))
    np.testing.assert_allclose(second.matrix, first.matrix, atol=1e-12)
    np.testing.assert_allclose(second.biases, first.biases, atol=1e-12)
    assert (first.sources.name == second.sources.name).all()


@torch.no_grad()
def test_its_effects_are_what_the_replaced_model_does():
    """Change of the target for a latent larger by one, with patterns, norm scales and all later MLPs fixed."""
    base = base_of("llama", "frozen")
    mixed, target = features(base, cross_layer(base.model)), logit_difference(base.model, 3, 5)
    result = adjacency(mixed, [target], np.ones(1), 10**6)
    linear = base.linear(target)
    n, at = base.model.spec.n_layer, base.n_token - 1
    for i in np.flatnonzero(result.kinds == "latent")[::17]:
        latents, j = result.sources.latent(int(result.columns[i]))
        stream = torch.zeros_like(base.writes[0])
        for layer in range(n):
            weights, block = base.model.weights, base.blocks[layer]
            before = stream / block.attn_scale[:, None]
            for head in range(base.model.spec.n_head):
                write = before @ weights.W_V(layer, head) @ weights.attention(layer).W_O[head]
                stream = stream + block.pattern[head] @ write
            if (layer, "mlp_out") in latents.directions:
                stream[latents.at[j]] += latents.writes((layer, "mlp_out"))[j]
        expected = float(stream[at] @ linear.covector)
        assert result.matrix[-1, i] == pytest.approx(expected, abs=1e-12)


def test_interventions_change_every_layer_that_a_latent_writes():
    """MLPs and patterns are fixed, only norm scales change: sizes within a quarter, as for latents of one layer."""
    base = base_of("llama", "frozen", torch.float32)
    mixed, target = features(base, cross_layer(base.model)), logit_difference(base.model, 3, 5)
    made, n = graph(mixed, target), base.model.spec.n_layer
    result = attribution.intervene(mixed, made, target, how="scale", amount=0.9, hold=range(n), hold_patterns=True, k=8)
    assert np.abs(result.actual - result.predicted).mean() < 0.25 * np.abs(result.predicted).mean()
    sources = Sources(mixed)
    stages = [stage for stage, _, _ in _Runs(mixed, sources, target, "ablate", 0.0, (), False).deltas(0)]
    assert stages == [(layer, "mlp_out") for layer in range(n)]


def test_refusals():
    base = base_of("llama", "frozen")
    d, made = base.model.spec.d_model, cross_layer(base.model)
    one = made["blocks.0.mlp.hook_in"]
    wrong = SimpleNamespace(**vars(one) | {"writes": tuple(reversed(one.writes))})
    with pytest.raises(UsageError, match="writes hook_mlp_out of its own layer and of later ones"):
        features(base, {"blocks.0.mlp.hook_in": wrong})
    with pytest.raises(UsageError, match="times for the layers it writes"):
        features(base, {"blocks.0.mlp.hook_in": SimpleNamespace(**vars(one) | {"W_dec": one.W_dec[:, :d]})})
    leaves = SimpleNamespace(**vars(one) | {"W_skip": torch.ones_like(one.W_skip)})
    with pytest.raises(UsageError, match="one that leaves its layer is not read"):
        features(base, {"blocks.0.mlp.hook_in": leaves})
    both = made | {"blocks.2.hook_mlp_out": random_dictionary(d)}
    with pytest.raises(UsageError, match="both decompose MLP2"):
        features(base, both)
