"""One probe on every layer and position of one set of statements, with everything its number is held against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from interp.arguments import checked
from interp.progress import Progress
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
from probes.protocol.results import Controls, Predictions, Score, Sweep
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
    """Fit and choose on the train side, measure on the test side, hold against controls.

    Layer, position and strength maximise the balanced accuracy of a 4-fold cross-validation over train entities; the
    test side is measured at every layer, and picks nothing. Intervals are 95 % cluster bootstraps over test entities.

    Args:
        acts: of one set of statements.
        probe: an unfitted probe; logistic regression by default, whose strength is chosen whatever it is set to.
        controls: selectivity, null, embedding layer and baselines, all at the chosen layer.
        seed: of the split ("v1" for 0), folds, resamples and controls.
        sides: a split of one's own, such as `probes.own_split(data, train, test)`.
        strengths: candidates in place of the probe's own list (C of logistic regression, alpha of ridge).
        log_probs: (n, 2) from `probes.log_probs(model, data)`, for the baseline that knows only how likely a statement
            is.
        progress: told after every step.

    Raises:
        UsageError: too few groups, one class on a side or in a fold, a group on both sides, or every token collected.
    """
    probe = LogisticRegression() if probe is None else probe
    check(acts, probe)
    check_whole(seed, "seed")
    data = acts.data
    sides = split(data, seed) if sides is None else _checked(data, sides)
    steps = len(acts.positions) + 1
    tried: list[_Tried] = []
    for i, position in enumerate(acts.positions):
        _tell(progress, i, steps, f"{type(probe).__name__} on every layer")
        tried.append(_try(probe, acts, position, sides, candidates(probe, strengths), seed))
    cv = np.stack([one.choice.best_accuracy for one in tried])
    accuracies = np.stack([one.found.accuracy for one in tried])
    p, layer = _place(cv)
    predictions = _predictions(tried[p], layer, acts, sides)
    _tell(progress, steps - 1, steps, "controls")
    held = _controls(probe, tried[p], layer, acts, sides, log_probs, seed) if controls else None
    other, elsewhere = _place(accuracies[..., 0])
    return Sweep(
        name=data.name,
        probe=type(probe).__name__,
        module=type(probe).__module__,
        settings=plain_settings(probe),
        layers=acts.layers,
        positions=acts.positions,
        strengths=np.stack([one.choice.chosen for one in tried]),
        cv_accuracy=cv,
        accuracy=accuracies,
        auc=np.stack([one.found.auc for one in tried]),
        best=_score(tried[p], layer, acts, predictions),
        oracle=_score(tried[other], elsewhere, acts, _predictions(tried[other], elsewhere, acts, sides)),
        predictions=predictions,
        direction=np.asarray(getattr(tried[p].fitted[layer], "direction_", np.zeros(0)), np.float64),
        controls=held,
        seed=seed,
        resemblance=resemblance(data.take(sides.train), data.take(sides.test)),
        **_counts(data, sides),
    )


def _checked(data: Statements, sides: Any) -> Split:
    check_kind(sides, Split, "sides", "probes.own_split")
    return own_split(data, sides.train, sides.test)


def _counts(data: Statements, sides: Split) -> dict[str, Any]:
    """What a sweep tells of its rows."""
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
    """All layers at one position."""
    return acts.values[acts.positions.index(position)]


@dataclass(frozen=True, eq=False)
class _Tried:
    """All layers at one position: what was chosen, the fitted probes, and what they say on the test side."""

    position: str
    choice: Choice
    fitted: list[Any]
    scores: Float[np.ndarray, "layer m"]
    found: Measured


def _try(probe: Any, acts: Activations, position: str, sides: Split, strengths: tuple[float, ...], seed: int) -> _Tried:
    train, test, X = acts.data.take(sides.train), acts.data.take(sides.test), layers_of(acts, position)
    known, new = X[:, as_torch(sides.train)], X[:, as_torch(sides.test)]
    choice = cross_validate(probe, known, train, strengths=strengths, seed=seed)
    fitted = fit_each_layer(probe, known, train, choice.chosen)
    scores = np.stack([scores_of(one, rows) for one, rows in zip(fitted, new, strict=True)])
    return _Tried(position, choice, fitted, scores, measured(scores, test.labels, test.groups, seed=seed))


def _place(values: Float[np.ndarray, "position layer"]) -> tuple[int, int]:
    """Where the greatest value stands; the earliest on a tie."""
    position, layer = np.unravel_index(int(values.argmax()), values.shape)
    return int(position), int(layer)


def _predictions(tried: _Tried, layer: int, acts: Activations, sides: Split) -> Predictions:
    rows = np.flatnonzero(sides.test)
    activations = acts.at(acts.layers[layer], tried.position)[as_torch(sides.test)]
    held_out = tried.choice.scores[layer, int(tried.choice.best_strength[layer])]
    seen = np.isfinite(held_out)
    slope, offset = rescaling(held_out[seen], acts.data.labels[sides.train][seen])
    return Predictions(
        rows=rows,
        labels=acts.data.labels[rows],
        scores=tried.scores[layer],
        probabilities=_probabilities(tried.fitted[layer], activations),
        rescaled=sigmoid(slope * tried.scores[layer] + offset),
        statements=tuple(acts.data.statements[i] for i in rows),
    )


def _probabilities(fitted: Any, X: Float[Tensor, "n d"]) -> Float[np.ndarray, " n"]:
    """Return the classifier's own probability of "true" for each row; empty if it gives none."""
    return fitted.predict_proba(as_array(X))[:, 1] if hasattr(fitted, "predict_proba") else np.zeros(0)


def _score(tried: _Tried, layer: int, acts: Activations, said: Predictions) -> Score:
    return Score(
        layer=acts.layers[layer],
        position=tried.position,
        strength=float(tried.choice.chosen[layer]),
        cv_accuracy=float(tried.choice.best_accuracy[layer]),
        accuracy=interval(tried.found.accuracy[layer]),
        auc=interval(tried.found.auc[layer]),
        balanced_accuracy=balanced_accuracy(said.scores, said.labels),
        ece=expected_calibration_error(said.probabilities, said.labels) if len(said.probabilities) else float("nan"),
        ece_rescaled=expected_calibration_error(said.rescaled, said.labels),
        recall=recall_at(said.scores, said.labels),
    )


def _controls(
    probe: Any,
    tried: _Tried,
    layer: int,
    acts: Activations,
    sides: Split,
    log_probs: np.ndarray | None,
    seed: int,
) -> Controls:
    chosen = with_strength(probe, float(tried.choice.chosen[layer]))
    X = acts.at(acts.layers[layer], tried.position).cpu().numpy()
    first = acts.layers.index(EMBEDDING) if EMBEDDING in acts.layers else None
    return Controls(
        selectivity=control.selectivity(chosen, X, acts.data, seed=seed),
        null=control.null(chosen, X, acts.data, sides, tried.scores[layer], seed=seed),
        embedding_accuracy=None if first is None else interval(tried.found.accuracy[first]),
        embedding_auc=None if first is None else interval(tried.found.auc[first]),
        baselines=baselines(acts.data, sides, seed=seed, log_probs=log_probs),
    )


def _tell(progress: Progress | None, done: int, total: int, what: str) -> None:
    if progress is not None:
        progress(done, total, what)
