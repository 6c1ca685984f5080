"""The exported graph has the viewer's form and the tree's numbers."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import transformers

import interp
from interp.attribution import direction, freeze, logit_difference, neuronpedia_graph, path_tree
from interp.errors import UsageError
from tests import models

IDS = models.tokens(1, 6)
NODE = {
    "node_id": str,
    "feature": (int, type(None)),
    "layer": str,
    "ctx_idx": int,
    "feature_type": str,
    "jsNodeId": str,
    "clerp": str,
    "influence": float,
    "activation": float,
    "token_prob": float,
    "is_target_logit": bool,
}
KNOWN = {"cross layer transcoder", "mlp reconstruction error", "embedding", "logit", "bias", "lorsa", "lorsa error"}


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
    assert sum(node["feature_type"] == "logit" for node in graph["nodes"]) == 1
    ids = [node["node_id"] for node in graph["nodes"]]
    assert len(set(ids)) == len(ids)
    assert graph["qParams"]["clickedId"] in ids
    assert graph["links"]
    for link in graph["links"]:
        assert link["source"] in ids
        assert link["target"] in ids


def refused(graph) -> list[str]:
    """What stops the viewers from drawing a graph that has the schema's form: their parsing, rule by rule."""
    nodes, problems = graph["nodes"], []
    ids = [node["node_id"] for node in nodes]
    problems += ["two nodes have one id"] if len(set(ids)) < len(ids) else []
    problems += ["a node of an unknown type"] if {node["feature_type"] for node in nodes} - KNOWN else []
    for node in nodes:
        if node["feature_type"] == "logit":
            label, _, chance = node["clerp"].partition("(p=")
            if node["clerp"] and not (label and chance):
                problems.append("a logit without (p=")
            elif not 0 <= float(chance.rstrip(")")) <= 1:
                problems.append("a probability that is none")
    layers = [0 if n["layer"] == "E" else int(n["layer"]) for n in nodes if n["feature_type"] != "logit"]
    top = [int(n["layer"]) for n in nodes if n["feature_type"] == "logit"]
    problems += ["no layer found"] if max(layers, default=0) == 0 else []
    problems += ["a logit that is not on top"] if max(layers, default=0) >= min(top) else []
    return problems


@pytest.mark.parametrize("name", models.NAMES)
@pytest.mark.parametrize("max_nodes", [30, 10**6])
def test_the_viewers_open_it(name, max_nodes):
    tree = grown(name)
    assert refused(neuronpedia_graph(tree, slug="s", scan="m", max_nodes=max_nodes)) == []


def test_the_rules_refuse_what_the_viewers_cannot_open():
    """Each rule, with a graph that breaks it."""
    broken = {
        "a logit without (p=": lambda nodes: nodes[0].update(clerp="logit of token 3"),
        "a node of an unknown type": lambda nodes: nodes[1].update(feature_type="attention head"),
        "two nodes have one id": lambda nodes: nodes[1].update(node_id=nodes[2]["node_id"]),
        "no layer found": lambda nodes: [node.update(layer="0") for node in nodes[1:]],
        "a logit that is not on top": lambda nodes: nodes[0].update(layer="1"),
    }
    for problem, damage in broken.items():
        graph = neuronpedia_graph(grown(), slug="s", scan="m")
        damage(graph["nodes"])
        assert problem in refused(graph)


def test_a_model_of_one_layer_has_a_layer_above_zero():
    hf = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=64,
            hidden_size=24,
            intermediate_size=40,
            num_hidden_layers=1,
            num_attention_heads=4,
            max_position_embeddings=40,
            attn_implementation="eager",
        )
    )
    model = interp.load(hf.eval())
    tree = path_tree(freeze(model, IDS), logit_difference(model, 3, 5), 50)
    graph = neuronpedia_graph(tree, slug="s", scan="m")
    assert refused(graph) == []
    assert {node["layer"] for node in graph["nodes"]} == {"E", "1", "3"}


def test_the_label_of_the_target_is_its_probability():
    model = models.load("gpt2")
    frozen = freeze(model, IDS)
    chance = float(model(IDS)[0, -1].double().softmax(-1)[3])
    for target, expected in ((logit_difference(model, 3, 5), chance), (direction(model, torch.ones(24), 1), 1.0)):
        node = neuronpedia_graph(path_tree(frozen, target, 50), slug="s", scan="m")["nodes"][0]
        assert node["clerp"].endswith(f"(p={expected:.3f})")
        assert node["token_prob"] == pytest.approx(expected, rel=1e-4)


def test_names_that_the_site_does_not_take_are_spelled_as_it_can():
    graph = neuronpedia_graph(grown(n=20), slug="a b", scan="org/model")
    assert graph["metadata"]["slug"] == "a-b"
    assert graph["metadata"]["scan"] == "org-model"


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


def test_the_largest_nodes_remain_and_come_first():
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
    with pytest.raises(UsageError, match="max_nodes=0, but it must be at least 1"):
        neuronpedia_graph(grown(n=5), slug="s", scan="m", max_nodes=0)
    with pytest.raises(UsageError, match="No head or MLP is among the graph's nodes"):
        neuronpedia_graph(grown(n=5), slug="s", scan="m", max_nodes=1)
