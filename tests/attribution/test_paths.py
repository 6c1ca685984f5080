"""The path tree: it conserves, it agrees with brute force, its stops hold, and what it lists is what there is."""

from __future__ import annotations

import dataclasses
import heapq
import itertools

import numpy as np
import pytest
import torch

import interp
from interp.attribution import direction, freeze, growth, logit, logit_difference, path_tree
from interp.attribution.paths import OWN_BIAS, TARGET, PathTree
from interp.attribution.targets import resolve
from interp.errors import CheckFailedError, UsageError
from tests import models
from tests.attribution import reference

IDS = models.tokens(1, 6)
EIFFEL = "The Eiffel Tower is located in the city of"
EVERYTHING = 10**6


@pytest.fixture(scope="module")
def frozen():
    """Frozen inputs of every family in float64, made when first asked for."""
    made = {}
    return lambda name: made.setdefault(name, freeze(models.load(name, torch.float64), IDS))


def missed(tree: PathTree) -> float:
    """The worst distance of a node from its children and remainder, relative to the tree's absolute mass."""
    children = np.zeros(len(tree.value))
    np.add.at(children, tree.parent[1:], tree.value[1:])
    expanded = np.isfinite(tree.remainder)
    gap = np.abs(tree.value - children - tree.remainder)[expanded].max()
    return gap / (np.abs(tree.value[~expanded]).sum() + np.abs(tree.remainder[expanded]).sum())


def chains(tree: PathTree) -> dict[tuple[str, ...], float]:
    """Every complete path and its value."""
    return {tree.chain(row): float(tree.value[row]) for row in np.flatnonzero(tree.complete)}


# Conservation


@pytest.mark.parametrize("nodes", ["position", "component"])
@pytest.mark.parametrize("name", models.NAMES)
def test_every_node_is_the_sum_of_its_children_and_remainder(name, nodes):
    """In float32, the bound of 1e-5 of the absolute mass; a few hundred terms at 1e-7 each lie well inside."""
    frozen = freeze(models.load(name), IDS)
    tree = path_tree(frozen, logit_difference(frozen.model, 3, 5), 2000, nodes=nodes)
    assert tree.expanded.sum() == 2001 or (tree.expanded | tree.complete | (tree.value == 0)).all()
    assert missed(tree) < 1e-5
    assert tree.error < 1e-5
    assert tree.total == pytest.approx(tree.value[0], abs=1e-5 * tree.mass)
    # A tree in which one node is wrong by a thousandth of the mass does not pass the same measure.
    wrong = tree.value.copy()
    wrong[5] += 1e-3 * tree.mass
    assert missed(dataclasses.replace(tree, value=wrong)) > 1e-4


@pytest.mark.parametrize("name", models.NAMES)
def test_nodes_are_what_a_slow_reference_says(name, frozen):
    """Each node's covector again, step by step from folded weights; all children of an expanded node are counted."""
    frozen = frozen(name)
    target = logit_difference(frozen.model, 3, 5, position=-2)
    tree, linear = path_tree(frozen, target, 40), resolve(frozen, target)
    covectors = {0: linear.covector}
    straight = frozen.writes[: linear.visible, linear.position] @ linear.covector
    every = {(c, linear.position): value for c, value in enumerate(straight.tolist())}
    for row in np.flatnonzero(tree.expanded):
        constant = linear.constant
        if row:
            at = int(tree.component[row]), int(tree.position[row])
            parent, read = int(tree.parent[row]), {linear.position: linear.covector}
            if parent:
                read, _ = reference.back_through(frozen, *_node(tree, parent), covectors[parent])
            covectors[int(row)] = read[at[1]]
            every, constant = reference.children(frozen, *at, covectors[int(row)])
        children = np.flatnonzero(tree.parent == row)
        values = {_node(tree, child): tree.value[child] for child in children}
        scale = sum(map(abs, every.values())) + abs(constant)
        own = values.pop((OWN_BIAS, int(tree.position[row])), 0.0)
        assert own == pytest.approx(constant, abs=1e-12 * scale)
        for place, value in values.items():
            assert value == pytest.approx(every[place], abs=1e-12 * scale)
        rest = sum(value for place, value in every.items() if place not in values)
        assert tree.remainder[row] == pytest.approx(rest, abs=1e-12 * scale)


