"""Sources, orders and edges: each conserves, and all agree with autograd, with brute force and with one another."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import torch

import interp
from interp.attribution import (
    direct,
    direction,
    edges,
    freeze,
    logit,
    logit_difference,
    orders,
    path_tree,
    score,
    sources,
)
from interp.errors import CheckFailedError, UsageError
from tests import models
from tests.attribution import reference
from tests.attribution.test_paths import EIFFEL, without_mlps

IDS = models.tokens(1, 6)


@pytest.fixture(scope="module")
def frozen():
    """Frozen inputs of every family in float64, made when first asked for."""
    made = {}
    return lambda name: made.setdefault(name, freeze(models.load(name, torch.float64), IDS))


def targets(frozen):
    """One target of each kind: at the end, in the middle, and a score from either side."""
    vector = torch.randn(24, generator=torch.Generator().manual_seed(0))
    return [
        logit_difference(frozen.model, 3, 5, position=-2),
        direction(frozen.model, vector, 1),
        score(frozen, 2, 1, 4, 3, side="key"),
        score(frozen, 1, 2, 4, 3, side="query"),
    ] + ([] if frozen.model.spec.parallel else [direction(frozen.model, vector, 1, stage="resid_mid")])


@pytest.mark.parametrize("name", models.NAMES)
def test_sources_are_gradient_times_input_of_the_frozen_map(name, frozen):
    frozen = frozen(name)
    for target in targets(frozen):
        result = sources(frozen, target)
        embedded, biases = reference.grad_times_input(frozen, target)
        scale = np.abs(result.array).max()
        n = embedded.numel()
        np.testing.assert_allclose(result.array[:n], embedded.flatten().numpy(), atol=1e-11 * scale, rtol=0)
        assert {label for label in result.labels[n:]} == {name for name, value in biases.items() if value}
        for label, value in zip(result.labels[n:], result.array[n:], strict=True):
            assert value == pytest.approx(biases[label], abs=1e-11 * scale)
        assert result.by_token() == pytest.approx(embedded.sum(0).numpy(), abs=1e-11 * scale)
        assert result.error < 1e-11
        assert np.ptp(embedded.numpy()) > 1e-3 * scale  # what agrees is not nothing


@pytest.mark.parametrize("name", models.NAMES)
def test_orders_agree_with_sources_and_direct(name, frozen):
    frozen = frozen(name)
    for target in targets(frozen):
        of_sources, result = sources(frozen, target), orders(frozen, target)
        scale = np.abs(result.array).max()
        np.testing.assert_allclose(result.by_token.sum(0), of_sources.by_token(), atol=1e-11 * scale)
        assert result.total == pytest.approx(of_sources.total, abs=1e-11 * scale)
        apart = direct(frozen, target)
        ends = [k not in ("head", "mlp") for k in apart.kinds]
        assert result.array[0] == pytest.approx(apart.array[ends].sum(), abs=1e-11 * scale)
        heads = orders(frozen, target, count="heads")
        assert heads.total == pytest.approx(result.total, abs=1e-11 * scale)
        assert len(heads.array) == frozen.model.spec.n_layer + 1
        short = orders(frozen, target, max_order=2)
        np.testing.assert_allclose(short.array[:2], result.array[:2], atol=1e-11 * scale)
        assert short.array[2] == pytest.approx(result.array[2:].sum(), abs=1e-11 * scale)
        assert short.labels == ("0", "1", "2 and more")


@pytest.mark.parametrize("name", models.NAMES)
def test_edges_conserve_at_every_component_and_begin_with_direct(name, frozen):
    frozen = frozen(name)
    for target in targets(frozen):
        result, apart = edges(frozen, target), direct(frozen, target)
        scale = np.abs(result.array).max()
        np.testing.assert_allclose(result.flow[-1], apart.array[: len(result.writers)], atol=1e-11 * scale)
        for row, reader in enumerate(result.readers[:-1]):
            out = result.flow[:, result.writers.index(reader)].sum()
            assert result.flow[row].sum() + result.own[row] == pytest.approx(out, abs=1e-11 * scale)
            # No one reads what is written at the same time or later.
            assert not result.flow[row, result.writers.index(reader) :].any()
        # All that enters the network leaves it: what embeddings and biases send out is what sources count.
        of_sources = sources(frozen, target)
        embeds = [i for i, writer in enumerate(result.writers) if writer.endswith("embed")]
        assert result.flow[:, embeds].sum() == pytest.approx(of_sources.by_token().sum(), abs=1e-10 * scale)


@pytest.mark.parametrize("name", ["gpt2", "gemma2", "neox", "llama"])
def test_all_three_are_sums_over_every_path(name):
    """Attention alone, three tokens: group the brute-force list by length, by edge, and by where a path begins."""
    frozen = freeze(interp.load(without_mlps(name), dtype=torch.float64), IDS[:, :3])
    target = logit(frozen.model, 4)
    every = reference.paths(frozen, target)
    names = frozen.layout.names
    by_order, by_edge, by_token = {}, {}, {}
    for chain, value in every.items():
        length = len(chain) - 1
        by_order[length] = by_order.get(length, 0.0) + value
        readers = [target.name, *(names[place[0]] for place in chain if place != "bias")]
        for reader, writer in itertools.pairwise(readers):
            by_edge[reader, writer] = by_edge.get((reader, writer), 0.0) + value
        if chain[-1] != "bias" and names[chain[-1][0]].endswith("embed"):
            by_token[chain[-1][1]] = by_token.get(chain[-1][1], 0.0) + value
    result = orders(frozen, target).array
    np.testing.assert_allclose(result[:4], [by_order[n] for n in range(4)], atol=1e-11)
    assert not result[4:].any()
    heads = orders(frozen, target, count="heads").array
    np.testing.assert_allclose(heads, result[:4], atol=1e-11)
    flow = edges(frozen, target)
    for row, reader in enumerate(flow.readers):
        for column, writer in enumerate(flow.writers):
            assert flow.flow[row, column] == pytest.approx(by_edge.get((reader, writer), 0.0), abs=1e-11)
    np.testing.assert_allclose(sources(frozen, target).by_token(), [by_token[t] for t in range(3)], atol=1e-11)
    assert len(by_edge) > 50 and np.ptp(result[:4]) > 0.01  # what agrees is not nothing


def test_the_tree_gives_the_edges_into_the_target(frozen):
    frozen = frozen("llama")
    target = logit(frozen.model, 4)
    tree, flow = path_tree(frozen, target, 50, nodes="component"), edges(frozen, target)
    for row in np.flatnonzero(tree.parent == 0):
        if tree.component[row] >= 0:
            assert tree.value[row] == pytest.approx(flow.flow[-1, tree.component[row]], abs=1e-12)


@pytest.mark.parametrize("value", [50.0, float("nan")])
def test_a_flow_that_is_not_conserved_raises(value, frozen):
    """A write that no block computes, of a component the target itself does not see: only its own balance shows it."""
    frozen = frozen("llama")
    writes = frozen.writes.clone()
    writes[3, 0, 0] += value
    with pytest.raises(CheckFailedError, match="is not conserved"):
        edges(dataclasses.replace(frozen, writes=writes), logit(frozen.model, 4))


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda f: orders(f, logit(f.model, 1), count="mlps"), 'count must be "all" or "heads", not "mlps".'),
        (lambda f: orders(f, logit(f.model, 1), max_order=0), "max_order=0, but it must be at least 1."),
        (lambda f: sources(f, logit(f.model, 1, -7)), "Position -7 is outside the prompt, which has 6 tokens."),
        (lambda f: edges(f, logit(f.model, 1, 6)), "Position 6 is outside the prompt, which has 6 tokens."),
    ],
)
def test_refusals(call, text, frozen):
    with pytest.raises(UsageError) as caught:
        call(frozen("llama"))
    assert text in str(caught.value)


@pytest.mark.real
def test_eiffel_in_float64(smollm2_double):
    frozen = freeze(smollm2_double, smollm2_double.to_tokens(EIFFEL))
    target = logit_difference(smollm2_double, " Paris", " London")
    result = sources(frozen, target)
    assert result.value == pytest.approx(8.76235371, abs=1e-8)
    assert result.total == pytest.approx(result.value, abs=1e-12)
    expected = [3.323, 0.059, 2.731, 0.314, 0.270, 0.344, 0.342, 0.085, 0.866, 0.428]
    np.testing.assert_allclose(result.by_token(), expected, atol=5e-4)
    short = orders(frozen, target, max_order=6)
    assert short.total == pytest.approx(result.value, abs=1e-11)
    np.testing.assert_allclose(short.by_token.sum(0), result.by_token(), atol=1e-11)


@pytest.mark.real
def test_edges_of_eiffel_in_float32(smollm2):
    frozen = freeze(smollm2, smollm2.to_tokens(EIFFEL))
    target = logit_difference(smollm2, " Paris", " London")
    result = edges(frozen, target)
    assert result.error < 1e-5
    np.testing.assert_allclose(result.flow[-1], direct(frozen, target).array, atol=1e-4)


@pytest.mark.parametrize("shrunk", [1.0, 1e-4])
def test_orders_are_those_of_the_plain_recursion(shrunk):
    """The plain one carries every order to the end; when components write little, high orders are rounding."""
    model = models.load("gpt2", torch.float64, seed=3)
    with torch.no_grad():
        for layer in range(model.spec.n_layer):
            raw = model.weights.raw(layer)
            raw.W_O.mul_(shrunk), raw.W_out.mul_(shrunk)
    frozen = freeze(model, IDS)
    target = direction(model, torch.randn(24, generator=torch.Generator().manual_seed(0)), 2)
    for count in ("all", "heads"):
        result, plain = orders(frozen, target, count=count), _plain_orders(frozen, target, count)
        # Each is a sum of fewer than 10^4 products: a few hundred roundings of the largest at the worst.
        np.testing.assert_allclose(result.by_token, plain, atol=1e-13 * np.abs(plain).max(), rtol=0)
    followed = orders(frozen, target).by_token.any(1)
    assert _plain_orders(frozen, target, "all").any(1).all()
    assert followed.all() if shrunk == 1 else not followed[-1]


def _plain_orders(frozen, target, count):
    """Return by_token of g_n <- g_n + pull(g_{n-1}), for every order at every layer."""
    linear, pull, spec = frozen.linear(target), frozen.pull, frozen.model.spec
    covectors = torch.zeros(2 * spec.n_layer + 1 if count == "all" else spec.n_layer + 1, *frozen.writes.shape[1:])
    covectors = covectors.to(frozen.writes)
    covectors[0, linear.position] = linear.covector
    for layer in reversed(range(spec.n_layer)):
        for part in ("mlp", "attention"):
            back, _ = getattr(pull, part)(layer, covectors)
            if part == "attention" or count == "all":
                back = torch.cat([torch.zeros_like(back[:1]), back[:-1]])
            covectors = covectors + back
    return torch.einsum("otm,ctm->ot", covectors, frozen.writes[: frozen.layout.n_embed]).numpy()
