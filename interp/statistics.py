"""Shared statistics: ROC area, bootstrap over clusters, intervals, rank correlation.

Rows of one context, entity or prompt are not independent, so intervals draw whole clusters with replacement: a row
counts as often as its cluster was drawn. A statistic takes such weights, one set or many at once, (draw, n), and
returns one value for each; draws that are shared keep differences between statistics paired. Loads no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from interp.errors import UsageError

DRAWS = 1000
"""Resamples behind an interval."""
LEVEL = 0.95
"""Share of the resamples that an interval covers."""
CELLS = 20_000_000
"""Weights in memory at once: 160 MB."""

Weights = Float[np.ndarray, "draw n"]
Interval = tuple[float, float, float]
"""Estimate, lower and upper bound."""


def auc(
    scores: Float[np.ndarray, " n"],
    labels: Bool[np.ndarray, " n"] | Int[np.ndarray, " n"],
    weights: Weights | None = None,
) -> Float[np.ndarray, " draw"]:
    """Compute the area under the ROC curve for each set of weights.

    Each set has a weight for every row.

    P(s⁺ > s⁻) + P(s⁺ = s⁻) / 2 over pairs of a row labelled 1 (or true) and another, drawn in proportion to the
    weights; NaN where one class has no weight. scikit-learn's `roc_auc_score` computes it for one set of weights, this
    function sorts once for all.

    Example:
        >>> auc(np.array([0.1, 0.4, 0.35, 0.8]), np.array([0, 0, 1, 1])).tolist()
        [0.75]

    Raises:
        UsageError: scores that are not finite, or another number of labels.
    """
    _check_rows(scores, labels)
    weights = np.ones((1, len(labels))) if weights is None else weights
    order = np.argsort(scores, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(scores[order]) > 0])
    positive_rows, sorted_weights = np.asarray(labels)[order] == 1, weights[:, order]
    positive = np.add.reduceat(sorted_weights * positive_rows, starts, axis=1)
    negative = np.add.reduceat(sorted_weights * ~positive_rows, starts, axis=1)
    below = np.cumsum(negative, axis=1) - negative / 2
    pairs = positive.sum(1) * negative.sum(1)
    return np.divide((positive * below).sum(1), pairs, out=np.full(len(weights), np.nan), where=pairs > 0)


def weighted_mean(values: Float[np.ndarray, "n ..."], weights: Weights | None = None) -> Float[np.ndarray, "draw ..."]:
    """Compute the weighted mean over rows for each set of weights.

    NaN where all are 0.
    """
    weights = np.ones((1, len(values))) if weights is None else weights
    total = weights.sum(1).astype(float)
    total[total == 0] = np.nan
    return np.tensordot(weights, values, 1) / total.reshape(-1, *[1] * (values.ndim - 1))


def cluster_draws(n_cluster: int, *, seed: int, draws: int = DRAWS, cells: int = 0) -> Iterator[Weights]:
    """Yield bootstrap counts of each cluster, (draw, n_cluster), in portions.

    A portion has about `CELLS` numbers, counted for `cells` rows where the caller spreads the counts over more rows
    than there are clusters. Portions do not change the draws.
    """
    rng, chance = np.random.default_rng(seed), np.full(n_cluster, 1 / n_cluster)
    portion = max(1, CELLS // max(1, n_cluster, cells))
    for start in range(0, draws, portion):
        yield rng.multinomial(n_cluster, chance, size=min(portion, draws - start)).astype(float)


def row_draws(
    clusters: Int[np.ndarray, " n"] | Int[np.ndarray, "n k"], *, seed: int, draws: int = DRAWS
) -> Iterator[Weights]:
    """Yield row weights of bootstrap samples over clusters, (draw, n), in portions.

    Args:
        clusters: the cluster of each row, from 0; with k columns a row belongs to several clusters, -1 filling up.
            Its weight is then the product of their draws (the pigeonhole bootstrap, Owen 2007, arXiv 0712.1111,
            which errs on the wide side).
        seed: of the draws.
        draws: bootstrap samples.
    """
    index = clusters.reshape(len(clusters), -1)
    for counts in cluster_draws(int(index.max()) + 1, seed=seed, draws=draws, cells=len(index)):
        padded = np.concatenate([counts, np.ones((len(counts), 1))], axis=1)  # the -1 of a row with fewer clusters
        weights = padded[:, index[:, 0]]
        for column in index.T[1:]:
            weights *= padded[:, column]
        yield weights


def percentile_interval(
    draws: Float[np.ndarray, "draw ..."], level: float = LEVEL
) -> tuple[Float[np.ndarray, ...], Float[np.ndarray, ...]]:
    """Return the percentile interval of draws along the first axis.

    NaN stays NaN: remove it first.
    """
    tail = (1 - level) / 2
    low, high = np.percentile(draws, (100 * tail, 100 * (1 - tail)), axis=0)
    return low, high


def bootstrap(
    statistic: Callable[[Weights], Float[np.ndarray, " draw"]],
    clusters: Int[np.ndarray, " n"] | Int[np.ndarray, "n k"],
    *,
    seed: int,
    draws: int = DRAWS,
    level: float = LEVEL,
) -> Interval:
    """Return (estimate, lower, upper) of a statistic by bootstrap over clusters.

    The estimate is the statistic at equal weights. Samples in which it is NaN are left out; where all are, or there
    is but one cluster, the bounds are NaN: nothing is known of the spread.

    Example:
        >>> x, cluster = np.array([0.0, 1.0, 2.0, 3.0]), np.array([0, 0, 1, 1])
        >>> bootstrap(lambda weights: weighted_mean(x, weights), cluster, seed=0)
        (1.5, 0.5, 2.5)
    """
    estimate = float(statistic(np.ones((1, len(clusters))))[0])
    if clusters.max() == clusters.min():
        return estimate, float("nan"), float("nan")
    samples = np.concatenate([statistic(weights) for weights in row_draws(clusters, seed=seed, draws=draws)])
    samples = samples[~np.isnan(samples)]
    if not len(samples):
        return estimate, float("nan"), float("nan")
    low, high = percentile_interval(samples, level)
    return estimate, float(low), float(high)


def mean_interval(
    samples: Float[np.ndarray, "n ..."], *, seed: int, draws: int = DRAWS, level: float = LEVEL
) -> tuple[Float[np.ndarray, ...], Float[np.ndarray, ...], Float[np.ndarray, ...]]:
    """Compute the mean over the first axis with its bootstrap interval.

    Returns (mean, lower, upper). The samples are independent.

    All entries share the draws. One sample has no interval: its bounds are NaN.
    """
    samples, n = np.asarray(samples), len(samples)
    if n < 2:
        unknown = np.full(samples.shape[1:], np.nan)
        return samples.mean(0), unknown, unknown
    means = [np.tensordot(counts / n, samples, 1) for counts in cluster_draws(n, seed=seed, draws=draws)]
    return samples.mean(0), *percentile_interval(np.concatenate(means), level)


@dataclass(frozen=True)
class Bootstrap:
    """Bootstrap draws of whole clusters, shared by several ratios of sums.

    Shared draws keep the differences of ratios paired.
    """

    weights: Float[np.ndarray, "draw cluster"]

    @classmethod
    def of(cls, clusters: int, seed: int) -> Bootstrap:
        """Draw `DRAWS` samples of as many clusters as there are."""
        return cls(np.concatenate(list(cluster_draws(clusters, seed=seed))))

    def ratio(
        self, top: Float[np.ndarray, " cluster"], bottom: Float[np.ndarray, " cluster"]
    ) -> tuple[float, float | None, float | None]:
        """Compute Σ top / Σ bottom with its percentile interval.

        The interval is None for fewer than two clusters.

        Raises `ZeroDivisionError` when Σ bottom is 0: callers say what that means.
        """
        if bottom.sum() == 0:
            raise ZeroDivisionError
        value = float(top.sum() / bottom.sum())
        if len(top) < 2:
            return value, None, None
        below = self.weights @ bottom
        used = below != 0
        low, high = percentile_interval((self.weights @ top)[used] / below[used])
        return value, float(low), float(high)


def jackknife(value: float, without: Float[np.ndarray, " cluster"]) -> tuple[float | None, float | None]:
    """Return value ± 1.96 jackknife standard errors, clipped to 0 and 1.

    `without` are the values with one cluster left out. Returns (None, None) for fewer than two clusters.
    """
    count = len(without)
    if count < 2:
        return None, None
    error = float(np.sqrt((count - 1) / count * np.square(without - without.mean()).sum()))
    return max(0.0, value - 1.96 * error), min(1.0, value + 1.96 * error)


def rank_correlation(first: Float[np.ndarray, " n"], second: Float[np.ndarray, " n"]) -> float:
    """Return Spearman's rank correlation, from -1 to 1.

    Equal values share the mean of their ranks: two lists must not agree because both have many zeros. NaN for fewer
    than two values, or where one list is constant or has a NaN.
    """
    first, second = _ranks(first), _ranks(second)
    return float(np.corrcoef(first, second)[0, 1]) if _vary(first, second) else float("nan")


def rank_correlation_null(
    first: Float[np.ndarray, " n"], second: Float[np.ndarray, " n"], *, seed: int, draws: int = DRAWS
) -> Float[np.ndarray, " draw"]:
    """Return rank correlations of `first` with random permutations of `second`.

    The permutations are those of `permutation_null`. Values are ranked once: the ranks of permuted values are the
    permuted ranks. NaN where `rank_correlation` is.

    >>> x = np.arange(20.0)
    >>> bool(np.abs(rank_correlation_null(x, x, seed=0, draws=100)).max() < 0.9)
    True
    """
    first, second = (ranks - ranks.mean() for ranks in (_ranks(first), _ranks(second)))
    if not _vary(first, second):
        return np.full(draws, np.nan)
    rng = np.random.default_rng(seed)
    permuted = np.stack([rng.permutation(second) for _ in range(draws)])
    return permuted @ first / np.sqrt(first @ first * (second @ second))


def _ranks(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Return the rank of each value from 1, all NaN if one value is; equal values share the mean of theirs."""
    values = np.asarray(values, float)
    if np.isnan(values).any():
        return np.full(values.shape, np.nan)
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[place]