def _node(tree: PathTree, row: int) -> tuple[int, int]:
    return int(tree.component[row]), int(tree.position[row])


@pytest.mark.parametrize("name", ["gpt2", "gemma2", "neox"])
def test_whole_components_are_the_sum_of_their_positions(name, frozen):
    """A chain of whole components, fully expanded, is the sum of all chains that differ in positions alone."""
    frozen = freeze(frozen(name).model, IDS[:, :3])
    target = direction(frozen.model, torch.randn(24, generator=torch.Generator().manual_seed(0)), 1)
    apart = path_tree(frozen, target, EVERYTHING)
    summed: dict[tuple[str, ...], float] = {}
    for chain, value in chains(apart).items():
        key = tuple(name.partition("@")[0] for name in chain[:-1])
        last = chain[-1].partition("@")[0] + (".bias" if chain[-1].endswith(".bias") else "")
        summed[(*key, last)] = summed.get((*key, last), 0.0) + value
    whole = chains(path_tree(frozen, target, EVERYTHING, nodes="component"))
    assert whole.keys() == summed.keys()
    for chain, value in whole.items():
        assert value == pytest.approx(summed[chain], abs=1e-11)


# Brute force


@pytest.mark.parametrize("name", ["gpt2", "gemma2", "neox", "llama"])
def test_a_fully_expanded_tree_is_every_path_there_is(name):
    """Attention alone (the MLPs' output weights are zero), three layers, three tokens: some thousand paths."""
    frozen = freeze(interp.load(without_mlps(name), dtype=torch.float64), IDS[:, :3])
    target = logit(frozen.model, 4)
    expected = {names(frozen, chain): value for chain, value in reference.paths(frozen, target).items() if value}
    tree = path_tree(frozen, target, EVERYTHING)
    assert len(expected) > 500
    result = chains(tree)
    assert result.keys() == expected.keys()
    for chain, value in expected.items():
        assert result[chain] == pytest.approx(value, abs=1e-11)
    assert sum(expected.values()) == pytest.approx(tree.total, abs=1e-9)
    assert np.abs(tree.remainder[tree.expanded]).max() < 1e-12
    assert tree.coverage(len(expected)) == pytest.approx(1)


def without_mlps(name: str):
    """A family's model whose MLPs write nothing."""
    hf = models.build(name)
    with torch.no_grad():
        for key, value in hf.named_parameters():
            if any(part in key for part in ("mlp.c_proj", "mlp.down_proj", "mlp.dense_4h_to_h")):
                value.zero_()
    return hf


def names(frozen, chain) -> tuple[str, ...]:
    """A path of the reference in the tree's words."""
    texts = frozen.labels
    assert len(set(texts)) == len(texts)
    words = [place if place == "bias" else f"{frozen.layout.names[place[0]]}@{texts[place[1]]}" for place in chain]
    if words[-1] == "bias":
        words[-1] = f"{words[-2]}.bias" if len(words) > 1 else "b_U"
    return tuple(words)


# Order and bounds


