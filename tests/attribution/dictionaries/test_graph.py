"""Attribution graphs: effects by brute force, scores by their definitions, planted graphs recovered."""

from __future__ import annotations

import dataclasses
import itertools
import json

import numpy as np
import pytest
import torch

from interp import attribution
from interp.attribution import contrast, features, freeze, graph, logit, logit_difference
from interp.errors import CheckFailedError, UsageError
from interp.results import load
from tests import models
from tests.attribution import planted
from tests.attribution.dictionaries.samples import (
    IDS,
    cross_layer,
    dictionary_of,
    everywhere,
    mixed_of,
    skips,
    transcoders,
    whole,
)
from tests.attribution.test_neuronpedia import refused

OTHER = models.tokens(1, 6, seed=7)

# The effects


def direct_effects(mixed) -> np.ndarray:
    """What circuit-tracer computes, by autograd: a forward pass with fixed patterns and norm scales, in which every
    MLP's write is a constant, and each latent's pre-activation a function of them and of the embeddings."""
    frozen, model = mixed.base, mixed.model
    weights, spec = model.weights, model.spec
    embedded = frozen.writes[: frozen.layout.n_embed].sum(0).clone().requires_grad_()
    x, nodes, pre = embedded, [], []
    for layer, site in enumerate(mixed.sites):
        block, attention = frozen.blocks[layer], weights.attention(layer)
        before = x / block.attn_scale[:, None]
        for head in range(spec.n_head):
            x = x + block.pattern[head] @ before @ weights.W_V(layer, head) @ attention.W_O[head]
        gain, dictionary = weights.raw(layer).ln2.gain, mixed.dictionaries[f"blocks.{layer}.mlp.hook_in"]
        columns = dictionary.W_enc.double() * gain[:, None]
        at, slot = np.nonzero(site.latents >= 0)
        for t, k in zip(at, slot, strict=True):
            pre.append(x[t] / block.mlp_scale[t] @ columns[:, site.latents[t, k]])
        error = mixed.writes[mixed.layout.error(site)].clone()
        latents = (site.codes[..., None] * site.decoders)[at, slot].clone()
        for each in (latents, error):
            each.requires_grad_()
        nodes.append((latents, error))
        x = x + error + torch.zeros_like(x).index_add(0, torch.from_numpy(at), latents)
    target = x[-1] @ mixed.linear(logit(model, 3)).covector
    columns = [latents for latents, _ in nodes] + [error for _, error in nodes] + [embedded]
    rows = []
    for value in [*pre, target]:
        grads = torch.autograd.grad(value, columns, retain_graph=True, allow_unused=True)
        row = [
            torch.zeros(len(column)) if grad is None else (grad * column.detach()).sum(-1)
            for grad, column in zip(grads, columns, strict=True)
        ]
        rows.append(torch.cat(row).numpy())
    return np.array(rows)


def test_effects_are_those_of_autograd_through_the_replacement_model():
    """The definition of circuit-tracer, written again; benchmarks/graphs.py compares with the tool itself."""
    mixed = mixed_of()
    result, slow = whole(mixed), direct_effects(mixed)
    n = result.sources.n_latent
    ours = result.matrix[[*range(n), len(result.matrix) - 1], :-1]
    np.testing.assert_allclose(ours, slow, rtol=1e-8, atol=1e-10 * np.abs(slow).max())
    assert not result.matrix[n:-1].any()


@pytest.mark.parametrize("kind", ["frozen", "contrast"])
@pytest.mark.parametrize("name", ["gpt2", "gemma2", "neox", "mixtral"])
def test_rows_sum_to_their_nodes_with_dictionaries_everywhere(name, kind):
    """Bounded by the check inside: with the biases of every part on the way, to rounding in float64."""
    model = models.load(name, torch.float64)
    base = freeze(model, IDS) if kind == "frozen" else contrast(model, IDS, OTHER)
    for dictionaries, first in ((everywhere, 0), (transcoders, 2)):
        mixed = features(base, dictionaries(model), first=first)
        result = graph(mixed, logit_difference(model, 3, 5), node_share=0.9)
        assert result.error < 1e-11
        sums = result.pruned + result.bias
        np.add.at(sums, result.target, result.weight)
        fed = np.isin(result.kind, ("latent", "target"))
        np.testing.assert_allclose(sums[fed], result.value[fed], atol=1e-10 * np.abs(result.value[fed]).max())


def test_a_row_that_does_not_sum_is_refused():
    mixed = mixed_of()
    (site, *others) = mixed.sites
    wrong = dataclasses.replace(site, constants=site.constants + 0.01)
    layout = dataclasses.replace(mixed.layout, sites=(wrong, *others))
    with pytest.raises(CheckFailedError, match="misses its node's value"):
        graph(dataclasses.replace(mixed, layout=layout), logit(mixed.model, 3))


