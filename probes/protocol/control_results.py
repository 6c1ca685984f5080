"""Results of the controls of a sweep, and intervals.

No torch: saved results are loaded and drawn without it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from interp.report.shown import Shown
from interp.report.table import Table
from interp.results import Result
from probes.protocol import figures

if TYPE_CHECKING:
    pass

Interval = tuple[float, float, float]
"""Estimate, lower and upper bound of the 95 % interval over entities."""


def shown(values: Interval | np.ndarray) -> str:
    """Format an interval.

    >>> shown((0.9, 0.8, 0.95))
    '0.900 [0.800, 0.950]'
    """
    estimate, low, high = values
    return f"{estimate:.3f} [{low:.3f}, {high:.3f}]"


@dataclass(frozen=True, eq=False)
class Baseline(Result):
    """Baseline that uses no activations.

    Attributes:
        name: name of the baseline.
        accuracy: accuracy with its interval; NaN if there is none.
        auc: AUC with its interval; NaN if there is none.
        note: reason why there is no number.

    Example:
        >>> Baseline("majority label", (0.5, 0.4, 0.6), (0.5, 0.5, 0.5))
        Baseline(majority label: accuracy 0.500 [0.400, 0.600], AUC 0.500 [0.500, 0.500])
    """

    name: str
    accuracy: Interval
    auc: Interval
    note: str = ""

    def __repr__(self) -> str:
        if not np.isfinite(self.accuracy[0]):
            return f"Baseline({self.name}: {self.note})"
        return f"Baseline({self.name}: accuracy {shown(self.accuracy)}, AUC {shown(self.auc)})"


@dataclass(frozen=True, eq=False)
class Selectivity(Result):
    """Accuracy on true labels compared with random labels of entities.

    The probe is fitted on one row of each entity and tested on its other rows.

    Attributes:
        truth: accuracy on the true labels, mean over the same draws of rows.
        control: (task,) accuracy on the control labels, each with its own draw of rows.
        groups: number of entities with at least two rows.
        note: reason why there is no number; "" otherwise.

    Example:
        >>> round(Selectivity(0.9, np.array([0.5, 0.6]), groups=40).value, 3)
        0.35
    """

    truth: float
    control: np.ndarray
    groups: int
    note: str = ""

    @property
    def value(self) -> float:
        """Truth minus mean control accuracy.

        Near or below 0 the probe memorises entities as well as it reads truth.
        """
        return self.truth - float(self.control.mean()) if len(self.control) else float("nan")

    def __repr__(self) -> str:
        if not len(self.control):
            return f"Selectivity(none: {self.note})"
        parts = f"truth {self.truth:.3f}, control labels {self.control.mean():.3f}"
        return f"Selectivity({self.value:+.3f}: {parts}; {self.groups} groups)"


@dataclass(frozen=True, eq=False)
class Null(Result):
    """AUC of the same procedure with labels shuffled between and within groups.

    Attributes:
        auc: (draw,) AUC on the test side.
        p: (1 + number of draws with an AUC of at least the probe's) / (1 + number of draws).
        refitted: whether the probe was fitted on shuffled train labels (else only the test labels were shuffled).

    Example:
        >>> Null(np.array([0.5, 0.5]), p=1 / 3, refitted=True)
        Null(AUC 0.500 [0.500, 0.500] in 2 draws, p = 0.333)
    """

    auc: np.ndarray
    p: float
    refitted: bool

    @property
    def interval(self) -> Interval:
        """Mean and the middle 95 % of the draws."""
        low, high = np.quantile(self.auc, [0.025, 0.975])
        return float(self.auc.mean()), float(low), float(high)

    def __repr__(self) -> str:
        return f"Null(AUC {shown(self.interval)} in {len(self.auc)} draws, p = {self.p:.3g})"


@dataclass(frozen=True, eq=False)
class Controls(Result, Shown):
    """Controls and baselines to compare the probe with.

    Attributes:
        selectivity: accuracy on true labels minus accuracy on random labels of entities.
        null: AUC with shuffled labels.
        embedding_accuracy: accuracy of the same probe on layer -1; None if that layer was not collected.
        embedding_auc: AUC on layer -1; None if that layer was not collected.
        baselines: majority label, words and log-probability.

    Example:
        >>> controls = probes.sweep(acts, probe=probes.MassMean()).controls  # acts = probes.collect(model, data)
        >>> controls.embedding_auc
        (0.5, 0.5, 0.5)
    """

    selectivity: Selectivity
    null: Null
    embedding_accuracy: Interval | None
    embedding_auc: Interval | None
    baselines: tuple[Baseline, ...]

    def table(self) -> Table:
        """Return a table with one row per control."""
        return figures.controls_table(self)

    def __repr__(self) -> str:
        return f"Controls({self.selectivity!r}, {self.null!r}, and more in .table())"

    def __str__(self) -> str:
        return str(self.table())
