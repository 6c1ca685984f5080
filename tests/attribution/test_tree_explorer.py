"""A path tree as an explorer: sums are conserved, components are where they belong, nothing is lost."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from interp.attribution import contrast, freeze, logit, path_tree, tree_explorer
from interp.errors import UsageError
from interp.report import Explorer
from tests import models

IDS = models.tokens(2, 5)
EVERYTHING = 10**6


@pytest.fixture(scope="module", params=["frozen", "contrast"])
def tree(request):
    model = models.load("gpt2", torch.float64)
    linear = freeze(model, IDS[:1]) if request.param == "frozen" else contrast(model, IDS[0], IDS[1])
    return path_tree(linear, logit(model, 3), 60)


def inputs(explorer: Explorer) -> dict[str, float]:
    sums: dict[str, float] = {}
    for edge in explorer.edges:
        sums[edge.target] = sums.get(edge.target, 0.0) + edge.value
    return sums


def test_what_feeds_a_node_and_the_rest_of_the_tree_sum_to_it(tree):
    explorer = tree_explorer(tree, EVERYTHING)
    values, sums = {node.id: node.value for node in explorer.nodes}, inputs(explorer)
    assert explorer.is_tree
    assert explorer.conserved
    split = {int(tree.parent[row]) for row in range(len(tree.value)) if tree.is_branch(row)}
    assert len(explorer.nodes) == len(tree.value) - len(split)
    rest = {name: tree.remainder[int(name)] for name in sums}
    for row in split:  # the remainder of a head's branches is that of the node it feeds
        rest[str(int(tree.parent[row]))] += tree.remainder[row]
    worst = max(abs(values[name] - sums[name] - rest[name]) for name in sums)
    assert worst < 1e-9 * tree.mass  # float64, some hundred additions


def test_components_stand_in_their_layer_and_at_their_token(tree):
    nodes = tree_explorer(tree, EVERYTHING).nodes
    for node in nodes:
        result = re.match(r"(L|MLP)(\d+)", node.label)
        wanted = int(result[2]) + 0.5 * (result[1] == "MLP") if result else -1
        expected = {"target": tree_layers(tree), "embed": -1, "bias": -1}.get(node.kind, wanted)
        assert node.layer == expected, node
        assert "@" not in node.label
    biases = set() if tree.of_contrast else {"bias"}
    assert {node.kind for node in nodes} == {"target", "head", "mlp", "embed"} | biases


def tree_layers(tree) -> int:
    return sum(name.startswith("MLP") and "." not in name for name in tree.components)


def test_only_what_could_be_expanded_and_was_not_is_open(tree):
    opened = {int(node.id) for node in tree_explorer(tree, EVERYTHING).nodes if node.open}
    assert opened == set(np.flatnonzero(~tree.expanded & ~tree.complete).tolist())


def test_fewer_nodes_are_the_largest_with_all_that_they_feed(tree):
    small = tree_explorer(tree, 20)
    assert len(small.nodes) <= 20 + 12  # the last node brings its chain with it
    assert len(small.edges) == len(small.nodes) - 1
    assert "largest of its" in small.caption
    assert "largest of its" not in tree_explorer(tree, EVERYTHING).caption
    with pytest.raises(UsageError, match="max_nodes"):
        tree_explorer(tree, 1)
