"""What a list of scores is worth. Every function takes optional row weights, one set or many at once.

No function looks whether a flipped sign would do better: a probe that is wrong on the test rows stays wrong.
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
    """Fraction of rows whose score is above 0 exactly where the label is 1; one for each set of weights."""
    return weighted_mean((_finite(scores) > 0) == (labels == 1), weights)


def balanced_accuracy(scores: Float[np.ndarray, " n"], labels: Int[np.ndarray, " n"]) -> float:
    """Mean of the accuracies on true and on false rows."""
    right = (_finite(scores) > 0) == (labels == 1)
    return float((right[labels == 1].mean() + right[labels == 0].mean()) / 2)


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


def _finite(values: np.ndarray) -> np.ndarray:
    if not np.isfinite(values).all():
        raise UsageError("A probe gave scores that are NaN or infinite: see that the activations it reads are finite.")
    return values
