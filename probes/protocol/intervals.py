"""95 % intervals from resampling entities.

Entities are resampled, not rows, because rows of one entity are not independent.

Entities are drawn with replacement. A row is weighted by the number of draws of its entity, and a row of several
entities by the product of their draws (pigeonhole bootstrap, Owen 2007, arXiv 0712.1111, which gives rather wide
intervals). All layers share one matrix of weights, so that differences between layers are paired.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from interp.statistics import DRAWS, LEVEL, auc, percentile_interval, row_draws
from probes.protocol.metrics import accuracy
from probes.protocol.splits import Groups, indexed


@dataclass(frozen=True, eq=False)
class Measured:
    """Metrics with intervals.

    Each is an array (..., 3): estimate, lower and upper bound.

    >>> Measured(np.array([0.9, 0.8, 1.0]), np.array([0.95, 0.9, 1.0])).auc.tolist()
    [0.95, 0.9, 1.0]
    """

    accuracy: np.ndarray
    auc: np.ndarray


def measured(
    scores: Float[np.ndarray, "... n"], labels: Int[np.ndarray, " n"], groups: Groups, *, seed: int, draws: int = DRAWS
) -> Measured:
    """Compute accuracy and AUC with intervals for each list of scores.

    The intervals are percentile intervals over entities. If every row is right (or wrong), resampling gives no width:
    the open side is then the exact binomial bound over entities, 0.025^(1/groups). Draws without both classes are
    excluded from the AUC.

    Args:
        scores: (..., n) scores.
        labels: (n,) 0 or 1.
        groups: the entities of each row.
        seed: seed of the resamples.
        draws: number of resamples.

    Example:
        >>> measured(np.array([1.0, -1.0]), np.array([1, 0]), [("a",), ("b",)], seed=0).accuracy.round(3).tolist()
        [1.0, 0.158, 1.0]
    """
    lists = scores.reshape(-1, scores.shape[-1])
    n_groups = len(indexed(groups)[0])
    metrics = {"accuracy": [accuracy(row, labels) for row in lists], "auc": [auc(row, labels) for row in lists]}
    drawn = {name: [[one] for one in estimates] for name, estimates in metrics.items()}
    for weights in resampled(groups, seed=seed, draws=draws):
        for i, row in enumerate(lists):
            drawn["accuracy"][i].append(accuracy(row, labels, weights))
            drawn["auc"][i].append(auc(row, labels, weights))
    shaped = {
        name: np.array([_interval(np.concatenate(row), n_groups) for row in rows]).reshape(*scores.shape[:-1], 3)
        for name, rows in drawn.items()
    }
    return Measured(shaped["accuracy"], shaped["auc"])


def resampled(groups: Groups, *, seed: int, draws: int = DRAWS) -> Iterator[Float[np.ndarray, "draw n"]]:
    """Yield row weights of `draws` resamples of entities, in chunks.

    >>> next(resampled([("a",), ("b",)], seed=0, draws=3)).shape
    (3, 2)
    """
    return row_draws(indexed(groups)[1], seed=seed, draws=draws)


def _interval(values: Float[np.ndarray, " draws_and_one"], n_groups: int) -> tuple[float, float, float]:
    """Return the estimate and the bounds of its interval.

    They are computed from the estimate (first value) and its resamples.
    """
    estimate, resamples = float(values[0]), values[1:][np.isfinite(values[1:])]
    tail = (1 - LEVEL) / 2
    if not len(resamples):
        return estimate, 0.0, 1.0
    low, high = map(float, percentile_interval(resamples))
    exact = tail ** (1 / n_groups)
    if estimate == 1:
        low = min(low, exact)
    if estimate == 0:
        high = max(high, 1 - exact)
    return estimate, float(low), float(high)
