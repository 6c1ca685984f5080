"""The closed-form loss of tied ReLU models, and the best arrangement of features.

For values U[0, 1] and independent features of density p, with V = p/3 − p²/4 the variance of a feature: a feature left
out costs I V (its mean is the best constant), one alone on a dimension costs nothing, and two antipodal features i, j
on one dimension cost (I_i + I_j) p²/6, since E min(u, u')² = 1/6 is lost from either when both are active.
Trained models can be a few percent below, since lengths and biases also vary.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np
from jaxtyping import Float

from interp.arguments import checked
from interp.errors import UsageError

Arrangement = tuple[tuple[tuple[int, int], ...], tuple[int, ...]]
"""The antipodal pairs, and the features left out; every other feature has a dimension of its own."""


def arrangement_loss(
    arrangement: Arrangement, density: Float[np.ndarray, " features"], importance: Float[np.ndarray, " features"]
) -> float:
    """Return the loss of an arrangement of features.

    It is Σ_pairs (I_i + I_j) p_i p_j/6 + Σ_left-out I (p/3 − p²/4).
    """
    pairs, dropped = arrangement
    paired = sum((importance[i] + importance[j]) * density[i] * density[j] / 6 for i, j in pairs)
    return float(paired + sum(importance[i] * (density[i] / 3 - density[i] ** 2 / 4) for i in dropped))


@checked
def candidates(features: int, hidden: int) -> tuple[Arrangement, ...]:
    """Return every arrangement of single features and antipodal pairs on `hidden` axes.

    >>> len(candidates(3, 2))
    6
    """
    if not 0 <= hidden <= features:
        raise UsageError(f"hidden is {hidden}; it must be from 0 to the {features} features.")
    return tuple(_arrangements(tuple(range(features)), hidden))


@checked
def theory_loss(
    density: Float[np.ndarray, " features"], importance: Float[np.ndarray, " features"], hidden: int
) -> tuple[float, tuple[Arrangement, ...]]:
    """Return the lowest closed-form loss and all arrangements that reach it.

    Args:
        density: probability that each feature is active.
        importance: weight of each feature in the loss.
        hidden: dimensions.

    Returns:
        (the lowest loss, the arrangements that reach it).

    Raises:
        UsageError: not one density and one importance for each feature.

    >>> theory_loss(np.array([0.1, 0.1]), np.array([1.0, 0.5]), hidden=1)[0]
    0.003
    """
    if len(density) != len(importance):
        raise UsageError(f"There are {len(density)} densities and {len(importance)} importances: give one each.")
    known = candidates(len(density), hidden)
    losses = np.array([arrangement_loss(one, density, importance) for one in known])
    lowest = losses.min()
    return float(lowest), tuple(one for one, loss in zip(known, losses, strict=True) if loss <= lowest * (1 + 1e-9))


@checked
def read_arrangement(w: Float[np.ndarray, "features hidden"], *, above: float = 0.5) -> Arrangement:
    """Return the arrangement of a trained W.

    A feature is left out below the length `above`, paired where the cosine is under −1/2.
    """
    norm = np.linalg.norm(w, axis=1)
    present = [i for i in range(len(w)) if norm[i] > above]
    pairs = tuple((i, j) for i, j in combinations(present, 2) if w[i] @ w[j] < -0.5 * norm[i] * norm[j])
    return pairs, tuple(i for i in range(len(w)) if norm[i] <= above)


@checked
def boundary(ratio: float | Float[np.ndarray, "*grid"]) -> Float[np.ndarray, "*grid"]:
    """Return the density under which two features share a dimension.

    p* = 4r/(2 + 5r) with r = min(I₂/I₁, I₁/I₂); 4/7 at 1.

    >>> round(float(boundary(1.0)), 4)
    0.5714
    """
    r = np.minimum(ratio, 1 / np.asarray(ratio, dtype=np.float64))
    return 4 * r / (2 + 5 * r)


@checked
def linear_loss(
    density: Float[np.ndarray, " features"], importance: Float[np.ndarray, " features"], hidden: int
) -> float:
    """Return the lowest loss of the linear model, by principal components.

    It is Σ of the features − hidden smallest I_i V_i.
    """
    return float(np.sort(importance * (density / 3 - density**2 / 4))[: len(density) - hidden].sum())


def _arrangements(features: tuple[int, ...], hidden: int) -> Iterator[Arrangement]:
    """Yield the arrangements of features in hidden dimensions.

    The first feature is left out, gets a dimension, or is paired.
    """
    if not features:
        if hidden == 0:
            yield (), ()
        return
    first, rest = features[0], features[1:]
    for pairs, dropped in _arrangements(rest, hidden):
        yield pairs, (first, *dropped)
    if hidden:
        yield from _arrangements(rest, hidden - 1)
        for other in rest:
            for pairs, dropped in _arrangements(tuple(i for i in rest if i != other), hidden - 1):
                yield ((first, other), *pairs), dropped
