"""A graph in the JSON form that Neuronpedia and circuit-tracer's viewer read.

Beyond their schema both viewers expect that ids are unique, that a logit's text holds "(p=...)", that node types are
of a closed list, and that some node that is not a logit is in a layer above 0; `interp.attribution.neuronpedia` says
where each is read. What attention does for a node is in the schema's own fields `qk_tracing_results`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from interp.attribution.neuronpedia import generator, safe_name
from interp.errors import require

if TYPE_CHECKING:
    from interp.attribution.graphs.result import Graph, Node

TYPES = {
    "latent": "cross layer transcoder",
    "error": "mlp reconstruction error",
    "token": "embedding",
    "target": "logit",
}
"""The viewers' node types; a per-layer transcoder's latents go by the first."""


def to_neuronpedia(graph: Graph, slug: str, scan: str) -> dict[str, Any]:
    """Return the graph as a dictionary for `json.dumps`; see `Graph.to_neuronpedia`.

    Ids are those of the viewers, made unique: latents "layer_number_position" with the Cantor pair of layer and number
    as `feature`, errors "layer_error_position" (the viewers' own "0_layer_position" is also that of a latent of layer
    0), tokens "E_id_position" and targets "layer_id_position". Layers count from 1 where nothing but tokens and
    targets lies above layer 0.
    """
    require(slug, str, "slug")
    require(scan, str, "scan")
    inner = [node.layer for node in graph.nodes if node.kind in ("latent", "error")]
    shift = int(max(inner, default=0) == 0)
    names = dict(zip(graph.ids, _ids(graph), strict=True))
    first_target = graph.kind.index("target")
    nodes = [_node(graph, i, names[node.id], shift, first_target) for i, node in enumerate(graph.nodes)]
    for node, name in zip(nodes, graph.ids, strict=True):
        if name in graph.queries:
            node["qk_tracing_results"] = _queries(graph.queries[name], names)
    return {
        "metadata": {
            "slug": safe_name(slug),
            "scan": safe_name(scan),
            "prompt_tokens": list(graph.tokens),
            "prompt": "".join(graph.tokens),
            "node_threshold": graph.node_share,
            "schema_version": 1,
            "info": {"description": graph.summary(), "generator": generator()},
            "pruning_settings": {"node_threshold": graph.node_share, "edge_threshold": graph.edge_share},
            "generation_settings": {
                "max_n_logits": len(graph.probabilities),
                "desired_logit_prob": min(1.0, sum(graph.probabilities)),
                "batch_size": 256,
                "max_feature_nodes": graph.n_rows,
            },
        },
        "qParams": {
            "linkType": "both",
            "pinnedIds": [],
            "clickedId": names[graph.ids[first_target]],
            "supernodes": [[name, *(names[node] for node in members)] for name, members in graph.supernodes.items()],
            "sg_pos": "",
        },
        "nodes": nodes,
        "links": [
            {"source": names[edge.source], "target": names[edge.target], "weight": edge.weight} for edge in graph.edges
        ],
    }


def _ids(graph: Graph) -> list[str]:
    """Return a unique id for each node.

    Its place's name is added where two are equal.
    """
    ids: list[str] = []
    taken: set[str] = set()
    for node in graph.nodes:
        middle = "error" if node.kind == "error" else node.feature
        name = f"{'E' if node.kind == 'token' else _row(graph, node)}_{middle}_{node.position}"
        name = name if name not in taken else f"{name}_{node.name}"
        taken.add(name)
        ids.append(name)
    return ids


def _row(graph: Graph, node: Node) -> int:
    return graph.n_layer + 1 if node.kind == "target" else node.layer


def _node(graph: Graph, i: int, name: str, shift: int, first_target: int) -> dict[str, Any]:
    node = graph.nodes[i]
    target, latent = node.kind == "target", node.kind == "latent"
    chance = graph.probabilities[i - first_target] if target else 0.0
    pair = (node.layer + node.feature) * (node.layer + node.feature + 1) // 2 + node.feature
    text = f'Output "{node.label}" (p={chance:.3f})' if target else node.label or node.id
    return {
        "node_id": name,
        "feature": pair if latent else node.feature if node.kind != "error" else None,
        "layer": "E" if node.kind == "token" else str(_row(graph, node) + shift),
        "ctx_idx": node.position,
        "feature_type": TYPES[node.kind],
        "jsNodeId": f"{name}-0",
        "clerp": text,
        "influence": min(1.0, node.cumulative),
        "activation": node.value,
        "token_prob": chance,
        "is_target_logit": target and i == first_target,
        "run_idx": 0,
        "reverse_ctx_idx": len(graph.tokens) - 1 - node.position,
    }


def _queries(score: dict[str, Any], names: dict[str, str]) -> dict[str, Any]:
    """Return an attention score's pairs and marginals by node ids."""

    def name_of(name: str) -> str:
        return names.get(name, name)

    return {
        "pair_wise_contributors": [[name_of(q), name_of(k), value] for q, k, value in score["pairs"]],
        "top_q_marginal_contributors": [[name_of(name), value] for name, value in score["queries"]],
        "top_k_marginal_contributors": [[name_of(name), value] for name, value in score["keys"]],
    }
