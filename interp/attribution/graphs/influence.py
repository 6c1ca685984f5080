"""Influence of nodes on targets, and pruning by it. Arrays only.

With A~ = |A|, each row divided by its sum, and w the targets' weights, a node's influence is the share of the targets'
weight that paths of any length carry from it:

    influence = w (A~ + A~² + …) = w ((I − A~)⁻¹ − I)

A graph keeps the nodes that hold `node_share` of all influence, then the edges that hold `edge_share` of what edges
carry, A~[i, j] · (influence_i + w_i) computed again among these nodes; then nodes without outgoing edges, and latents
without incoming ones, are removed until there are none. These are the definitions of circuit-tracer, so that graphs
can be compared.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

LEAST = 1e-10
"""Rows whose absolute sum is below this are not divided by it."""

Square = Float[np.ndarray, "node node"]
Each = Float[np.ndarray, " node"]
Chosen = Bool[np.ndarray, " node"]


def normalised(adjacency: Square) -> Square:
    """Return |A| with rows (targets) that sum to 1.

    Rows of zeros stay zero.
    """
    size = np.abs(adjacency)
    return size / np.maximum(size.sum(1, keepdims=True), LEAST)


def influence(shares: Square, weights: Each) -> Each:
    """Compute the influence w (A~ + A~² + …) of every node.

    The graph must have no cycles, so that its powers vanish.
    """
    current = weights @ shares
    total = current.copy()
    for _ in range(len(weights)):
        if not current.any():
            return total
        current = current @ shares
        total += current
    raise ValueError("The graph has a cycle.")


def row_influence(effects: Float[np.ndarray, "row node"], row_node: np.ndarray, weights: Each) -> Each:
    """Compute influence where only the rows of some nodes are known.

    These nodes are `row_node`.
    """
    shares = np.abs(effects)
    shares = shares / np.maximum(shares.sum(1, keepdims=True), LEAST)
    current, total = weights.copy(), np.zeros_like(weights)
    while (current := current[row_node] @ shares).any():
        total += current
    return total


@dataclass(frozen=True)
class Pruned:
    """Nodes and edges that remain after pruning.

    For every node also the share of influence that it and larger ones have.
    """

    nodes: Chosen
    edges: Bool[np.ndarray, "node node"]
    influence: Each
    cumulative: Each


def prune(adjacency: Square, weights: Each, fixed: Chosen, fed: Chosen, node_share: float, edge_share: float) -> Pruned:
    """Prune nodes and edges by influence.

    `fixed` nodes always stay, `fed` ones need an edge into them.
    """
    each = influence(normalised(adjacency), weights)
    nodes = (each >= threshold(each, node_share)) | fixed
    inner = np.where(nodes[:, None] & nodes[None], adjacency, 0.0)
    shares = normalised(inner)
    carried = shares * (influence(shares, weights) + weights)[:, None]
    edges = carried >= threshold(carried.ravel(), edge_share)
    while True:
        left = nodes & (fixed | edges.any(0)) & (~fed | edges.any(1))
        if (left == nodes).all():
            break
        nodes = left
        edges = edges & nodes[:, None] & nodes[None]
    edges = edges & nodes[:, None] & nodes[None] & (adjacency != 0)
    order = np.argsort(-each, kind="stable")
    cumulative = np.empty_like(each)
    cumulative[order] = np.cumsum(each[order]) / max(each.sum(), LEAST)
    return Pruned(nodes, edges, each, cumulative)


def threshold(scores: Float[np.ndarray, " n"], share: float) -> float:
    """Return the smallest of the largest scores that make up a share.

    They sum to `share` of the total.
    """
    ordered = -np.sort(-scores)
    cumulative = np.cumsum(ordered) / max(float(ordered.sum()), LEAST)
    return float(ordered[min(int(np.searchsorted(cumulative, share)), len(ordered) - 1)])


def replacement(adjacency: Square, weights: Each, tokens: Chosen, errors: Chosen) -> float:
    """Return influence of tokens / influence of tokens and errors."""
    each = influence(normalised(adjacency), weights)
    whole = each[tokens].sum() + each[errors].sum()
    return float(each[tokens].sum() / whole) if whole else 0.0


def completeness(adjacency: Square, weights: Each, errors: Chosen) -> float:
    """Compute the completeness score of a graph.

    Σ (1 − errors' share of a node's inputs) · (influence + w) / Σ (influence + w).
    """
    shares = normalised(adjacency)
    each = influence(shares, weights) + weights
    return float(((1 - shares[:, errors].sum(1)) * each).sum() / each.sum())
