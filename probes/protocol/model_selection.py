"""Choice of layer and strength by cross-validation over entities.

Only the train side is used.

The criterion is the balanced accuracy over all rows, each scored by the fit that did not see it. The test side is not
used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from sklearn.base import clone
from torch import Tensor

from interp.errors import UsageError
from probes import batched
from probes.estimators.capabilities import capability, strength_of
from probes.protocol.metrics import balanced_accuracy
from probes.protocol.splits import folds
from probes.statements import Statements

FOLDS = 4


@dataclass(frozen=True, eq=False)
class Choice:
    """Result of cross-validation on the train side.

    Attributes:
        strengths: the candidates; (nan,) for a probe without a strength.
        accuracy: (layer, strength) balanced accuracy on validation rows.
        scores: (layer, strength, n) score of each row in its validation fold, NaN if it is in none.

    Example:
        >>> Choice((0.1, 1.0), np.array([[0.7, 0.9]]), np.zeros((1, 2, 4))).chosen.tolist()
        [1.0]
    """

    strengths: tuple[float, ...]
    accuracy: np.ndarray
    scores: np.ndarray

    @property
    def best_strength(self) -> np.ndarray:
        """Index of the best candidate strength of each layer, (layer,).

        On a tie it is the first, which is the most regularised.
        """
        return self.accuracy.argmax(1)

    @property
    def chosen(self) -> np.ndarray:
        """(layer,) strength of the best candidate."""
        return np.array(self.strengths)[self.best_strength]

    @property
    def best_accuracy(self) -> np.ndarray:
        """(layer,) balanced accuracy of the best candidate."""
        return self.accuracy.max(1)


def candidates(probe: Any, strengths: Sequence[float] | None) -> tuple[float, ...]:
    """Return the candidate strengths of a probe.

    These are the given ones, else the probe's own list, else (nan,) for a probe without a strength.

    Raises:
        UsageError: strengths that are not positive numbers, or given for a probe without a strength.

    Example:
        >>> candidates(probes.LogisticRegression(), None)
        (0.0001, 0.001, 0.01, 0.1)
    """
    name, own = type(probe).__name__, strength_of(probe)
    if strengths is None:
        return (float("nan"),) if own is None else own[1]
    if own is None:
        raise UsageError(
            f"{name} has no strength to choose (probes.LogisticRegression and probes.Ridge have one): omit strengths "
            "and set the parameters of the probe itself."
        )
    given = np.atleast_1d(np.asarray(strengths, object))
    if not len(given):
        raise UsageError(f"strengths is empty: give at least one candidate for {name}, or omit strengths.")
    if not all(isinstance(s, int | float | np.number) and s > 0 for s in given.tolist()):
        raise UsageError(
            f"strengths={strengths!r} is not valid: give positive numbers, the candidates for {own[0]} of {name}."
        )
    return tuple(float(s) for s in given)


def with_strength(probe: Any, strength: float) -> Any:
    """Return an unfitted copy of `probe` with this strength; NaN changes nothing.

    >>> with_strength(probes.Ridge(), 10.0).alpha
    10.0
    """
    copy: Any = clone(probe)
    own = strength_of(probe)
    return copy if own is None or np.isnan(strength) else copy.set_params(**{own[0]: float(strength)})


def cross_validate(
    probe: Any, X: Float[Tensor, "layer n d"], data: Statements, *, strengths: tuple[float, ...], seed: int
) -> Choice:
    """Evaluate all layers and strengths by cross-validation on train rows.

    Args:
        probe: an unfitted probe.
        X: (layer, n, d) activations of the train rows.
        data: the statements of these rows.
        strengths: the candidates.
        seed: seed of the folds.

    Returns:
        A `Choice`.

    Raises:
        UsageError: a fold without one of the classes.
    """
    train, inside = folds(data.groups, FOLDS, seed)
    _check_classes(data, train, inside)
    scores = np.full((len(X), len(strengths), len(data)), np.nan)
    for fold, fitted in enumerate(_fold_scores(probe, X, data, strengths, train, inside)):
        scores[:, :, inside[fold]] = fitted
    seen = inside.any(0)
    each = [[balanced_accuracy(row[seen], data.labels[seen]) for row in layer] for layer in scores]
    return Choice(strengths, np.array(each), scores)


def fit_each_layer(
    probe: Any, X: Float[Tensor, "layer n d"], data: Statements, strengths: Float[np.ndarray, " layer"]
) -> list[Any]:
    """Fit one probe per layer, each with its own strength.

    >>> len(fit_each_layer(probes.Ridge(), acts.values[0], acts.data, np.ones(4)))  # acts = probes.collect(...)
    4
    """
    probes: list[Any] = [None] * len(X)
    for strength in np.unique(strengths):  # np.unique returns NaN once
        layers = np.flatnonzero((strengths == strength) | np.isnan(strengths)).tolist()
        fitted = batched.fit_layers(with_strength(probe, strength), X[layers], data.labels, **extras(data))
        for layer, one in zip(layers, fitted, strict=True):
            probes[layer] = one
    return probes


def extras(data: Statements) -> dict[str, Any]:
    """Return the extra arguments that some probes need in `fit`.

    They are pairs, polarity and topics. `batched.fit_layers` passes each only to probes that accept it.

    >>> sorted(extras(data))  # data = probes.read_statements(...)
    ['pairs', 'polarity', 'topics']
    """
    pairs = None if data.pair is None else np.unique(data.pair, return_inverse=True)[1]
    return {"pairs": pairs, "polarity": data.polarity, "topics": data.topic}


def _fold_scores(
    probe: Any,
    X: Float[Tensor, "layer n d"],
    data: Statements,
    strengths: tuple[float, ...],
    train: Bool[np.ndarray, "fold n"],
    inside: Bool[np.ndarray, "fold n"],
) -> list[Float[np.ndarray, "layer strength m"]]:
    """Return the scores of each fold's validation rows.

    They are computed jointly if the probe can, else in a loop.
    """
    validation = [X[:, torch.from_numpy(mask)] for mask in inside]
    fit_path = None if np.isnan(strengths).any() else capability(probe, "fit_path")
    if fit_path is not None:
        path = fit_path(X, torch.from_numpy(data.labels), strengths, torch.from_numpy(train))
        return [_linear(rows, w, b) for rows, w, b in zip(validation, path.directions, path.biases, strict=True)]
    return [
        np.stack([_layer_scores(with_strength(probe, s), X, data, mask, rows) for s in strengths], axis=1)
        for mask, rows in zip(train, validation, strict=True)
    ]


def _layer_scores(
    probe: Any, X: Float[Tensor, "layer n d"], data: Statements, train: np.ndarray, new: Float[Tensor, "layer m d"]
) -> Float[np.ndarray, "layer m"]:
    """Return the scores of `new` for each layer.

    The probe is fitted on the train rows of the layer.
    """
    part = data.take(train)
    fitted = batched.fit_layers(probe, X[:, torch.from_numpy(train)], part.labels, **extras(part))
    return np.stack([batched.scores_of(one, rows) for one, rows in zip(fitted, new, strict=True)])


def _linear(
    X: Float[Tensor, "layer n d"],
    directions: Float[Tensor, "layer strength d"],
    biases: Float[Tensor, "layer strength"],
) -> Float[np.ndarray, "layer strength n"]:
    return (directions @ X.double().transpose(1, 2) + biases[..., None]).cpu().numpy()


def _check_classes(data: Statements, train: np.ndarray, inside: np.ndarray) -> None:
    for fold, masks in enumerate(zip(train, inside, strict=True)):
        for mask in masks:
            if len(set(data.labels[mask].tolist())) < 2:
                raise UsageError(
                    f"{data.name}: fold {fold + 1} of {len(train)} on the train side has {int(mask.sum())} rows of one "
                    "class only. Give more groups with both true and false statements."
                )
