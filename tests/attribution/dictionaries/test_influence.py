"""Influence in an attribution graph, and what pruning by it leaves: against inverses and loops."""

from __future__ import annotations

import numpy as np

from interp.attribution import graph
from interp.attribution.graphs import influence
from tests.attribution.dictionaries.samples import mixed_of, whole


def test_influence_is_the_inverse():
    """(I − A)⁻¹ − I, and chains by hand: an edge that half of a node's inputs come through carries half."""
    result = whole(mixed_of())
    shares = influence.normalised(result.matrix)
    weights = np.zeros(len(shares))
    weights[-1] = 0.7
    exact = weights @ (np.linalg.inv(np.eye(len(shares)) - shares) - np.eye(len(shares)))
    np.testing.assert_allclose(influence.influence(shares, weights), exact, atol=1e-12)
    chain = np.array([[0, 0, 0.0], [2, 0, 0], [1, -3, 0]])
    np.testing.assert_allclose(influence.influence(influence.normalised(chain), np.array([0, 0, 1.0])), [1, 0.75, 0])


def slow_prune(A: np.ndarray, w: np.ndarray, fixed: np.ndarray, fed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same once more in loops: sort, take until .8 and .98, then drop what dangles."""

    def taken(scores: np.ndarray, share: float) -> np.ndarray:
        order, covered, result = np.argsort(-scores.ravel(), kind="stable"), 0.0, np.zeros(scores.size, bool)
        for i in order:
            result[i] = True
            covered += scores.ravel()[i]
            if covered >= share * scores.sum():
                break
        return result.reshape(scores.shape)

    def shares(A: np.ndarray) -> np.ndarray:
        return np.array([np.abs(row) / (np.abs(row).sum() or 1.0) for row in A])

    def total(S: np.ndarray) -> np.ndarray:
        return w @ (np.linalg.inv(np.eye(len(S)) - S) - np.eye(len(S)))

    nodes = taken(total(shares(A)), 0.8) | fixed
    inner = np.array([[A[i, j] if nodes[i] and nodes[j] else 0.0 for j in range(len(A))] for i in range(len(A))])
    S = shares(inner)
    edges = taken(S * (total(S) + w)[:, None], 0.98) & (A != 0)
    for _ in range(len(A)):
        for i in range(len(A)):
            if (not fixed[i] and not edges[:, i].any()) or (fed[i] and not edges[i].any()):
                nodes[i], edges[i], edges[:, i] = False, False, False
    return nodes, edges


def test_the_same_nodes_and_edges_remain():
    result = whole(mixed_of(first=1))
    kinds, weights = result.kinds, np.zeros(len(result.matrix))
    weights[-1] = 1.0
    fixed, fed = np.isin(kinds, ("token", "target")), kinds == "latent"
    pruned = influence.prune(result.matrix, weights, fixed, fed, 0.8, 0.98)
    nodes, edges = slow_prune(result.matrix, weights, fixed, fed)
    assert (pruned.nodes == nodes).all()
    assert (pruned.edges == edges).all()
    assert 10 < pruned.nodes.sum() < len(kinds)


def test_few_rows_are_those_of_most_influence():
    """Traced by influence, a tenth of the latents is the most influential tenth but for a few, and rows still sum."""
    mixed, target = mixed_of(), None
    full, few = graph(mixed, target, node_share=1.0), graph(mixed, target, max_latents=40, node_share=1.0)
    assert few.n_rows == 40 < full.n_rows == full.n_active
    order = [full.ids[i] for i in np.argsort(-full.influence) if full.kind[i] == "latent"]
    included = {node for node, kind in zip(few.ids, few.kind, strict=True) if kind == "latent"}
    assert len(included & set(order[:40])) > 25
    sums = few.pruned + few.bias
    np.add.at(sums, few.target, few.weight)
    fed = np.isin(few.kind, ("latent", "target"))
    np.testing.assert_allclose(sums[fed], few.value[fed], atol=1e-9)
