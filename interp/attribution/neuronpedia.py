"""Path trees in the JSON form of Neuronpedia's and circuit-tracer's viewers.

Both viewers expect more than the published schema says, and `neuronpedia_graph` keeps to it: they read a logit's
probability from the text "(p=...)" in its label, know a closed list of node types, distinguish nodes by their ids
alone, and look for a layer above 0 among the nodes that are not logits.
"""

from __future__ import annotations

import importlib.metadata
import re
from typing import Any

from interp.attribution.paths import OWN_BIAS, TARGET, PathTree
from interp.errors import UsageError, require, whole

KINDS = {
    "head": "lorsa error",
    "mlp": "mlp reconstruction error",
    "latent": "cross layer transcoder",
    "embed": "embedding",
    "bias": "bias",
}
"""The viewers' node types. A head or MLP that no dictionary takes apart is to them what a dictionary leaves over."""


def neuronpedia_graph(tree: PathTree, *, slug: str, scan: str, max_nodes: int = 500) -> dict[str, Any]:
    """Return the tree as a graph in Neuronpedia's form.

    Equal (component, position) nodes are merged, links weighted by the flow between them.

    Args:
        tree: a tree grown with `nodes="position"`.
        slug: the graph's name on the site; characters other than letters, digits, "_", "." and "-" become "-".
        scan: the model's name there, likewise.
        max_nodes: keep the graph's nodes with the largest flow, a node being the sum of its tree nodes.

    Returns:
        A dictionary for `json.dumps`: metadata, qParams, nodes and links. A link's weight is the sum of the values of
        all tree edges between the two nodes, in the tree's unit. The target is the one logit node, labelled with the
        probability of its tokens (1 for a target that is not made of tokens).

    Raises:
        UsageError: a tree of whole components or of a contrast, or a `max_nodes` that leaves no head or MLP to show.

    >>> tree = attribution.path_tree(attribution.freeze(model, tokens), attribution.logit(model, " Paris"), 20)
    >>> document = neuronpedia_graph(tree, slug="towers", scan="llama", max_nodes=10)
    >>> len(document["nodes"]), len(document["links"])
    (10, 11)
    """
    require(tree, PathTree, "tree")
    require(slug, str, "slug")
    require(scan, str, "scan")
    max_nodes = whole(max_nodes, "max_nodes", 1)
    if tree.nodes != "position":
        raise UsageError('A graph needs nodes at positions: grow the tree with nodes="position".')
    if tree.of_contrast:
        raise UsageError("The viewers show one prompt, and this tree is of two: export the tree of a frozen input.")
    keys = [_key(tree, row) for row in range(len(tree.value))]
    flow: dict[str, float] = {}
    weights: dict[tuple[str, str], float] = {}
    for row, key in enumerate(keys):
        flow[key] = flow.get(key, 0.0) + float(tree.value[row])
        if row:
            link = (key, keys[int(tree.parent[row])])
            weights[link] = weights.get(link, 0.0) + float(tree.value[row])
    largest = sorted(flow, key=lambda key: (key != keys[0], -abs(flow[key])))[:max_nodes]
    shown, influence = set(largest), _influence([abs(flow[key]) for key in largest])
    shares = dict(zip(largest, influence, strict=True))
    first_row = {key: row for row, key in reversed(list(enumerate(keys)))}
    ordered = sorted(shown, key=lambda key: first_row[key])
    nodes = _numbered([_node(tree, first_row[key], key, flow[key], shares[key]) for key in ordered])
    return {
        "metadata": {
            "slug": safe_name(slug),
            "scan": safe_name(scan),
            "prompt_tokens": list(tree.tokens),
            "prompt": "".join(tree.tokens),
            "info": {
                "description": f"Exact frozen path attribution of the {tree.target}, in {tree.unit}.",
                "generator": generator(),
            },
        },
        "qParams": {"linkType": "both", "pinnedIds": [], "clickedId": keys[0], "supernodes": [], "sg_pos": ""},
        "nodes": nodes,
        "links": [
            {"source": source, "target": target, "weight": weight}
            for (source, target), weight in weights.items()
            if source in shown and target in shown
        ],
    }


def safe_name(text: str) -> str:
    """Replace by "-" what the site does not accept in names."""
    return re.sub(r"[^A-Za-z0-9_.-]", "-", text)


def generator() -> dict[str, str]:
    """Return what made a file: this package and its version."""
    return {"name": "interp", "version": importlib.metadata.version("interp")}


def _key(tree: PathTree, row: int) -> str:
    """Return layer_feature_position; biases belong to the node whose bias they are."""
    component, position = int(tree.component[row]), int(tree.position[row])
    if component == TARGET:
        return f"{_n_layer(tree) + 1}_0_{position}"
    if component == OWN_BIAS:
        return f"{_key(tree, int(tree.parent[row]))}_bias"
    return f"{_layer(tree, row)}_{component}_{position}"


def _influence(sizes: list[float]) -> list[float]:
    """Return the share of flow that a node and larger ones carry.

    The viewer's slider shows nodes up to a share.
    """
    total, running = sum(sizes) or 1.0, 0.0
    return [min(1.0, (running := running + size) / total) for size in sizes]


def _numbered(nodes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Count layers from 1 where all nodes but the target are in layer 0.

    The viewers find none in layer 0.
    """
    layers = [int(node["layer"]) for node in nodes if node["feature_type"] != "logit" and node["layer"] != "E"]
    if not layers:
        raise UsageError("No head or MLP is among the graph's nodes: give a larger max_nodes or grow the tree further.")
    if max(layers) == 0:
        for node in nodes:
            node["layer"] = node["layer"] if node["layer"] == "E" else str(int(node["layer"]) + 1)
    return nodes


def _node(tree: PathTree, row: int, key: str, flow: float, influence: float) -> dict[str, Any]:
    component = int(tree.component[row])
    target = component == TARGET
    weight = 1.0 if tree.probability is None else tree.probability
    return {
        "node_id": key,
        "feature": component if component >= 0 else None,
        "layer": _layer(tree, row),
        "ctx_idx": int(tree.position[row]),
        "feature_type": "logit" if target else KINDS[tree.kind(row)],
        "jsNodeId": f"{key}-0",
        "clerp": f'Output "{tree.target}" (p={weight:.3f})' if target else tree.name(row),
        "influence": influence,
        "activation": flow,
        "token_prob": weight if target else 0.0,
        "is_target_logit": target,
    }


def _layer(tree: PathTree, row: int) -> str:
    """Return the viewer's row of a node.

    "E" for embeddings, the layer's number otherwise, the target's above all of them.
    """
    component = int(tree.component[row])
    if component == TARGET:
        return str(_n_layer(tree) + 1)
    if component == OWN_BIAS:
        parent = int(tree.parent[row])
        return _layer(tree, parent) if parent else str(_n_layer(tree))
    numbered = re.match(r"(?:L|MLP)(\d+)", tree.components[component])
    return numbered.group(1) if numbered else "E"


def _n_layer(tree: PathTree) -> int:
    layers = (re.match(r"(?:L|MLP)(\d+)", name) for name in tree.components)
    return 1 + max((int(numbered.group(1)) for numbered in layers if numbered), default=-1)
