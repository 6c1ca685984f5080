"""Sweep of one probe over all layers and positions.

It covers one set of statements and has controls.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from interp.arguments import checked
from interp.progress import Progress, advance
from probes.activations import Activations
from probes.batched import scores_of
from probes.estimators.base import as_array
from probes.estimators.capabilities import plain_settings
from probes.estimators.logistic import LogisticRegression
from probes.inputs import check_kind, check_whole
from probes.layers import EMBEDDING
from probes.protocol import controls as control
from probes.protocol.baselines import baselines, interval
from probes.protocol.checks import as_torch, check, polarity_of
from probes.protocol.control_results import Controls
from probes.protocol.intervals import Measured, measured
from probes.protocol.metrics import (
    balanced_accuracy,
    expected_calibration_error,
    recall_at,
    rescaling,
    sigmoid,
)
from probes.protocol.model_selection import Choice, candidates, cross_validate, fit_each_layer, with_strength
from probes.protocol.resemblance import resemblance
from probes.protocol.results import Predictions, Score, Sweep
from probes.protocol.splits import Split, own_split, split
from probes.statements import Statements


@checked
def sweep(  # noqa: PLR0913 (all but the first are keyword-only)
    acts: Activations,
    *,
    probe: Any = None,
    controls: bool = True,
    seed: int = 0,
    sides: Split | None = None,
    strengths: Sequence[float] | None = None,
    log_probs: Float[np.ndarray, "n 2"] | None = None,
    progress: Progress | None = None,
) -> Sweep:
    """Train a probe on every layer and evaluate it with controls.

    The evaluation uses the test side. Layer, position and strength maximise the balanced accuracy of a 4-fold
    cross-validation over train entities. The test side is evaluated at every layer but chooses nothing. Intervals are
    95 % cluster bootstraps over test entities.

    Args:
        acts: activations of one set of statements.
        probe: an unfitted probe; logistic regression by default. Its strength is chosen whatever its current value.
        controls: whether to compute selectivity, null, embedding layer and baselines at the chosen layer.
        seed: seed of the split (salt "v1" for 0), folds, resamples and controls.
        sides: a split, such as `probes.own_split(data, train, test)`; by default `probes.split(data, seed)`.
        strengths: candidates that replace the probe's own list (C of logistic regression, alpha of ridge).
        log_probs: (n, 2) from `probes.log_probs(model, data)`, for the baseline of the statement's log-probability.
        progress: called after every step.

    Returns:
        `Sweep` with test metrics (position, layer) and the chosen layer in `.best`.

    Raises:
        UsageError: too few groups, one class on a side or in a fold, a group on both sides, or activations of every
            token.

    Example:
        >>> result = sweep(acts, probe=probes.MassMean(), controls=False)  # acts = probes.collect(model, data)
        >>> result.best.layer, result.best.auc[0] > 0.9
        (1, True)
    """
    probe = LogisticRegression() if probe is None else probe
    check(acts, probe)
    check_whole(seed, "seed")
    data = acts.data
    sides = split(data, seed) if sides is None else _checked(data, sides)
    steps = len(acts.positions) + 1
    fits: list[_Fits] = []
    for i, position in enumerate(acts.positions):
        advance(progress, i, steps, f"{type(probe).__name__} on every layer")
        fits.append(_fit_position(probe, acts, position, sides, candidates(probe, strengths), seed))
    cv = np.stack([one.choice.best_accuracy for one in fits])
    accuracies = np.stack([one.metrics.accuracy for one in fits])
    p, layer = _argmax(cv)
    predictions = _predictions(fits[p], layer, acts, sides)
    advance(progress, steps - 1, steps, "controls")
    control_results = _controls(probe, fits[p], layer, acts, sides, log_probs, seed) if controls else None
    oracle_p, oracle_layer = _argmax(accuracies[..., 0])
    return Sweep(
        name=data.name,
        probe=type(probe).__name__,
        module=type(probe).__module__,
        settings=plain_settings(probe),
        layers=acts.layers,
        positions=acts.positions,
        strengths=np.stack([one.choice.chosen for one in fits]),
        cv_accuracy=cv,
        accuracy=accuracies,
        auc=np.stack([one.metrics.auc for one in fits]),
        best=_score(fits[p], layer, acts, predictions),
        oracle=_score(fits[oracle_p], oracle_layer, acts, _predictions(fits[oracle_p], oracle_layer, acts, sides)),
        predictions=predictions,
        direction=np.asarray(getattr(fits[p].fitted[layer], "direction_", np.zeros(0)), np.float64),
        controls=control_results,
        seed=seed,
        resemblance=resemblance(data.take(sides.train), data.take(sides.test)),
        **_counts(data, sides),
    )


def _checked(data: Statements, sides: Any) -> Split:
    check_kind(sides, Split, "sides", "probes.own_split")
    return own_split(data, sides.train, sides.test)


def _counts(data: Statements, sides: Split) -> dict[str, Any]:
    """Return the counts of rows and entities that a sweep reports."""
    return {
        "n_train": int(sides.train.sum()),
        "n_test": int(sides.test.sum()),
        "dropped": sides.dropped,
        "groups_train": sides.groups_train,
        "groups_test": sides.groups_test,
        "grouped_by": data.grouped_by,
        "polarity": polarity_of(data),
    }


def layers_of(acts: Activations, position: str) -> Float[Tensor, "layer n d"]:
    """Return the activations (layer, n, d) of all layers at one position.

    >>> layers_of(acts, "last").shape  # acts = probes.collect(model, data)
    torch.Size([4, 80, 16])
    """
    return acts.values[acts.positions.index(position)]


@dataclass(frozen=True, eq=False)
class _Fits:
    """Fits of a probe at one position.

    They are model selection, fitted probes of all layers, and their test scores and metrics.
    """

    position: str
    choice: Choice
    fitted: list[Any]
    scores: Float[np.ndarray, "layer m"]
    metrics: Measured


def _fit_position(
    probe: Any, acts: Activations, position: str, sides: Split, strengths: tuple[float, ...], seed: int
) -> _Fits:
    train, test, X = acts.data.take(sides.train), acts.data.take(sides.test), layers_of(acts, position)
    known, new = X[:, as_torch(sides.train)], X[:, as_torch(sides.test)]
    choice = cross_validate(probe, known, train, strengths=strengths, seed=seed)
    fitted = fit_each_layer(probe, known, train, choice.chosen)
    scores = np.stack([scores_of(one, rows) for one, rows in zip(fitted, new, strict=True)])
    return _Fits(position, choice, fitted, scores, measured(scores, test.labels, test.groups, seed=seed))


def _argmax(values: Float[np.ndarray, "position layer"]) -> tuple[int, int]:
    """Return position and layer of the largest value.

    On a tie it is the first.
    """
    position, layer = np.unravel_index(int(values.argmax()), values.shape)
    return int(position), int(layer)


def _predictions(fits: _Fits, layer: int, acts: Activations, sides: Split) -> Predictions:
    rows = np.flatnonzero(sides.test)
    activations = acts.at(acts.layers[layer], fits.position)[as_torch(sides.test)]
    validation = fits.choice.scores[layer, int(fits.choice.best_strength[layer])]
    seen = np.isfinite(validation)
    slope, offset = rescaling(validation[seen], acts.data.labels[sides.train][seen])
    return Predictions(
        rows=rows,
        labels=acts.data.labels[rows],
        scores=fits.scores[layer],
        probabilities=_probabilities(fits.fitted[layer], activations),
        rescaled=sigmoid(slope * fits.scores[layer] + offset),
        statements=tuple(acts.data.statements[i] for i in rows),
    )


def _probabilities(fitted: Any, X: Float[Tensor, "n d"]) -> Float[np.ndarray, " n"]:
    """Return the classifier's probability of "true" for each row.

    Returns an empty array if the classifier has none of its own.
    """
    return fitted.predict_proba(as_array(X))[:, 1] if hasattr(fitted, "predict_proba") else np.zeros(0)


def _score(fits: _Fits, layer: int, acts: Activations, predictions: Predictions) -> Score:
    return Score(
        layer=acts.layers[layer],
        position=fits.position,
        strength=float(fits.choice.chosen[layer]),
        cv_accuracy=float(fits.choice.best_accuracy[layer]),
        accuracy=interval(fits.metrics.accuracy[layer]),
        auc=interval(fits.metrics.auc[layer]),
        balanced_accuracy=balanced_accuracy(predictions.scores, predictions.labels),
        ece=expected_calibration_error(predictions.probabilities, predictions.labels)
        if len(predictions.probabilities)
        else float("nan"),
        ece_rescaled=expected_calibration_error(predictions.rescaled, predictions.labels),
        recall=recall_at(predictions.scores, predictions.labels),
    )


def _controls(
    probe: Any,
    fits: _Fits,
    layer: int,
    acts: Activations,
    sides: Split,
    log_probs: np.ndarray | None,
    seed: int,
) -> Controls:
    chosen = with_strength(probe, float(fits.choice.chosen[layer]))
    X = acts.at(acts.layers[layer], fits.position).cpu().numpy()
    first = acts.layers.index(EMBEDDING) if EMBEDDING in acts.layers else None
    return Controls(
        selectivity=control.selectivity(chosen, X, acts.data, seed=seed),
        null=control.null(chosen, X, acts.data, sides, fits.scores[layer], seed=seed),
        embedding_accuracy=None if first is None else interval(fits.metrics.accuracy[first]),
        embedding_auc=None if first is None else interval(fits.metrics.auc[first]),
        baselines=baselines(acts.data, sides, seed=seed, log_probs=log_probs),
    )
