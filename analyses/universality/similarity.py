"""Similarity of two sets of activations on the same texts, and chance."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int


def cka(first: Float[np.ndarray, "a n n"], second: Float[np.ndarray, "b n n"]) -> Float[np.ndarray, "a b"]:
    """Compute the debiased linear CKA of Gram matrices (arXiv 1905.00414, 2010.15327).

        CKA = HSIC(K, L) / sqrt(HSIC(K, K) · HSIC(L, L))

    with the unbiased HSIC of Székely & Rizzo (2014). It is 1 where one is a rotation of the other, and 0 on average
    where they have nothing in common, however many dimensions they have.

    >>> import numpy as np
    >>> x = np.random.default_rng(0).normal(size=(40, 5))
    >>> gram = (x @ x.T)[None]
    >>> round(cka(gram, 3 * gram).item(), 6)
    1.0
    """
    units = []
    for grams in (first, second):
        flat = _centred(grams).reshape(len(grams), -1)
        units.append(flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), np.finfo(float).tiny))
    return units[0] @ units[1].T


def _centred(grams: Float[np.ndarray, "a n n"]) -> Float[np.ndarray, "a n n"]:
    """Centre rows and columns without the diagonal.

    Inner products of the results are unbiased HSICs.
    """
    n = grams.shape[-1]
    off = grams * (1 - np.eye(n))
    sums = off.sum(-1)
    centred = off - (sums[:, None] + sums[:, :, None]) / (n - 2)
    return (centred + sums.sum(-1)[:, None, None] / ((n - 1) * (n - 2))) * (1 - np.eye(n))


def rows(order: Int[np.ndarray, " n_text"], per_text: int) -> Int[np.ndarray, " n"]:
    """Return the rows of texts in a given order.

    The positions of a text stay in sequence.

    >>> rows(np.array([1, 0]), per_text=3).tolist()
    [3, 4, 5, 0, 1, 2]
    """
    return (np.asarray(order)[:, None] * per_text + np.arange(per_text)).flatten()


def orders(n_text: int, draws: int, seed: int) -> list[np.ndarray]:
    """Draw random orders of the texts in which each text moves.

    >>> orders(n_text=3, draws=1, seed=0)[0].tolist()
    [2, 0, 1]
    """
    rng, rows = np.random.default_rng(seed), []
    while len(rows) < draws:
        order = rng.permutation(n_text)
        if (order != np.arange(n_text)).all():
            rows.append(order)
    return rows


def best_correlations(
    first: Float[np.ndarray, "n a"], second: Float[np.ndarray, "n b"]
) -> tuple[Float[np.ndarray, " a"], Int[np.ndarray, " a"]]:
    """Return the largest correlation of each first column, and its partner.

    The partner is the column of the second with that correlation.

    >>> first, second = np.array([[0.0], [1.0], [3.0]]), np.array([[3.0, 0.0], [1.0, 2.0], [0.0, 6.0]])
    >>> best, partner = best_correlations(first, second)
    >>> best.round(2).tolist(), partner.tolist()
    ([1.0], [1])
    """
    units = [each - each.mean(0) for each in (first, second)]
    units = [each / np.maximum(np.linalg.norm(each, axis=0), np.finfo(float).tiny) for each in units]
    correlations = units[0].T @ units[1]
    return correlations.max(1), correlations.argmax(1)
