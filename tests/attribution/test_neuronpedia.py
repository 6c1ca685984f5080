"""The exported graph has the viewer's form and the tree's numbers."""

from __future__ import annotations

import json

import numpy as np
import pytest

from interp.attribution import freeze, logit_difference, neuronpedia_graph, path_tree
from interp.errors import UsageError
from tests import models

IDS = models.tokens(1, 6)
NODE = {"node_id": str, "feature": (int, type(None)), "layer": str, "ctx_idx": int, "feature_type": str,
        "jsNodeId": str, "clerp": str, "influence": float, "activation": float}  # fmt: skip


def grown(name: str = "gpt2", n: int = 200, nodes: str = "position"):
    model = models.load(name)
    return path_tree(freeze(model, IDS), logit_difference(model, 3, 5), n, nodes=nodes)


@pytest.mark.parametrize("name", ["gpt2", "llama", "neox"])
def test_the_form(name):
    """Required keys and their types, as the site's published JSON schema has them."""
    tree = grown(name)
    graph = json.loads(json.dumps(neuronpedia_graph(tree, slug="test", scan="a-model"), allow_nan=False))
    assert graph.keys() == {"metadata", "qParams", "nodes", "links"}
    assert graph["metadata"]["slug"] == "test"
    assert graph["metadata"]["scan"] == "a-model"
    assert graph["metadata"]["prompt_tokens"] == list(tree.tokens)
    assert graph["metadata"]["prompt"] == "".join(tree.tokens)
    for node in graph["nodes"]:
        assert node.keys() == NODE.keys()
        assert all(isinstance(node[key], kind) for key, kind in NODE.items())
        assert 0 <= node["ctx_idx"] < 6
        assert 0 <= node["influence"] <= 1
    assert {node["layer"] for node in graph["nodes"]} <= {"E", "0", "1", "2", "3"}
    assert {n["feature_type"] for n in graph["nodes"]} <= {"logit", "embedding", "mlp", "attention head", "bias"}
    assert sum(node["feature_type"] == "logit" for node in graph["nodes"]) == 1
    ids = [node["node_id"] for node in graph["nodes"]]
    assert len(set(ids)) == len(ids)
    assert graph["qParams"]["clickedId"] in ids
    assert graph["links"]
    for link in graph["links"]:
        assert link["source"] in ids
        assert link["target"] in ids


def test_the_numbers():
    """Merging loses nothing: a node's flow is that of its tree nodes, and so is what enters it."""
    tree = grown()
    graph = neuronpedia_graph(tree, slug="s", scan="m", max_nodes=10**6)
    flows = {node["node_id"]: node["activation"] for node in graph["nodes"]}
    sent = dict.fromkeys(flows, 0.0)
    for link in graph["links"]:
        sent[link["source"]] += link["weight"]
    root = graph["qParams"]["clickedId"]
    assert flows[root] == tree.value[0]
    for key in flows.keys() - {root}:
        assert sent[key] == pytest.approx(flows[key], abs=1e-9)
    assert sum(flows.values()) == pytest.approx(tree.value.sum())
    assert len(flows) < len(tree.value)


def test_the_largest_nodes_are_kept_and_shown_first():
    tree = grown()
    full = neuronpedia_graph(tree, slug="s", scan="m", max_nodes=10**6)
    small = neuronpedia_graph(tree, slug="s", scan="m", max_nodes=20)
    assert len(small["nodes"]) == 20
    sizes = sorted((abs(node["activation"]) for node in full["nodes"][1:]), reverse=True)
    assert min(abs(n["activation"]) for n in small["nodes"] if n["feature_type"] != "logit") >= sizes[19]
    ordered = sorted(small["nodes"][1:], key=lambda node: -abs(node["activation"]))
    assert np.all(np.diff([node["influence"] for node in ordered]) >= 0)
    assert max(node["influence"] for node in small["nodes"]) == pytest.approx(1)


def test_refusals():
    with pytest.raises(UsageError, match='grow the tree with nodes="position"'):
        neuronpedia_graph(grown(n=5, nodes="component"), slug="s", scan="m")
    with pytest.raises(UsageError, match="max_nodes must be at least 1, not 0"):
        neuronpedia_graph(grown(n=5), slug="s", scan="m", max_nodes=0)
