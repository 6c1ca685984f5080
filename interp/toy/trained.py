"""Result of training a grid of toy models; saved without pickle, read without torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from interp.errors import UsageError
from interp.provenance import Provenance
from interp.results import Result
from interp.toy.config import Config


@dataclass(frozen=True)
class Best:
    """Start of lowest loss in every cell."""

    start: Int[np.ndarray, " cells"]
    features: Float[np.ndarray, "cells features hidden"]
    """Row i is feature i's direction in the hidden space."""
    features_out: Float[np.ndarray, "cells features hidden"]
    bias: Float[np.ndarray, "cells features"]
    loss: Float[np.ndarray, " cells"]


@dataclass(frozen=True, eq=False)
class Trained(Result):
    """Trained models of a grid, one for each cell and start.

    A tied model has `features_out == features_in`.

    >>> config = toy.Config(features=5, hidden=2, density=(1.0, 0.05), starts=2, steps=200, batch_size=64)
    >>> trained = toy.train(config)
    >>> trained.features_in.shape, trained.loss.round(3)
    ((2, 2, 5, 2), array([[0.292, 0.266],
           [0.033, 0.038]]))
    """

    config: dict[str, Any]
    density: Float[np.ndarray, "cells features"]
    importance: Float[np.ndarray, "cells features"]
    features_in: Float[np.ndarray, "cells starts features hidden"]
    """The encoder's columns: where an input feature points in the hidden space."""
    features_out: Float[np.ndarray, "cells starts features hidden"]
    """The decoder's rows: which direction of the hidden space an output feature reads."""
    bias: Float[np.ndarray, "cells starts features"]
    loss: Float[np.ndarray, "cells starts"]
    """Expected loss Σ_i I_i E[(x_i − x'_i)²]."""
    loss_is_exact: Bool[np.ndarray, ""] | bool
    """By enumeration of the activity patterns; otherwise the mean over a fixed sample."""
    steps: Int[np.ndarray, " records"]
    history: Float[np.ndarray, "records cells starts features hidden"]
    history_loss: Float[np.ndarray, "records cells starts"]
    """Minibatch losses, noisy."""
    provenance: Provenance

    def best(self) -> Best:
        """Return the lowest-loss start of each cell.

        Single starts get stuck: the paper too takes the best of 10.

        >>> best = trained.best()
        >>> best.start, toy.dimensionality(best.features).shape
        (array([1, 0]), (2, 5))
        """
        start = self.loss.argmin(axis=1)
        cell = np.arange(len(start))
        return Best(
            start=start,
            features=self.features_in[cell, start],
            features_out=self.features_out[cell, start],
            bias=self.bias[cell, start],
            loss=self.loss[cell, start],
        )

    def configuration(self) -> Config:
        """Return the `Config` of the training.

        >>> trained.configuration().density
        (1.0, 0.05)
        """
        names = {"batch": "batch_size"}  # of files of earlier versions
        return Config(**{names.get(name, name): value for name, value in self.config.items()})

    def cell(self, index: int) -> Trained:
        """Return cell `index` alone, as a grid of one cell.

        Raises `UsageError` for a cell that does not exist.

        >>> trained.cell(1).density
        array([[0.05, 0.05, 0.05, 0.05, 0.05]])
        """
        if not 0 <= index < len(self.density):
            raise UsageError(f"Cell {index} does not exist; the cells are 0 to {len(self.density) - 1}.")
        keep = slice(index, index + 1)
        rows = {name: tuple(map(float, getattr(self, name)[index])) for name in ("density", "importance")}
        return replace(
            self,
            config={**self.config, **{name: (row,) for name, row in rows.items()}},
            **{name: getattr(self, name)[keep] for name in ("density", "importance", "bias", "loss")},
            **{name: getattr(self, name)[keep] for name in ("features_in", "features_out")},
            **{name: getattr(self, name)[:, keep] for name in ("history", "history_loss")},
        )
