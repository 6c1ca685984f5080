"""Contrastive representation clustering: the direction along which pairs differ most."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float

from probes.estimators.base import Solution
from probes.estimators.pairs import Labelled, Normaliser, PairProbe


class CRC(PairProbe):
    """Top principal component of the pairs' differences (Burns et al. 2022, arXiv 2212.03827, "CRC-TPC").

    Each side is normalised by its own training mean, which takes away what all negations share; the direction is the
    top eigenvector of `sum_i d_i d_iᵀ`, d_i the difference within pair i, no further centring: a component computed
    after centring one-sided differences would lose whatever they have in common. The weights are scaled so that the
    training scores have standard deviation 1, and 0 is the mean of a side.

    Attributes, beside those of `LinearProbe` and `PairProbe`:
        explained_: the fraction of the differences' squared norm along the direction.
    """

    explained_: float

    def _solve_pairs(
        self, affirmative: Float[np.ndarray, "pair d"], negated: Float[np.ndarray, "pair d"], sides: Labelled
    ) -> Solution:
        normaliser = Normaliser.fit(affirmative, negated)
        rows = normaliser.apply(affirmative, negated)
        weights, explained = _top_component(rows[: len(affirmative)] - rows[len(affirmative) :])
        scores = (rows @ weights)[:, None]
        spread = float(scores.std())
        weights = weights * float(sides.sign(scores)[0]) / (spread if spread > 0 else 1.0)
        direction, above, below = normaliser.raw(weights, 0.0)
        extra = {"biases_": np.array([above, below]), "sign_": sides.state, "explained_": explained}
        return Solution(torch.from_numpy(direction), (above + below) / 2, extra=extra)


def _top_component(differences: Float[np.ndarray, "pair d"]) -> tuple[Float[np.ndarray, " d"], float]:
    """Unit vector and its share of the squared norm, from the smaller Gram matrix; the largest entry is positive."""
    pairs, width = differences.shape
    gram = differences @ differences.T if pairs < width else differences.T @ differences
    spectrum, vectors = np.linalg.eigh(gram)
    top = differences.T @ vectors[:, -1] if pairs < width else vectors[:, -1]
    size = float(np.linalg.norm(top))
    if size == 0 or spectrum[-1] <= 0:
        return np.zeros(width), 0.0  # the pairs do not differ
    top = top / size
    return top * np.sign(top[np.abs(top).argmax()]), float(spectrum[-1] / np.trace(gram))