@pytest.mark.parametrize("nodes", ["position", "component"])
@pytest.mark.parametrize("name", ["llama", "gpt2", "neox"])
def test_what_is_expanded_is_what_a_best_first_search_expands(name, nodes, frozen):
    """Against a heap that always takes the largest node that waits; all of its nodes are known to the full tree.

    In float64, where values that differ do so by more than the order of sums.
    """
    frozen = freeze(frozen(name).model, IDS[:, :3])
    target = direction(frozen.model, torch.randn(24, generator=torch.Generator().manual_seed(0)), 1)
    full = path_tree(frozen, target, EVERYTHING, nodes=nodes)
    order = [full.chain(row) for row in best_first(full)]
    assert len(order) == full.expanded.sum() - 1 > 20
    for n in (1, 2, 7, 20, len(order) // 2, len(order) - 1):
        for batch_size in (1, 512):
            tree = path_tree(frozen, target, n, nodes=nodes, batch_size=batch_size)
            assert {tree.chain(row) for row in np.flatnonzero(tree.expanded)[1:]} == set(order[:n])
            assert missed(tree) < 1e-12
    # Neither depth first nor largest value first, wherever a node is, would expand the same.
    largest = sorted(np.flatnonzero(full.expanded)[1:], key=lambda row: -abs(full.value[row]))
    assert {full.chain(row) for row in largest[:20]} != set(order[:20])


def best_first(tree: PathTree) -> list[int]:
    """The expanded nodes of a tree in the order of a best-first search."""
    children: dict[int, list[int]] = {}
    for row in np.flatnonzero(tree.expanded)[1:].tolist():
        children.setdefault(int(tree.parent[row]), []).append(row)
    order, waiting = [], [(0.0, 0)]
    while waiting:
        _, row = heapq.heappop(waiting)
        order.append(row)
        for child in children.get(row, []):
            heapq.heappush(waiting, (-abs(tree.value[child]), child))
    return order[1:]


def test_what_is_listed_does_not_depend_on_sweeps(frozen, monkeypatch):
    """Any first level and any surplus give the same nodes; more than enough are expanded and dropped in between."""
    frozen = frozen("llama")
    target = logit_difference(frozen.model, 3, 5)
    trees = []
    for first, surplus in ((32, 1.1), (1, 0.5), (200, 3.0)):
        monkeypatch.setattr(growth, "FIRST", first)
        monkeypatch.setattr(growth, "SURPLUS", surplus)
        trees.append(path_tree(frozen, target, 300))
    listed = [{(tree.chain(row), bool(tree.expanded[row])) for row in range(len(tree.value))} for tree in trees]
    assert listed[0] == listed[1] == listed[2]
    smallest = np.abs(trees[0].value[trees[0].expanded]).min()
    waiting = ~trees[0].expanded & ~trees[0].complete
    assert waiting.sum() > 100
    assert np.abs(trees[0].value[waiting]).min() >= growth.LISTED * smallest
    assert np.abs(trees[0].value[waiting]).max() < smallest
    assert (trees[0].complete & (trees[0].component >= 0)).sum() == 300


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2"])
def test_heads_carried_back_together_are_those_carried_back_one_by_one(name, frozen):
    """In any order, with repeats: a head at one position is its map of all positions with a covector there alone."""
    pull, block = frozen(name).pull, frozen(name).blocks[1]
    heads, positions = torch.tensor([3, 0, 0, 2, 0]), torch.tensor([5, 2, 4, 5, 1])
    covectors = torch.randn(5, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    together, constants = pull.heads_at(1, heads, positions, covectors)
    for head, at, covector, back, constant in zip(
        heads.tolist(), positions.tolist(), covectors, together, constants, strict=True
    ):
        alone = torch.zeros(6, 24, dtype=torch.float64)
        alone[at] = covector
        expected, expected_constant = pull.head(1, head, alone)
        factors = block.pattern[head, at] / block.attn_scale
        torch.testing.assert_close(factors[:, None] * back, expected, rtol=1e-11, atol=1e-12)
        torch.testing.assert_close(constant, expected_constant, rtol=1e-11, atol=1e-12)
    assert (together[0] - together[3]).abs().max() > 0.01


def test_fully_expanded_the_round_does_not_matter(frozen):
    frozen = freeze(frozen("llama").model, IDS[:, :2])
    target = direction(frozen.model, torch.ones(24), 1)
    one, many = (chains(path_tree(frozen, target, EVERYTHING, batch_size=size)) for size in (1, 128))
    assert one.keys() == many.keys()
    assert all(one[chain] == pytest.approx(many[chain], abs=1e-12) for chain in one)


@pytest.mark.parametrize("nodes", ["position", "component"])
def test_the_total_does_not_depend_on_how_far_the_tree_is_grown(frozen, nodes):
    frozen = frozen("gemma2")
    target = logit(frozen.model, 7)
    trees = [path_tree(frozen, target, n, nodes=nodes) for n in (1, 2, 10, 100, 500)]
    for tree, n in zip(trees, (1, 2, 10, 100, 500), strict=True):
        assert tree.expanded.sum() == n + 1
        assert tree.total == pytest.approx(resolve(frozen, target).value, abs=1e-12 * tree.mass)
    # What is known of the paths' cancellation only grows.
    assert all(a.mass <= b.mass + 1e-9 for a, b in itertools.pairwise(trees))


def test_stops(frozen):
    frozen = frozen("llama")
    target = logit(frozen.model, 7)
    free = path_tree(frozen, target, 500)
    bound = np.abs(free.value[free.expanded]).min() * 4
    by_value = path_tree(frozen, target, 500, min_value=bound)
    by_share = path_tree(frozen, target, 500, min_share=bound / abs(free.value[0]))
    for tree in (by_value, by_share):
        expanded = tree.expanded.copy()
        assert np.abs(tree.value[expanded]).min() >= bound
        waiting = ~tree.expanded & ~tree.complete
        assert np.abs(tree.value[waiting]).max() < bound
        assert tree.expanded.sum() < 501
    assert path_tree(frozen, target, 500, min_value=1e9).expanded.sum() == 1


def test_even_a_small_tree_has_the_largest_complete_paths(frozen):
    """A path may be short: it must not be missing because there is no space for more nodes."""
    frozen = frozen("gpt2")
    target = logit(frozen.model, 7)
    small = path_tree(frozen, target, 2)
    straight = dict(zip(frozen.layout.names, frozen.writes[:, -1] @ resolve(frozen, target).covector, strict=True))
    ends = {name: float(value) for name, value in straight.items() if not name.startswith(("L", "MLP")) or "." in name}
    listed = {chain[0].partition("@")[0] for chain in chains(small) if len(chain) == 1}
    assert {max(ends, key=lambda n: abs(ends[n]))} <= listed


def test_progress_reaches_the_bound(frozen):
    seen = []
    frozen = frozen("llama")
    path_tree(frozen, logit(frozen.model, 7), 100, progress=lambda *args: seen.append(args))
    assert seen[-1] == (100, 100, "expanding paths")
    assert [done for done, *_ in seen] == sorted({done for done, *_ in seen})


# Reading a tree


def test_paths_are_sorted_and_their_coverage_is_a_share(frozen):
    frozen = frozen("gpt2")
    tree = path_tree(frozen, logit_difference(frozen.model, 3, 5), 200)
    values = [abs(path.value) for path in tree.paths(50)]
    assert values == sorted(values, reverse=True)
    shares = [tree.coverage(k) for k in (0, 1, 10, 100, 10**6)]
    assert shares[0] == 0
    assert shares == sorted(shares)
    assert shares[-1] <= 1
    assert {row for row in tree.largest(10**6)} == set(np.flatnonzero(tree.complete))
    assert not (tree.complete & tree.expanded).any()


def test_groups_sum_to_the_total(frozen):
    frozen = frozen("gpt2")
    target = logit_difference(frozen.model, 3, 5)
    tree = path_tree(frozen, target, 200)
    for by in ("token", "component"):
        groups = tree.grouped(by)
        assert groups[-1][0] == "not listed"
        assert sum(value for _, value in groups) == pytest.approx(tree.total)
    by_token = dict(tree.grouped("token"))
    begins = tree.complete & (tree.component >= 0)
    first = [r for r in np.flatnonzero(begins) if tree.position[r] == 0 and "embed" in tree.name(r)]
    assert by_token[frozen.labels[0]] == pytest.approx(tree.value[first].sum())
    assert by_token.keys() <= {*frozen.labels, "biases", "not listed"}
    whole = path_tree(frozen, target, 50, nodes="component")
    assert whole.grouped("token")[-1][0] == "not listed"
    assert {key for key, _ in whole.grouped("token")} == {"all tokens", "biases", "not listed"}


def test_saved_is_loaded(frozen, tmp_path):
    frozen = frozen("gemma2")
    tree = path_tree(frozen, direction(frozen.model, torch.ones(24), 2, name="ones"), 50)
    tree.save(tmp_path / "tree")
    loaded = PathTree.load(tmp_path / "tree")
    for field in dataclasses.fields(tree):
        if field.name != "definition":
            np.testing.assert_array_equal(getattr(tree, field.name), getattr(loaded, field.name))
    np.testing.assert_array_equal(tree.definition.vector, loaded.definition.vector)
    assert [str(p) for p in loaded.paths(5)] == [str(p) for p in tree.paths(5)]
    assert loaded.table() == tree.table()
    assert loaded.figure() == tree.figure()
    assert tree.component[0] == TARGET


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda f: path_tree(f, logit(f.model, 1), 0),
            "max_expansions and batch_size must be at least 1, not 0 and 512.",
        ),
        (lambda f: path_tree(f, logit(f.model, 1), batch_size=0), "max_expansions and batch_size must be at least 1"),
        (lambda f: path_tree(f, logit(f.model, 1), min_value=-1.0), "must not be negative, but are -1.0 and 0.0."),
        (
            lambda f: path_tree(f, logit(f.model, 1), min_share=float("nan")),
            "must not be negative, but are 0.0 and nan",
        ),
        (lambda f: path_tree(f, logit(f.model, 1), nodes="neuron"), 'must be "position" or "component", not "neuron".'),
        (lambda f: path_tree(f, logit(f.model, 1, 6)), "Position 6 is outside the prompt, which has 6 tokens."),
        (lambda f: direction(f.model, torch.ones(24), 3), "Layer 3 does not exist: the model has layers 0 to 2."),
    ],
)
def test_refusals(call, text, frozen):
    with pytest.raises(UsageError) as caught:
        call(frozen("llama"))
    assert text in str(caught.value)


