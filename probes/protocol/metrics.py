"""Metrics of a list of scores.

No metric flips the sign of the scores: a probe that is wrong on the test rows scores below chance.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from interp.errors import UsageError
from interp.statistics import weighted_mean

BINS = 10


def accuracy(
    scores: Float[np.ndarray, " n"], labels: Int[np.ndarray, " n"], weights: Float[np.ndarray, "draw n"] | None = None
) -> Float[np.ndarray, " draw"]:
    """Compute the fraction of rows that are classified correctly.

    A row is correct if its score is above 0 exactly if the label is 1.

    Args:
        scores: (n,) scores.
        labels: (n,) 0 or 1.
        weights: (draw, n) row weights; None for one draw with equal weights.

    Example:
        >>> accuracy(np.array([1.0, -2.0, 3.0, 0.5]), np.array([1, 0, 1, 0])).tolist()
        [0.75]
    """
    return weighted_mean((_finite(scores) > 0) == (labels == 1), weights)


def balanced_accuracy(scores: Float[np.ndarray, " n"], labels: Int[np.ndarray, " n"]) -> float:
    """Compute the mean of the accuracies on true and on false rows.

    >>> balanced_accuracy(np.array([1.0, 2.0, 3.0, -1.0]), np.array([1, 1, 0, 0]))
    0.75
    """
    right = (_finite(scores) > 0) == (labels == 1)
    return float((right[labels == 1].mean() + right[labels == 0].mean()) / 2)


def calibration(
    probabilities: Float[np.ndarray, " n"], labels: Int[np.ndarray, " n"], bins: int = BINS
) -> tuple[Float[np.ndarray, " bins"], Float[np.ndarray, " bins"], Int[np.ndarray, " bins"]]:
    """Compute the calibration curve over equal intervals of probability.

    Args:
        probabilities: (n,) predicted probabilities of label 1.
        labels: (n,) 0 or 1.
        bins: number of intervals.

    Returns:
        Mean probability, fraction of true rows (both NaN for an empty interval) and number of rows per interval.

    Example:
        >>> calibration(np.array([0.1, 0.9]), np.array([0, 1]), bins=2)[2].tolist()
        [1, 1]
    """
    place = np.clip((_finite(probabilities) * bins).astype(int), 0, bins - 1)
    count = np.bincount(place, minlength=bins)
    sums = (np.bincount(place, weights=x, minlength=bins) for x in (probabilities, labels.astype(float)))
    predicted, true = (np.divide(s, count, out=np.full(bins, np.nan), where=count > 0) for s in sums)
    return predicted, true, count


def expected_calibration_error(probabilities: Float[np.ndarray, " n"], labels: Int[np.ndarray, " n"]) -> float:
    """Compute the expected calibration error over ten intervals of probability (fraction).

    It is the mean over rows of |fraction true - mean probability| in the row's interval. It is positive by chance
    alone: about sqrt(bins / n) / 3 for n rows of a calibrated probe.

    >>> round(expected_calibration_error(np.array([0.05, 0.95]), np.array([0, 1])), 3)
    0.05
    """
    predicted, true, count = calibration(probabilities, labels)
    filled = count > 0
    return float((np.abs(predicted - true)[filled] * count[filled]).sum() / count.sum())


def recall_at(scores: Float[np.ndarray, " n"], labels: Int[np.ndarray, " n"], false_positives: float = 0.01) -> float:
    """Compute the recall at a fixed rate of false positives.

    The threshold is the lowest one that at most this fraction of the false rows exceeds.

    >>> recall_at(np.array([3.0, 1.0, 2.0, 0.0]), np.array([1, 1, 0, 0]))
    0.5
    """
    false = np.sort(_finite(scores)[labels == 0])[::-1]
    threshold = false[int(false_positives * len(false))]
    return float((scores[labels == 1] > threshold).mean())


def rescaling(scores: Float[np.ndarray, " n"], labels: Int[np.ndarray, " n"]) -> tuple[float, float]:
    """Fit Platt scaling and return slope and offset.

    Platt scaling is a logistic regression of labels on scores. Fit it on train scores only. A negative slope means that
    the scores point the wrong way; it is not corrected.

    >>> rescaling(np.array([-1.0, 1.0, -2.0, 2.0]), np.array([0, 1, 0, 1]))[0] > 0
    True
    """
    from sklearn.linear_model import LogisticRegression

    spread = float(scores.std()) or 1.0
    fit = LogisticRegression(C=1e4).fit(scores[:, None] / spread, labels)
    return float(fit.coef_[0, 0]) / spread, float(fit.intercept_[0])


def sigmoid(x: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Compute 1 / (1 + exp(-x)).

    >>> sigmoid(np.array([0.0, 1000.0])).tolist()
    [0.5, 1.0]
    """
    return 1 / (1 + np.exp(-np.clip(x, -700, 700)))


def _finite(values: np.ndarray) -> np.ndarray:
    if not np.isfinite(values).all():
        raise UsageError("A probe returned NaN or infinite scores: check that its activations are finite.")
    return values
