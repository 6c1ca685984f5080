"""The structure of a network: connected parts, modularity, and whether it splits as expected.

numpy and scipy only. A network is a list of matrices (out, in), one a layer.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

Matrices = Sequence[np.ndarray]
Part = tuple[tuple[int, ...], tuple[int, ...]]
"""The inputs and the outputs that a connected part joins."""


def adjacency(matrices: Matrices) -> Float[np.ndarray, "neurons neurons"]:
    """Return |w| between all neurons, from inputs to outputs, symmetric.

    >>> adjacency([np.array([[2.0, -1.0]])])  # two inputs, one output
    array([[0., 0., 2.],
           [0., 0., 1.],
           [2., 1., 0.]])
    """
    sizes = [matrices[0].shape[1], *(len(matrix) for matrix in matrices)]
    starts = np.concatenate([[0], np.cumsum(sizes)])
    graph = np.zeros((starts[-1], starts[-1]))
    for k, matrix in enumerate(matrices):
        graph[starts[k + 1] : starts[k + 2], starts[k] : starts[k + 1]] = np.abs(matrix)
    return graph + graph.T


def live(matrices: Matrices) -> list[np.ndarray]:
    """Return the matrices without the wires of useless hidden neurons.

    Those are neurons that no input reaches, or that reach no output.

    >>> matrices = [np.eye(2), np.array([[1.0, 0.0]])]  # the second hidden neuron reaches no output
    >>> live(matrices)[0]
    array([[1., 0.],
           [0., 0.]])
    """
    masks = [np.asarray(matrix) != 0 for matrix in matrices]
    reached = np.ones(masks[0].shape[1], bool)
    for k, mask in enumerate(masks):
        masks[k] = mask & reached
        reached = masks[k].any(1)
    useful = np.ones(len(masks[-1]), bool)
    for k in reversed(range(len(masks))):
        masks[k] = masks[k] & useful[:, None]
        useful = masks[k].any(0)
    return [np.asarray(matrix) * mask for matrix, mask in zip(matrices, masks, strict=True)]


def components(matrices: Matrices) -> Int[np.ndarray, " neurons"]:
    """Return each neuron's connected part, as a number.

    A neuron without live wires is a part of its own.

    >>> components([np.array([[1.0, 0.0], [0.0, 1.0]])])
    array([0, 1, 0, 1], dtype=int32)
    """
    return connected_components(csr_matrix(adjacency(live(matrices))), directed=False)[1]


def parts(matrices: Matrices) -> tuple[Part, ...]:
    """Return the inputs and outputs of every connected part.

    Parts without an input or without an output are left out.

    >>> parts([np.array([[1.0, 0.0], [0.0, 1.0]])])
    (((0,), (0,)), ((1,), (1,)))
    """
    label = components(matrices)
    inputs, outputs = label[: matrices[0].shape[1]], label[-len(matrices[-1]) :]
    return tuple(
        (tuple(map(int, np.flatnonzero(inputs == p))), tuple(map(int, np.flatnonzero(outputs == p))))
        for p in dict.fromkeys(map(int, inputs))
        if (outputs == p).any()
    )


def splits(matrices: Matrices, expected: Sequence[Part]) -> bool:
    """Return whether the connected parts are those expected.

    No input or output may be in another part, or in none.

    >>> splits([np.array([[1.0, 0.0], [0.0, 1.0]])], [((0,), (0,)), ((1,), (1,))])
    True
    """
    return set(parts(matrices)) == {(tuple(inputs), tuple(outputs)) for inputs, outputs in expected}


def modularity(matrices: Matrices) -> float:
    """Return Newman's modularity Q of a network's weights.

    The graph is that of |w|, with a greedy partition.

    Q = Σ_modules (share of weight inside − (share of weight attached)²), in [−1/2, 1); 0 for one module (Newman 2004,
    cond-mat/0309508; merging as in Clauset, Newman and Moore 2004, cond-mat/0408187). 0 for a network without wires.

    >>> modularity([np.eye(2)]), modularity([np.ones((2, 2))])
    (0.5, 0.0)
    """
    graph = adjacency(live(matrices))
    graph = graph[:, graph.any(0)][graph.any(1)]
    if not len(graph):
        return 0.0
    share = graph / graph.sum()
    best = quality = float((np.diag(share) - share.sum(1) ** 2).sum())
    while len(share) > 1:
        attached = share.sum(1)
        gain = 2 * (share - np.outer(attached, attached))
        np.fill_diagonal(gain, -np.inf)
        # Merging two modules that share no wire never pays.
        a, b = divmod(int(np.where(share > 0, gain, -np.inf).argmax()), len(share))
        if share[a, b] == 0:
            break
        quality += float(gain[a, b])
        best = max(best, quality)
        share = _merged(share, a, b)
    return best


def _merged(share: np.ndarray, a: int, b: int) -> np.ndarray:
    """Return the graph with module b merged into a.

    The inside of the module is on the diagonal.
    """
    share = share.copy()
    share[a] += share[b]
    share[:, a] += share[:, b]
    return np.delete(np.delete(share, b, 0), b, 1)
