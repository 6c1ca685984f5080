"""Contrastive representation clustering: the direction on which pairs differ most."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float

from probes.estimators.base import Solution
from probes.estimators.pairs import Labelled, Normaliser, PairProbe


class CRC(PairProbe):
    """Top principal component of the differences within contrast pairs (CRC-TPC).

    Burns et al. 2022, arXiv 2212.03827. Each side is normalised by its own training mean, which removes what all
    negations share. The direction is the top eigenvector of `sum_i d_i d_iᵀ`, where d_i is the difference within pair
    i. The differences are not centred again, since that would remove their common part. The weights are scaled so that
    the training scores have standard deviation 1; 0 is the mean of a side.

    Attributes (in addition to those of `LinearProbe` and `PairProbe`):
        explained_: fraction of the differences' squared norm along the direction.

    Example:
        >>> X, polarity = np.array([[2.0, 0.0], [0.0, 0.0], [0.0, 1.0], [2.0, 1.0]]), [1, -1, 1, -1]
        >>> probes.CRC().fit(X, pairs=["a", "a", "b", "b"], polarity=polarity).explained_
        1.0
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
    """Return the top component and its share of the squared norm.

    Both are computed from the smaller Gram matrix.

    The component has unit length and a positive largest entry.
    """
    pairs, width = differences.shape
    gram = differences @ differences.T if pairs < width else differences.T @ differences
    spectrum, vectors = np.linalg.eigh(gram)
    top = differences.T @ vectors[:, -1] if pairs < width else vectors[:, -1]
    size = float(np.linalg.norm(top))
    if size == 0 or spectrum[-1] <= 0:
        return np.zeros(width), 0.0  # the pairs do not differ
    top = top / size
    return top * np.sign(top[np.abs(top).argmax()]), float(spectrum[-1] / np.trace(gram))
