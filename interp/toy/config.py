"""Configuration of a grid of toy models, in plain values that are checked first."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from interp.arguments import checked_fields
from interp.errors import UsageError, nearest

MODELS = ("relu", "linear", "relu_hidden", "absolute")
"""The tied autoencoder ReLU(WᵀWx + b), the same without its ReLU, the one with a ReLU on the hidden layer too, and the
untied two-layer network that computes |x|."""

DATA = ("independent", "correlated", "anticorrelated", "hierarchical")
VALUES = ("uniform", "signed", "exponential", "normal", "constant")
SCHEDULES = ("cosine", "constant")

LANES = 16
"""Numbers in a cache line; matrix products treat rows that begin inside one differently."""

Row = float | tuple[float, ...]


@dataclass(frozen=True)
class Config:
    """Settings of a grid of toy models.

    A cell has one density and importance each, and `starts` models that differ in their initialisation. Raises
    `UsageError` for a value that cannot be used.

    >>> config = toy.Config(features=5, hidden=2, density=(1.0, 0.05), starts=2, steps=200, batch_size=64)
    >>> config.model, config.data
    ('relu', 'independent')
    """

    features: int
    hidden: int
    density: tuple[Row, ...] = (1.0,)
    """One entry per cell: the probability p = 1 - sparsity that a feature is active, one number or one per feature."""
    importance: tuple[Row, ...] = (1.0,)
    """One entry per cell, or one for all: the weight of each feature's squared error."""
    model: str = "relu"
    data: str = "independent"
    group: int = 2
    """Features per group, for data that come in groups. See `interp.toy.data`."""
    values: str = "uniform"
    starts: int = 1
    first_start: int = 0
    """Number of the first start: start k of a cell is the same model in every grid."""
    steps: int = 4000
    batch_size: int = 512
    lr: float = 3e-3
    schedule: str = "cosine"
    record: int = 0
    """Record the weights every this many steps (0: only the last)."""
    seed: int = 0
    """Of the data, shared by all instances, and, with the start's number, of each initialisation."""

    def __post_init__(self) -> None:
        checked_fields(self)
        for name, known in (("model", MODELS), ("data", DATA), ("values", VALUES), ("schedule", SCHEDULES)):
            _known(name, getattr(self, name), known)
        for name in ("features", "hidden", "starts", "steps", "batch_size"):
            _at_least(name, getattr(self, name), 1)
        _at_least("record", self.record, 0)
        _at_least("first_start", self.first_start, 0)
        if self.batch_size % LANES:
            raise UsageError(
                f"batch_size is {self.batch_size}; it must be a multiple of {LANES}, so that the numbers of every "
                "instance have the same layout in memory and are summed in the same order."
            )
        if not self.lr > 0:
            raise UsageError(f"lr is {self.lr}; it must be above 0.")
        if self.model != "absolute" and self.hidden > self.features:
            raise UsageError(
                f"hidden is {self.hidden} for {self.features} features; with more hidden dimensions than features "
                f"there is nothing to superpose: choose hidden <= {self.features}."
            )
        if self.data != "independent" and (self.group < 2 or self.features % self.group):
            raise UsageError(f"group is {self.group}; it must be 2 or more and divide the {self.features} features.")
        self.cells()

    def cells(self) -> tuple[Float[np.ndarray, "cells features"], Float[np.ndarray, "cells features"]]:
        """Return density and importance of every feature of every cell.

        >>> density, importance = config.cells()
        >>> density
        array([[1.  , 1.  , 1.  , 1.  , 1.  ],
               [0.05, 0.05, 0.05, 0.05, 0.05]])
        """
        density, importance = self._rows("density"), self._rows("importance")
        count = max(len(density), len(importance))
        if not (len(density) == count and len(importance) in (1, count)) and len(density) != 1:
            raise UsageError(
                f"density has {len(density)} cells and importance {len(importance)}; give one for all or as many."
            )
        if not ((density > 0) & (density <= 1)).all():
            given = density[~((density > 0) & (density <= 1))][0]
            raise UsageError(
                f"A density is {given:g} (sparsity {1 - given:g}); it must be above 0 and at most 1, because at a "
                "sparsity of 1 no feature is ever active and there is nothing to learn."
            )
        if not (np.isfinite(importance) & (importance >= 0)).all() or not (importance.max(1) > 0).all():
            raise UsageError("importance must be 0 or more for every feature and above 0 for one of them in each cell.")
        shape = (count, self.features)
        return np.broadcast_to(density, shape).copy(), np.broadcast_to(importance, shape).copy()

    def plain(self) -> dict[str, Any]:
        """Return the configuration as plain values, as results store it.

        >>> list(config.plain())[:3]
        ['features', 'hidden', 'density']
        """
        return asdict(self)

    def _rows(self, name: str) -> Float[np.ndarray, "cells features"]:
        rows = getattr(self, name)
        if not isinstance(rows, tuple) or not rows:
            raise UsageError(f"{name} is {rows!r}; give a tuple with one entry per cell.")
        for row in rows:
            if isinstance(row, tuple) and len(row) != self.features:
                raise UsageError(
                    f"{name} has a cell of {len(row)} numbers for {self.features} features; give one each."
                )
        filled = [np.broadcast_to(np.asarray(row, dtype=np.float64), (self.features,)) for row in rows]
        return np.stack(filled)


def _known(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UsageError(f'{name} is "{value}"; it must be one of {", ".join(known)}{nearest(str(value), known)}.')


def _at_least(name: str, value: int, least: int) -> None:
    if not isinstance(value, int) or value < least:
        raise UsageError(f"{name} is {value}; it must be a whole number, {least} or more.")
