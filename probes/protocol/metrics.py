"""What a list of scores is worth. Every function takes optional row weights, one set or many at once.

No function looks whether a flipped sign would do better: a probe that is wrong on the test rows stays wrong.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from interp.errors import UsageError

BINS = 10


def accuracy(
    scores: Float[np.ndarray, " n"], labels: Int[np.ndarray, " n"], weights: Float[np.ndarray, "draw n"] | None = None
) -> Float[np.ndarray, " draw"]:
    """Fraction of rows whose score is above 0 exactly where the label is 1; one for each set of weights."""
    return _mean((_finite(scores) > 0) == (labels == 1), _weights(weights, labels))


def balanced_accuracy(scores: Float[np.ndarray, " n"], labels: Int[np.ndarray, " n"]) -> float:
    """Mean of the accuracies on true and on false rows."""
    right = (_finite(scores) > 0) == (labels == 1)
    return float((right[labels == 1].mean() + right[labels == 0].mean()) / 2)


def auc(
    scores: Float[np.ndarray, " n"], labels: Int[np.ndarray, " n"], weights: Float[np.ndarray, "draw n"] | None = None
) -> Float[np.ndarray, " draw"]:
    """Probability that a true row scores above a false one, a tie counting half: P(s+ > s-) + P(s+ = s-) / 2.

    With weights, rows are drawn in proportion to them. NaN for a draw in which one class has no weight.
    """
    weights = _weights(weights, labels)
    _, place = np.unique(_finite(scores), return_inverse=True)
    order = np.argsort(place, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(place[order]) > 0])
    positive = labels[order] == 1
    sorted_weights = weights[:, order]
    pos = np.add.reduceat(sorted_weights * positive, starts, axis=1)
    neg = np.add.reduceat(sorted_weights * ~positive, starts, axis=1)
    below = np.cumsum(neg, axis=1) - neg
    pairs = pos.sum(1) * neg.sum(1)
    won = (pos * (below + neg / 2)).sum(1)
    return np.divide(won, pairs, out=np.full(len(weights), np.nan), where=pairs > 0)


def calibration(
    probabilities: Float[np.ndarray, " n"], labels: Int[np.ndarray, " n"], bins: int = BINS
) -> tuple[Float[np.ndarray, " bins"], Float[np.ndarray, " bins"], Int[np.ndarray, " bins"]]:
    """(mean probability, fraction true, rows) of each of `bins` equal intervals of probability; NaN where empty."""
    place = np.clip((_finite(probabilities) * bins).astype(int), 0, bins - 1)
    count = np.bincount(place, minlength=bins)
    sums = (np.bincount(place, weights=x, minlength=bins) for x in (probabilities, labels.astype(float)))
    said, true = (np.divide(s, count, out=np.full(bins, np.nan), where=count > 0) for s in sums)
    return said, true, count


def expected_calibration_error(probabilities: Float[np.ndarray, " n"], labels: Int[np.ndarray, " n"]) -> float:
    """Mean over rows of |fraction true - mean probability| in the row's tenth of the probabilities (fraction).

    Positive by chance alone: with n rows of a calibrated probe about sqrt(bins / n) / 3.
    """
    said, true, count = calibration(probabilities, labels)
    filled = count > 0
    return float((np.abs(said - true)[filled] * count[filled]).sum() / count.sum())


def recall_at(scores: Float[np.ndarray, " n"], labels: Int[np.ndarray, " n"], false_positives: float = 0.01) -> float:
    """Fraction of true rows above the lowest threshold that at most this fraction of false rows exceeds."""
    false = np.sort(_finite(scores)[labels == 0])[::-1]
    threshold = false[int(false_positives * len(false))]
    return float((scores[labels == 1] > threshold).mean())


def rescaling(scores: Float[np.ndarray, " n"], labels: Int[np.ndarray, " n"]) -> tuple[float, float]:
    """(slope, offset) of a logistic fit of labels on scores (Platt scaling); fit it on train scores only.

    A slope below 0 means the scores point the wrong way; it is returned as it is.
    """
    from sklearn.linear_model import LogisticRegression

    spread = float(scores.std()) or 1.0
    fit = LogisticRegression(C=1e4).fit(scores[:, None] / spread, labels)
    return float(fit.coef_[0, 0]) / spread, float(fit.intercept_[0])


def sigmoid(x: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """1 / (1 + exp(-x))."""
    return 1 / (1 + np.exp(-np.clip(x, -700, 700)))


def _weights(weights: np.ndarray | None, labels: np.ndarray) -> Float[np.ndarray, "draw n"]:
    return np.ones((1, len(labels))) if weights is None else weights


def _mean(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    total = weights.sum(1)
    return np.divide(weights @ values, total, out=np.full(len(weights), np.nan), where=total > 0)


def _finite(values: np.ndarray) -> np.ndarray:
    if not np.isfinite(values).all():
        raise UsageError("A probe gave scores that are NaN or infinite: see that the activations it reads are finite.")
    return values