def test_a_node_that_misses_its_children_raises(frozen):
    """A write that is not what the frozen blocks say must be noticed; so must one that is not a number."""
    frozen = frozen("llama")
    for value in (100.0, float("nan")):
        writes = frozen.writes.clone()
        writes[0, 0, 0] = value
        broken = dataclasses.replace(frozen, writes=writes)
        with pytest.raises(CheckFailedError, match="misses the sum of its children"):
            path_tree(broken, logit(frozen.model, 1), 200)


# The real model


@pytest.mark.real
def test_eiffel_in_float64(smollm2_double):
    model = smollm2_double
    frozen = freeze(model, model.to_tokens(EIFFEL))
    tree = path_tree(frozen, logit_difference(model, " Paris", " London"), 500)
    assert tree.total == pytest.approx(8.76235371, abs=1e-8)
    assert tree.paths(1)[0].components == ("L23H4@of", "MLP0@iffel", "embed@iffel")
    assert tree.paths(1)[0].value == pytest.approx(0.653, abs=5e-4)
    assert missed(tree) < 1e-12


@pytest.mark.real
def test_two_thousand_expansions_in_float32(smollm2):
    frozen = freeze(smollm2, smollm2.to_tokens(EIFFEL))
    tree = path_tree(frozen, logit_difference(smollm2, " Paris", " London"), 2000)
    assert tree.expanded.sum() == 2001
    assert missed(tree) < 1e-5
    # The direct path of the last token is nothing like the largest: the list is not just what is nearest the target.
    assert tree.paths(1)[0].components == ("L23H4@of", "MLP0@iffel", "embed@iffel")