def _vary(*samples: Float[np.ndarray, " n"]) -> bool:
    """Return whether no sample is constant, has fewer than two values or a NaN."""
    return all(len(sample) > 1 and np.ptp(sample) > 0 for sample in samples)


def permutation_null(
    statistic: Callable[[np.ndarray], float], values: np.ndarray, *, seed: int, draws: int = DRAWS
) -> Float[np.ndarray, " draw"]:
    """Return a statistic of randomly permuted values: its null distribution.

    Example:
        >>> x = np.arange(20.0)
        >>> null = permutation_null(lambda y: rank_correlation(x, y), x, seed=0, draws=100)
        >>> bool(np.abs(null).max() < 0.9)
        True
    """
    rng = np.random.default_rng(seed)
    return np.array([statistic(rng.permutation(values)) for _ in range(draws)])


def p_value(observed: float, null: Float[np.ndarray, " draw"]) -> float:
    """Compute the one-sided p-value of an observed value.

    It is (1 + #{null ≥ observed}) / (1 + draws).

    >>> p_value(2.0, np.array([0.0, 1.0, 3.0]))
    0.5
    """
    return float((1 + (np.asarray(null) >= observed).sum()) / (1 + len(null)))


def _check_rows(scores: np.ndarray, labels: np.ndarray) -> None:
    if len(scores) != len(labels):
        raise UsageError(f"{len(scores)} scores were given for {len(labels)} labels: give one of each for every row.")
    if not np.isfinite(scores).all():
        raise UsageError("The scores hold a NaN or an infinity: check that what they were computed from is finite.")
