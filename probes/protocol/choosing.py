"""Layer and strength, chosen on the train side alone by cross-validation over entities.

The measure is the balanced accuracy over all rows, each judged by the fold it was held out from: what the report then
states of the test side. The test side takes no part.
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
from probes.protocol.metrics import balanced_accuracy
from probes.protocol.splits import folds
from probes.statements import Statements

FOLDS = 4
STRENGTHS: dict[str, tuple[str, tuple[float, ...]]] = {
    "LogisticRegression": ("C", (1e-4, 1e-3, 1e-2, 1e-1)),
    "Ridge": ("alpha", (1.0, 10.0, 100.0, 1e3, 1e4)),
}
"""The probes whose strength is chosen: the parameter and its candidates. Others are used as they are given."""


@dataclass(frozen=True, eq=False)
class Choice:
    """What cross-validation on the train side says.

    Attributes:
        strengths: the candidates; (nan,) for a probe without any.
        accuracy: (layer, strength) balanced accuracy on held-out rows.
        scores: (layer, strength, n) score of each row where it was validated, NaN where it never was.
    """

    strengths: tuple[float, ...]
    accuracy: np.ndarray
    scores: np.ndarray

    @property
    def best_strength(self) -> np.ndarray:
        """(layer,) number of the best candidate at each layer; the first, which is the most cautious, on a tie."""
        return self.accuracy.argmax(1)

    @property
    def chosen(self) -> np.ndarray:
        """(layer,) its strength."""
        return np.array(self.strengths)[self.best_strength]

    @property
    def best_accuracy(self) -> np.ndarray:
        """(layer,) what it reaches."""
        return self.accuracy.max(1)


def candidates(probe: Any, strengths: Sequence[float] | None) -> tuple[float, ...]:
    """The strengths to choose from: those given, else the probe's own list, else none, which is (nan,).

    Raises `UsageError` for strengths given to a probe that has none.
    """
    name = type(probe).__name__
    if strengths is None:
        return STRENGTHS[name][1] if name in STRENGTHS else (float("nan"),)
    if name not in STRENGTHS:
        raise UsageError(f"{name} has no strength to choose: leave strengths out (only {', '.join(STRENGTHS)} have).")
    if not len(strengths):
        raise UsageError(f"strengths is empty: give {name} one candidate or more, or leave strengths out.")
    return tuple(float(s) for s in strengths)


def with_strength(probe: Any, strength: float) -> Any:
    """An unfitted copy of `probe` with this strength; NaN leaves it as it is."""
    copy: Any = clone(probe)
    return copy if np.isnan(strength) else copy.set_params(**{STRENGTHS[type(probe).__name__][0]: float(strength)})


def cross_validate(
    probe: Any, X: Float[Tensor, "layer n d"], data: Statements, *, strengths: tuple[float, ...], seed: int
) -> Choice:
    """The choice for these rows, which must be train rows. Raises `UsageError` if a fold lacks a class."""
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
    """One probe a layer, each with its own strength."""
    found: list[Any] = [None] * len(X)
    for strength in np.unique(strengths):  # NaN is one value here
        layers = np.flatnonzero((strengths == strength) | np.isnan(strengths)).tolist()
        fitted = batched.fit_layers(with_strength(probe, strength), X[layers], data.labels, **extras(data))
        for layer, one in zip(layers, fitted, strict=True):
            found[layer] = one
    return found


def extras(data: Statements) -> dict[str, Any]:
    """What some probes want besides activations and labels; `batched.fit_layers` gives it to those alone."""
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
    """Scores of each fold's validation rows; the batched paths where a probe has one."""
    kind = type(probe).__name__
    held = [X[:, torch.from_numpy(mask)] for mask in inside]
    labels = torch.from_numpy(data.labels)
    if kind == "LogisticRegression":
        path = batched.logistic_path(X, labels, strengths, torch.from_numpy(train))
        return [_linear(rows, w, b) for rows, w, b in zip(held, path.directions, path.biases, strict=True)]
    found = []
    for mask, rows in zip(train, held, strict=True):
        kept = torch.from_numpy(mask)
        if kind == "Ridge":
            ridge = batched.ridge_path(X[:, kept], labels[kept], strengths)
            found.append(_linear(rows, ridge.directions, ridge.biases))
        else:
            part = data.take(mask)
            fitted: list[Any] = batched.fit_layers(clone(probe), X[:, kept], part.labels, **extras(part))
            found.append(np.stack([one.decision_function(x) for one, x in zip(fitted, rows, strict=True)])[:, None])
    return found


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
                    "class only: give more groups with both true and false statements."
                )
