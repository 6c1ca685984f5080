"""Certified paths are the largest there are, by brute force; what is not certified is not called so."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch

from interp.attribution import freeze, logit, logit_difference, path_tree, tree as growing
from interp.attribution.bounds import MARGIN, path_bounds
from interp.attribution.certificate import Certificate
from interp.attribution.expand import ByPosition
from interp.attribution.paths import PathTree
from interp.attribution.targets import resolve
from interp.errors import UsageError
from tests import models

EVERYTHING = 10**6
FAMILIES = ("gpt2", "gemma2", "neox", "llama", "qwen2")


def frozen(name: str, seed: int = 1, n: int = 3):
    return freeze(models.load(name, torch.float64), models.tokens(1, n, seed=seed))


def below(tree: PathTree) -> np.ndarray:
    """The root of the sum of squares of all complete paths below each node of a fully grown tree."""
    squares = np.where(tree.complete, tree.value**2, 0.0)
    for row in range(len(squares) - 1, 0, -1):  # children stand after their parents
        squares[tree.parent[row]] += squares[row]
    return np.sqrt(squares)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_bound_is_the_root_of_the_sum_of_squares_of_the_paths_below(name, monkeypatch):
    """All nodes of every family, biases, post-norms and parallel blocks included, against the sum over all paths."""
    monkeypatch.setattr(growing, "EXPANSIONS", 1)
    monkeypatch.setattr(Certificate, "_least", lambda _: 0.0)  # no node is left out, and all are expanded
    seen = {}
    monkeypatch.setattr(Certificate, "unlisted", lambda self: seen.setdefault("bound", self.bound)[0])
    input = frozen(name)
    tree = path_tree(input, logit_difference(input.model, 3, 5), EVERYTHING, top=EVERYTHING)  # keeps every end
    nodes = np.flatnonzero(tree.expanded)[1:]
    assert len(nodes) > 300
    np.testing.assert_allclose(seen["bound"][nodes], MARGIN * below(tree)[nodes], rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("name", FAMILIES)
def test_certified_paths_are_the_largest_there_are(name, monkeypatch):
    """Five prompts a family, the true list by growing the whole tree; here next to nothing is chosen by value."""
    monkeypatch.setattr(growing, "EXPANSIONS", 2)
    for seed in range(5):
        input = frozen(name, seed)
        target = logit_difference(input.model, 3, 5, position=-1 - seed % 2)
        every = path_tree(input, target, EVERYTHING)
        true = np.sort(np.abs(every.value[every.complete]))[::-1]
        tree = path_tree(input, target, top=20)
        assert tree.certified(20) == 20
        np.testing.assert_allclose([abs(path.value) for path in tree.paths(20)], true[:20], rtol=1e-9)
        assert tree.expanded.sum() < every.expanded.sum()
        assert tree.total == pytest.approx(every.total, abs=1e-12 * tree.mass)


def test_by_value_alone_the_list_is_wrong_and_says_so(monkeypatch):
    """The negative control: with few expansions some of the largest are missed, and none is called certain."""
    missed = 0
    for seed in range(5):
        input = frozen("llama", seed)
        target = logit(input.model, 3)
        every, tree = path_tree(input, target, EVERYTHING), path_tree(input, target, 20)
        missed += len({p.components for p in every.paths(20)} - {p.components for p in tree.paths(20)})
        assert tree.certified(20) == 0
        assert math.isinf(tree.unlisted)
        assert "larger paths may exist" in tree.table().caption
    assert missed


def test_when_the_expansions_end_first_only_some_are_certified(monkeypatch):
    """The more may be expanded the more is certain; what is called certain is true at every stage."""
    monkeypatch.setattr(growing, "EXPANSIONS", 2)
    input = frozen("gpt2", 3)
    target = logit_difference(input.model, 3, 5)
    every = path_tree(input, target, EVERYTHING)
    true = np.abs([path.value for path in every.paths(20)])
    counts = []
    for n in (5, 20, 60, 2000):
        tree = path_tree(input, target, n, top=20)
        assert tree.expanded.sum() <= n + 1
        counts.append(tree.certified(20))
        np.testing.assert_allclose(np.abs([p.value for p in tree.paths(20)])[: counts[-1]], true[: counts[-1]])
        listed = {tree.chain(row) for row in np.flatnonzero(tree.complete)}
        outside = [abs(every.value[row]) for row in np.flatnonzero(every.complete) if every.chain(row) not in listed]
        assert max(outside) <= tree.unlisted
    assert counts == sorted(counts)
    assert counts[0] < 20
    assert counts[-1] == 20


def test_a_tree_with_a_certificate_conserves_and_holds_what_one_without_does():
    input = frozen("gemma2", 2, n=5)
    target = logit_difference(input.model, 3, 5)
    plain, certain = path_tree(input, target, 500), path_tree(input, target, top=10)
    children = np.zeros(len(certain.value))
    np.add.at(children, certain.parent[1:], certain.value[1:])
    gap = np.abs(certain.value - children - certain.remainder)[certain.expanded].max()
    assert gap < 1e-12 * certain.mass
    expanded = [{tree.chain(row) for row in np.flatnonzero(tree.expanded)} for tree in (plain, certain)]
    assert expanded[0] <= expanded[1]
    rows = list(zip(certain.parent.tolist(), certain.component.tolist(), certain.position.tolist(), strict=True))
    assert len(set(rows)) == len(rows)


def test_a_path_that_starts_at_a_weightless_component_has_no_bound():
    """A head without output weights writes nothing: no path goes through it, and its bound is 0."""
    input = frozen("llama")
    moments = path_bounds(input, 8.0)
    silent = dataclasses.replace(moments, out=moments.out.clone().index_fill_(1, torch.tensor([2]), 0.0))
    children = ByPosition(input, resolve(input, logit(input.model, 3))).target()
    seen = np.array([len(input.layout.components)])
    for bounds, result in ((moments, True), (silent, False)):
        (_, _, component), _ = bounds.children(children, seen, 1e-9)
        assert (input.layout.start(1) + 2 in component) == result


def test_the_certificate_is_saved_and_in_the_table(tmp_path):
    input = frozen("llama")
    tree = path_tree(input, logit(input.model, 3), top=5)
    tree.save(tmp_path / "tree")
    loaded = PathTree.load(tmp_path / "tree")
    assert loaded.unlisted == tree.unlisted
    assert loaded.certified(5) == 5
    assert "no other path is larger" in loaded.table(5).caption
    assert "among the others larger paths may exist" in loaded.table(50).caption


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"top": -1}, "top=-1"),
        ({"top": 5, "nodes": "component"}, 'paths are certified with nodes="position"'),
        ({"top": 5, "max_gigabytes": 1e-6}, "pass a larger max_gigabytes, or leave out top"),
    ],
)
def test_refusals(options, text):
    input = frozen("llama")
    with pytest.raises(UsageError, match=text):
        path_tree(input, logit(input.model, 3), **options)


def test_a_negative_number_of_paths_is_refused():
    tree = path_tree(frozen("llama"), logit(models.load("llama", torch.float64), 3), 20)
    assert tree.paths(0) == ()
    with pytest.raises(UsageError, match="k=-1, but it must be at least 0"):
        tree.paths(-1)
