"""The geometry of features in a hidden space: dimensions and polytopes.

Everything here is numpy, takes the feature directions W of shape (..., features, hidden), and is unchanged when the
hidden space is rotated or reflected (W -> W O), because the models' outputs are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from interp.arguments import checked
from interp.errors import UsageError

DEAD = 1e-6
"""A feature with a shorter direction than this is not in the hidden space at all."""
PRESENT = 0.5
"""A feature with a longer direction than this counts as represented."""


@checked
def dimensionality(w: Float[np.ndarray, "*grid features hidden"]) -> Float[np.ndarray, "*grid features"]:
    """Return D_i = ‖W_i‖² / Σ_j (Ŵ_i · W_j)² of every feature.

    It is the fraction of a dimension that feature i has for itself; 0 for a dead feature.

    (Scherlis et al. 2022, arXiv 2210.01892, call the same quantity capacity.) Theorem: Σ_i D_i ≤ rank W, because with
    M = W Wᵀ, D_i = M_ii² / (M²)_ii ≤ P_ii for P the projector onto M's range, by Cauchy-Schwarz, and Σ P_ii = rank W.

    >>> dimensionality(np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]])).tolist()
    [0.5, 0.5, 1.0]
    """
    w = np.asarray(w, dtype=np.float64)
    norm = np.linalg.norm(w, axis=-1)
    alive = norm > DEAD
    unit = w / np.where(alive, norm, 1)[..., None]
    overlap = np.square(unit @ np.swapaxes(w, -1, -2)).sum(-1)
    return np.where(alive, norm**2 / np.where(alive, overlap, 1), 0.0)


@checked
def frobenius(w: Float[np.ndarray, "*grid features hidden"]) -> Float[np.ndarray, "*grid"]:
    """Return ‖W‖²_F = Σ_i ‖W_i‖², the paper's count of features.

    Sparse features are longer than 1: see `represented`.

    >>> float(frobenius(np.eye(3)))
    3.0
    """
    return np.square(np.asarray(w, dtype=np.float64)).sum((-1, -2))


@checked
def represented(w: Float[np.ndarray, "*grid features hidden"], *, above: float = PRESENT) -> Int[np.ndarray, "*grid"]:
    """Return how many features have a direction longer than `above`.

    >>> int(represented(np.array([[1.0, 0.0], [0.1, 0.0]])))
    1
    """
    return (np.linalg.norm(w, axis=-1) > above).sum(-1)


@checked
def interference(w: Float[np.ndarray, "*grid features hidden"]) -> Float[np.ndarray, "*grid features"]:
    """Return Σ_{j≠i} (Ŵ_i · W_j)² of every feature.

    It is how much of the other features is read along feature i; 0 for a dead feature.

    >>> interference(np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]])).tolist()
    [1.0, 1.0, 0.0]
    """
    w = np.asarray(w, dtype=np.float64)
    norm = np.linalg.norm(w, axis=-1)
    unit = w / np.where(norm > DEAD, norm, np.inf)[..., None]
    return np.square(unit @ np.swapaxes(w, -1, -2)).sum(-1) - np.where(norm > DEAD, norm, 0) ** 2


@checked
def gaps(w: Float[np.ndarray, "features 2"], *, above: float = PRESENT) -> Float[np.ndarray, " represented"]:
    """Return angles in degrees between neighbouring represented features, which sum to 360.

    Raises `UsageError` unless the hidden space has 2 dimensions.

    >>> gaps(np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])).tolist()
    [90.0, 90.0, 180.0]
    """
    if w.ndim != 2 or w.shape[1] != 2:
        raise UsageError(f"Angles around a circle need directions of shape (features, 2), not {w.shape}.")
    present = w[np.linalg.norm(w, axis=1) > above]
    angle = np.sort(np.degrees(np.arctan2(present[:, 1], present[:, 0])))
    return np.diff(angle, append=angle[:1] + 360)


@checked
def cosines(w: Float[np.ndarray, "*grid features hidden"]) -> Float[np.ndarray, "*grid features features"]:
    """Return cosines between directions; those of dead features are 0."""
    norm = np.linalg.norm(w, axis=-1, keepdims=True)
    unit = w / np.where(norm > DEAD, norm, np.inf)
    return unit @ np.swapaxes(unit, -1, -2)


@checked
def canonical(w: Float[np.ndarray, "features hidden"]) -> Float[np.ndarray, "features hidden"]:
    """Return W rotated and reflected into a unique orientation.

    The first feature lies along the first axis, the next has a positive second coordinate and no third, and so on;
    dead and dependent features set no axis. Matrices that differ by a rotation or
    reflection have the same canonical form.

    >>> canonical(np.array([[0.0, 2.0], [1.0, 0.0]]))
    array([[2., 0.],
           [0., 1.]])
    """
    w = np.asarray(w, dtype=np.float64)
    axes = np.zeros((0, w.shape[1]))
    for row in w:
        rest = row - axes.T @ (axes @ row)
        rest -= axes.T @ (axes @ rest)
        if np.linalg.norm(rest) > 1e-3 * max(1.0, np.linalg.norm(row)):
            axes = np.vstack([axes, rest / np.linalg.norm(rest)])
    out = np.zeros_like(w)
    out[:, : len(axes)] = w @ axes.T
    return out


@dataclass(frozen=True)
class Factor:
    """Features that share a subspace orthogonal to all others.

    They are a polytope of a tegum product.

    >>> antipodal = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]])
    >>> toy.tegum_factors(antipodal)[0]
    Factor(features=(0, 1), rank=1, name='digon')
    """

    features: tuple[int, ...]
    rank: int
    name: str

    @property
    def dimensions(self) -> float:
        """Dimensions per feature, rank / features.

        D of each feature if they form a tight frame of equal lengths.
        """
        return self.rank / len(self.features)


@checked
def tegum_factors(
    w: Float[np.ndarray, "features hidden"], *, above: float = PRESENT, touching: float = 0.1
) -> tuple[Factor, ...]:
    """Split the represented features into mutually orthogonal groups.

    They are the factors of a tegum product: connected components of the graph |W_i · W_j| > `touching`; a factor's rank
    counts the singular values above a tenth of its largest. An octahedron is three digons; a triangular bipyramid a
    triangle and a digon.

    Args:
        w: feature vectors, one a row.
        above: norm from which a feature counts as represented.
        touching: |W_i · W_j| above which two features are in one group.

    Returns:
        The groups.

    >>> [factor.name for factor in tegum_factors(np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0]]))]
    ['digon', 'alone']
    """
    present = [i for i in range(len(w)) if np.linalg.norm(w[i]) > above]
    linked = np.abs(w @ w.T) > touching
    factors: list[Factor] = []
    while present:
        group, edge = {present[0]}, [present[0]]
        while edge:
            fresh = [j for j in present if linked[edge[-1], j] and j not in group]
            edge[-1:] = fresh
            group |= set(fresh)
        present = [i for i in present if i not in group]
        members = tuple(sorted(group))
        size = np.linalg.svd(w[list(members)], compute_uv=False)
        rank = int((size > 0.1 * size[0]).sum())
        factors.append(Factor(members, rank, polytope(len(members), rank)))
    return tuple(factors)


def polytope(count: int, rank: int) -> str:
    """Return the usual name of `count` features in `rank` dimensions.

    >>> polytope(2, 1), polytope(5, 2), polytope(8, 3), polytope(7, 4)
    ('digon', 'pentagon', 'square antiprism', '7 in 4')
    """
    named = {(1, 1): "alone", (2, 1): "digon", (8, 3): "square antiprism"}
    polygons = {3: "triangle", 4: "square", 5: "pentagon", 6: "hexagon", 7: "heptagon", 8: "octagon"}
    if (count, rank) in named:
        return named[count, rank]
    if rank == 2 and count in polygons:
        return polygons[count]
    if count == rank + 1:
        return "tetrahedron" if rank == 3 else f"{rank}-simplex"
    return f"{count} in {rank}"


@checked
def features_per_neuron(w: Float[np.ndarray, "*grid features neurons"]) -> Int[np.ndarray, "*grid neurons"]:
    """Count the features that each neuron represents.

    Features count if they move the neuron by over a quarter of its strongest.

    0 for a dead neuron.

    Weights are rescaled to a largest of 1 per neuron first: a ReLU neuron's scale is free.
    """
    size = np.abs(w)
    largest = size.max(axis=-2, keepdims=True)
    # A trained neuron whose weights all stay under a hundredth of the layer's largest serves no feature.
    alive = largest > 0.01 * size.max(axis=(-1, -2), keepdims=True)
    return ((size > 0.25 * largest) & alive).sum(axis=-2)


@checked
def monosemantic_fraction(w: Float[np.ndarray, "*grid features neurons"]) -> Float[np.ndarray, "*grid"]:
    """Return the fraction of live neurons moved by a single feature.

    See `features_per_neuron`; NaN when every neuron is dead.

    >>> float(monosemantic_fraction(np.eye(3)))
    1.0
    """
    count = features_per_neuron(w)
    alive = (count > 0).sum(-1)
    return np.where(alive > 0, (count == 1).sum(-1) / np.maximum(alive, 1), np.nan)