# What errors say


def test_random_directions_leave_everything_to_the_error_and_all_neurons_nothing():
    """Random encoders with small random directions explain nothing; an MLP's own neurons explain all of it.

    In between, half the neurons' writes leave about half: 0.2 to 0.8 is far from both.
    """
    frozen = freeze(models.load("gpt2", torch.float64), models.tokens(1, 20))
    target = logit_difference(frozen.model, 3, 5)

    def small(model):
        result = transcoders(model)
        for dictionary in result.values():
            dictionary.W_dec, dictionary.b_dec = dictionary.W_dec * 0.05, dictionary.b_dec * 0
        return result

    nothing = features(frozen, small(frozen.model))
    assert 0.9 < attribution.error_share(nothing, target) < 1.1
    everything, some = features(frozen, frozen.model.spec.d_mlp), features(frozen, 10)
    bias = sum(frozen.writes[frozen.layout.mlp(layer) + 1].abs().sum() for layer in range(3))
    assert bias > 0
    assert attribution.error_share(everything, target) < attribution.error_share(some, target) < 1
    shares = attribution.error_shares(nothing, target)
    assert list(shares) == ["MLP0", "MLP1", "MLP2"]
    good, bad = graph(everything, target), graph(nothing, target)
    assert good.replacement > bad.replacement
    assert good.completeness > bad.completeness


# The result


def test_it_saves_exports_and_groups(tmp_path, monkeypatch):
    model = models.load("llama", text=True)
    mixed = features(freeze(model, model.to_tokens("the tower is in Paris a b")), transcoders(model))
    traced = graph(mixed)
    assert load(traced.save(tmp_path / "graph")) == traced
    latents = [node.id for node in traced.nodes if node.kind == "latent"]
    grouped = traced.grouped({"two": latents[:2]})
    assert load(grouped.save(tmp_path / "grouped")) == grouped
    inside = {(e.source, e.target): e.weight for e in traced.edges}
    for edge in grouped.collapsed():
        ends = [latents[:2] if name == "two" else [name] for name in edge[:2]]
        assert edge.weight == pytest.approx(sum(inside.get((a, b), 0.0) for a in ends[0] for b in ends[1]))
    written = json.loads(json.dumps(grouped.to_neuronpedia("a slug"), allow_nan=False))
    assert refused(written) == []
    assert written["metadata"]["slug"] == "a-slug"
    ids = {node["node_id"] for node in written["nodes"]}
    assert len(ids) == len(traced.nodes)
    assert len(written["links"]) == len(traced.edges)
    assert {link["source"] for link in written["links"]} <= ids
    assert written["qParams"]["supernodes"][0][0] == "two"
    hostile = "</script><b>" + "x" * 200
    named = traced.labelled({latents[0]: hostile})
    assert named.nodes[traced.ids.index(latents[0])].label == hostile
    assert "</script><b>" not in named._repr_html_()
    assert traced.labelled(lambda node: node.id).label[traced.ids.index(latents[0])] == latents[0]
    texts = ["a b the tower", "London is in the tower"]
    shown = attribution.with_examples(mixed, traced, texts, k=2)
    assert load(shown.save(tmp_path / "shown")) == shown
    assert shown.examples
    for name, strips in shown.examples.items():
        node = shown.nodes[shown.index(name)]
        dictionary = mixed.dictionaries[f"blocks.{node.layer}.mlp.hook_in"]
        _, cache = model.run_with_cache(model.to_tokens(texts[0]), f"blocks.{node.layer}.mlp.hook_in")
        values = dictionary.encode(cache[f"blocks.{node.layer}.mlp.hook_in"][0])[:, node.feature]
        strengths = [strip["values"] for strip in strips if len(strip["tokens"]) == 4]
        assert (
            not strengths
            or np.allclose(strengths[0], values, atol=1e-6)
            or np.allclose(strengths[-1], values, atol=1e-6)
        )
    assert any(node.examples for node in shown.explorer().nodes)
    monkeypatch.setattr("interp.attribution.graphs.result.MOST_DRAWN", 5)
    few = traced.explorer()
    assert len(few.edges) == 5 and "the 5 largest are drawn" in few.caption
    smallest = min(abs(edge.value) for edge in few.edges)
    others = sorted((edge for edge in traced.edges), key=lambda edge: -abs(edge.weight))[5:]
    assert all(abs(edge.weight) <= smallest for edge in others)
    output = sum(dict(node.details).get("inputs not drawn", 0.0) for node in few.nodes)
    assert output == pytest.approx(sum(edge.weight for edge in others))
    groups = attribution.similar(mixed, traced, -1.0)  # every cosine is at least that: one group a position
    assert {traced.nodes[traced.index(m)].position for m in next(iter(groups.values()))} == {
        traced.nodes[traced.index(next(iter(groups.values()))[0])].position
    }
    assert attribution.similar(mixed, traced, 1.1) == {}
    twins = traced.labelled(dict.fromkeys(latents[:2], "one name"))
    assert twins.grouped(attribution.same_label(twins)).supernodes["one name"] == tuple(latents[:2])
    assert "latent" in traced.summary()
    assert traced.table(3).rows
    with pytest.raises(UsageError, match="two supernodes"):
        traced.grouped({"a": latents[:1], "b": latents[:1]})
    with pytest.raises(UsageError, match="No node"):
        traced.inputs("MLP9.f1@0")


