"""How much of a known dictionary was found: matched cosine, firing, sparsity, error. numpy only."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

METRICS = ("matched cosine", "found above 0.9", "firing F1", "L0", "FVU")


def match(
    true: Float[np.ndarray, "features d"], found: Float[np.ndarray, "atoms d"]
) -> tuple[Int[np.ndarray, " matched"], Int[np.ndarray, " matched"], Float[np.ndarray, " matched"]]:
    """The one-to-one matching of features to atoms of largest total |cosine|: (features, atoms, |cosines|)."""
    from scipy.optimize import linear_sum_assignment

    unit = [d / np.maximum(np.linalg.norm(d, axis=1, keepdims=True), 1e-12) for d in (true, found)]
    cosine = np.abs(unit[0] @ unit[1].T)
    rows, columns = linear_sum_assignment(-cosine)
    return rows, columns, cosine[rows, columns]


def judge(
    true: Float[np.ndarray, "features d"],
    active: Float[np.ndarray, "n features"],
    found: Float[np.ndarray, "atoms d"],
    codes: Float[np.ndarray, "n atoms"],
    error: float,
) -> Float[np.ndarray, " metrics"]:
    """`METRICS` of a dictionary and its codes on signals whose true coefficients are `active`.

    Matched cosine and the fraction above 0.9 count features without an atom as 0. Firing F1 is the mean over features
    of the harmonic mean of precision and recall of "its atom's code is not 0" for "it is active". `error` is the
    fraction of variance unexplained.
    """
    rows, columns, cosine = match(true, found)
    on, fired = active[:, rows] != 0, codes[:, columns] != 0
    f1 = 2 * (on & fired).sum(0) / np.maximum(on.sum(0) + fired.sum(0), 1)
    n = len(true)
    return np.array([cosine.sum() / n, (cosine > 0.9).sum() / n, f1.sum() / n, (codes != 0).sum(1).mean(), error])
