"""What patching found. No torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from interp.report import Figure, Shown, Table
from interp.results import Result


@dataclass(frozen=True, eq=False)
class Patched(Shown, Result):
    """The target after each patch: `array` (n_row, n_column), in `unit`, between `corrupted` and `clean`.

    `rows` and `columns` name what was patched, `what` says it in words.
    """

    target: str
    unit: str
    what: str
    array: np.ndarray
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    axes: tuple[str, str]
    clean: float
    corrupted: float

    @property
    def recovered(self) -> np.ndarray:
        """(patched − corrupted) / (clean − corrupted): 0 changes nothing, 1 restores the clean run."""
        return (self.array - self.corrupted) / (self.clean - self.corrupted)

    def top(self, k: int) -> tuple[tuple[str, str, float], ...]:
        """The k patches that move the target most: (row, column, recovered fraction)."""
        order = np.argsort(-np.abs(self.recovered), axis=None, kind="stable")[:k]
        places = [np.unravel_index(i, self.array.shape) for i in order]
        return tuple((self.rows[i], self.columns[j], float(self.recovered[i, j])) for i, j in places)

    def table(self) -> Table:
        """Every patch, the strongest first."""
        caption = f"{self.what}: fraction of the way from {self.corrupted:+.3f} to {self.clean:+.3f} ({self.target})."
        return Table((*self.axes, "recovered"), self.top(self.array.size), caption, {"recovered": "+.3f"})

    def figure(self) -> Figure:
        """A heat map of the recovered fractions."""
        from interp.report import visible
        from interp.report.figures import heatmap

        row, column, most = self.top(1)[0]
        return heatmap(
            "patched",
            self.recovered,
            caption=f"{self.what}. Fraction of the {self.target} recovered: 0 is the corrupted run "
            f"({self.corrupted:+.3f} {self.unit}), 1 the clean one ({self.clean:+.3f}).",
            alt=f"Heat map of recovered fractions; the strongest is {row}, {visible(column)} with {most:+.2f}.",
            rows=self.rows,
            columns=[visible(name) for name in self.columns],
            axes=(*self.axes, "recovered"),
            limits=(-1.0, 1.0),
        )