def test_refusals():
    mixed = mixed_of()
    for given, message in (
        ({"node_share": 1.5}, "share from 0 to 1"),
        ({"targets": []}, "at least one target"),
        ({"targets": "Paris"}, "target"),
    ):
        with pytest.raises(UsageError, match=message):
            graph(mixed, **given)
    with pytest.raises(UsageError, match="mixed"):
        graph(mixed.base, None)


# Interventions


def test_with_everything_fixed_only_the_final_norm_differs_from_the_prediction():
    """MLPs and patterns are fixed, only norm scales change: latents have the same order and sizes within a quarter."""
    mixed = mixed_of("llama", dtype=torch.float32)
    target = logit_difference(mixed.model, 3, 5)
    result = attribution.intervene(
        mixed, graph(mixed, target), target, how="scale", amount=0.9, hold=range(3), hold_patterns=True
    )
    assert result.correlation[0] > 0.9
    assert np.abs(result.actual - result.predicted).mean() < 0.25 * np.abs(result.predicted).mean()
    assert np.abs(result.actual - result.predicted[::-1]).mean() > 0.5 * np.abs(result.predicted).mean()


def test_interventions_of_the_graph_compared_with_random_latents(tmp_path):
    mixed = mixed_of("llama", dtype=torch.float32)
    target = logit_difference(mixed.model, 3, 5)
    made = graph(mixed, target)
    first = [node.id for node in made.nodes if node.kind == "latent"][:2]
    result = attribution.intervene(mixed, made.grouped({"pair": first}), target, k=12)
    assert result.nodes[0] == "pair"
    assert len(result.nodes) == len(result.controls) == 13
    assert result.sizes[0] > result.sizes[1]
    assert load(result.save(tmp_path / "checked")) == result
    assert "rank correlation" in result.summary()
    assert len(result.table().rows) == 26
    same = attribution.intervene(mixed, made, target, how="scale", amount=1.0, k=5)
    assert np.abs(same.actual).max() < 1e-4  # nothing was changed
    with pytest.raises(UsageError, match="how must be"):
        attribution.intervene(mixed, made, target, how="burn")
    with pytest.raises(UsageError, match="Layer 9"):
        attribution.intervene(mixed, made, target, hold=[9])


# Heads and attention scores


@pytest.mark.parametrize("kind", ["frozen", "contrast"])
@pytest.mark.parametrize("name", ["llama", "neox"])
def test_the_parts_of_heads_sum_to_each_edge(name, kind):
    """In float64 only rounding remains. A contrast's heads carry by query, key and value."""
    model = models.load(name, torch.float64)
    mixed = features(freeze(model, IDS) if kind == "frozen" else contrast(model, IDS, OTHER), transcoders(model))
    result = graph(mixed, logit_difference(model, 3, 5))
    nodes = [node.id for node in result.nodes if node.kind == "latent" and node.layer == 2 and node.position == 5]
    node = max(nodes, key=lambda node: len(result.inputs(node)))
    parts = attribution.edge_parts(mixed, result, node)
    weights = {edge.source: edge.weight for edge in result.inputs(node)}
    np.testing.assert_allclose(parts.array.sum(1), [weights[source] for source in parts.sources], atol=1e-12)
    branches = {reader.rpartition(".")[2] for reader in parts.readers[1:]}
    assert branches == ({"q", "k", "v"} if kind == "contrast" else branches)
    assert np.abs(parts.array[:, 1:]).max() > 1e-3 * np.abs(parts.array).max()
    assert parts.table(3).rows
    with pytest.raises(UsageError, match="is not a latent"):
        attribution.edge_parts(mixed, result, result.ids[-1])


