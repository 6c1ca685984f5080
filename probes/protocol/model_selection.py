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
from probes.estimators.capabilities import capability, strength_of
from probes.protocol.metrics import balanced_accuracy
from probes.protocol.splits import folds
from probes.statements import Statements

FOLDS = 4


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
    """Return the strengths to choose from: those given, else the probe's own list, else none, which is (nan,).

    Raises `UsageError` for strengths that are not numbers, or given to a probe that has none.
    """
    name, own = type(probe).__name__, strength_of(probe)
    if strengths is None:
        return (float("nan"),) if own is None else own[1]
    if own is None:
        raise UsageError(
            f"{name} has no strength to choose, as probes.LogisticRegression and probes.Ridge have: leave strengths "
            "out, and give the probe the setting it is to have."
        )
    given = np.atleast_1d(np.asarray(strengths, object))
    if not len(given):
        raise UsageError(f"strengths is empty: give {name} one candidate or more, or leave strengths out.")
    if not all(isinstance(s, int | float | np.number) and s > 0 for s in given.tolist()):
        raise UsageError(f"strengths={strengths!r}: give positive numbers, candidates for {own[0]} of {name}.")
    return tuple(float(s) for s in given)


def with_strength(probe: Any, strength: float) -> Any:
    """An unfitted copy of `probe` with this strength; NaN leaves it as it is."""
    copy: Any = clone(probe)
    own = strength_of(probe)
    return copy if own is None or np.isnan(strength) else copy.set_params(**{own[0]: float(strength)})


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
    """Return the scores of each fold's validation rows: all folds and strengths together, or in a loop."""
    held_out = [X[:, torch.from_numpy(mask)] for mask in inside]
    fit_path = None if np.isnan(strengths).any() else capability(probe, "fit_path")
    if fit_path is not None:
        path = fit_path(X, torch.from_numpy(data.labels), strengths, torch.from_numpy(train))
        return [_linear(rows, w, b) for rows, w, b in zip(held_out, path.directions, path.biases, strict=True)]
    return [
        np.stack([_layer_scores(with_strength(probe, s), X, data, mask, rows) for s in strengths], axis=1)
        for mask, rows in zip(train, held_out, strict=True)
    ]


def _layer_scores(
    probe: Any, X: Float[Tensor, "layer n d"], data: Statements, train: np.ndarray, new: Float[Tensor, "layer m d"]
) -> Float[np.ndarray, "layer m"]:
    """Return what the probe says of `new` after a fit on the train rows of each layer."""
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
                    "class only: give more groups with both true and false statements."
                )