@pytest.mark.parametrize("kind", ["frozen", "contrast"])
@pytest.mark.parametrize(("name", "dictionaries"), [("llama", everywhere), ("neox", skips), ("llama", cross_layer)])
def test_edges_have_parts_with_every_kind_of_dictionary(name, kind, dictionaries):
    """Autoencoders of writes and streams, skip paths, cross-layer latents: the parts of a latent's edges sum."""
    model = models.load(name, torch.float64)
    mixed = features(freeze(model, IDS) if kind == "frozen" else contrast(model, IDS, OTHER), dictionaries(model))
    result = graph(mixed, logit_difference(model, 3, 5), node_share=0.9)
    latents = {node.name: node.id for node in result.nodes if node.kind == "latent"}
    readers: set[str] = set()
    for node in latents.values():
        parts = attribution.edge_parts(mixed, result, node)
        weights = {edge.source: edge.weight for edge in result.inputs(node)}
        np.testing.assert_allclose(parts.array.sum(1), [weights[source] for source in parts.sources], atol=1e-12)
        readers |= set(parts.readers)
    assert len(latents) > 2
    assert any(reader.startswith("L") for reader in readers)
    assert any(reader.endswith(".skip") for reader in readers)
    if kind == "frozen":
        assert len(attribution.with_queries(mixed, result, 8).queries) >= 1


def test_scores_behind_latents_are_in_the_exports_own_field():
    """Pairs that are listed and the rest sum to the model's score within 1e-6."""
    mixed = mixed_of(first=0)
    result = attribution.with_queries(mixed, graph(mixed, logit(mixed.model, 3)), 4)
    written = result.to_neuronpedia()
    filled = [node for node in written["nodes"] if "qk_tracing_results" in node]
    assert len(filled) == len(result.queries) == 4
    ids = {node["node_id"] for node in written["nodes"]}
    for each, node in zip(result.queries.values(), filled, strict=True):
        layer, head = map(int, each["head"][1:].split("H"))
        score = float(mixed.base.blocks[layer].scores[head, each["query"], each["key"]])
        assert abs(sum(value for *_, value in each["pairs"]) + each["rest"] - score) < 1e-6
        assert node["qk_tracing_results"].keys() == {
            "pair_wise_contributors",
            "top_q_marginal_contributors",
            "top_k_marginal_contributors",
        }
    named = {
        name for node in filled for pair in node["qk_tracing_results"]["pair_wise_contributors"] for name in pair[:2]
    }
    assert named & ids


# A model whose graph is known


def planted_dictionaries(model, seed: int | None = None):
    """The planted neurons as latents, and active latents that no component reads; random ones with a seed."""
    result = {}
    for layer in range(2):
        raw = model.weights.raw(layer)
        W_enc, b_enc, W_dec = raw.W_in[:, :2].float(), raw.b_in[:2].float(), raw.W_out[:2].float()
        unread = torch.zeros(2, 40)
        unread[:, planted.POSITION.start] = 1e-3
        W_enc, W_dec = torch.cat([W_enc, torch.ones(40, 2) * 1e-3], 1), torch.cat([W_dec, unread])
        b_enc = torch.cat([b_enc, torch.ones(2)])
        if seed is not None:
            draw = torch.Generator().manual_seed(seed + layer)
            W_enc = torch.randn(W_enc.shape, generator=draw) * W_enc.norm(dim=0) / 40**0.5
            W_dec = torch.randn(W_dec.shape, generator=draw) * W_dec.norm(dim=1, keepdim=True) / 40**0.5
        result[f"blocks.{layer}.mlp.hook_in"] = dictionary_of(W_enc, b_enc, W_dec)
    return result


@torch.no_grad()
def test_the_planted_graph_is_recovered_and_random_directions_leave_it_to_errors():
    model = planted.two_features()
    tokens = torch.tensor([[1, 3, 5, 2, 0]])
    frozen, target = freeze(model, tokens), logit(model, 7)
    assert int(frozen.logits[-1].argmax()) == 7
    mixed = features(frozen, planted_dictionaries(model))
    result = graph(mixed, target)
    latents = {node.id for node in result.nodes if node.kind == "latent"}
    assert latents == {"MLP0.f0@1", "MLP1.f0@4"}
    edges = {(edge.source, edge.target): edge.weight for edge in result.edges}
    chain = ["embed@1", "MLP0.f0@1", "MLP1.f0@4", "target#7@4"]
    for source, read in itertools.pairwise(chain):
        assert edges[source, read] == max(weight for (_, each), weight in edges.items() if each == read)
    assert "MLP0.f1@2" not in latents  # feature B is active, and nothing that is answered reads it
    assert {f"MLP0.f1@{t}" for t in (2,)} <= set(graph(mixed, target, node_share=1.0).ids)
    assert attribution.error_share(mixed, target) < 0.01
    assert result.replacement > 0.95
    parts = attribution.edge_parts(mixed, result, "MLP1.f0@4")
    row = parts.array[parts.sources.index("MLP0.f0@1")]
    assert parts.readers[int(np.abs(row).argmax())] == "L1H0"
    blind = features(frozen, planted_dictionaries(model, seed=0))
    assert attribution.error_share(blind, target) > 0.9
    assert graph(blind, target).replacement < 0.5
