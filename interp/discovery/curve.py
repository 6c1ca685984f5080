"""Faithfulness of circuits by their size. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float

from interp.errors import UsageError
from interp.report import Figure, Shown, Table
from interp.results import Result
from interp.statistics import Bootstrap

SIZES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""Fractions of all edges at which the MIB benchmark evaluates (2504.13151)."""

Interval = tuple[float, float, float]
"""Estimate, lower and upper bound."""


@dataclass(frozen=True, eq=False)
class Curve(Shown, Result):
    """Measures of circuits of growing size, pair by pair, and their faithfulness.

        f(C) = (m(C) − m(∅)) / (m(N) − m(∅))

    with means over pairs, N the whole model (`clean`) and ∅ every edge corrupted (`corrupted`). `signed` (n_size,
    n_pair) are the measures of circuits ranked by signed score, `absolute` by magnitude, `control` at random. `counts`
    (n_size, 3, 2) are the edges left of each ranking after those that are cut off were dropped: as the graph counts
    them, and with every query head's own keys and values. Intervals are 95 % bootstraps over pairs.

    >>> scores = discovery.score(model, task)
    >>> curve = discovery.faithfulness(model, task, scores, sizes=(0.1, 0.5, 1.0))
    >>> curve.f.round(3)
    array([0.621, 1.304, 1.   ])
    """

    method: str
    task: str
    sizes: tuple[float, ...]
    counts: np.ndarray
    signed: np.ndarray
    absolute: np.ndarray
    control: np.ndarray
    clean: np.ndarray
    corrupted: np.ndarray
    n_edge: int
    outside: str = "counterfactual"
    seed: int = 0

    @property
    def f(self) -> Float[np.ndarray, " n_size"]:
        """Faithfulness of circuits ranked by signed score."""
        return self._faithfulness(self.signed)

    @property
    def f_absolute(self) -> Float[np.ndarray, " n_size"]:
        """Faithfulness of circuits ranked by magnitude."""
        return self._faithfulness(self.absolute)

    @property
    def random(self) -> Float[np.ndarray, " n_size"]:
        """Faithfulness of circuits ranked at random: the control."""
        return self._faithfulness(self.control)

    @property
    def f_interval(self) -> tuple[Float[np.ndarray, " n_size"], Float[np.ndarray, " n_size"]]:
        """95 % interval of `f`."""
        low, high = np.percentile(self._resampled(self.signed), [2.5, 97.5], axis=0)
        return low, high

    @property
    def weights(self) -> Float[np.ndarray, " n_size"]:
        """Weights of the sizes in CPR and CMD.

        They are those of the trapezoidal rule over nominal sizes; 85 % lie at 20 % of the edges and more.
        """
        return trapezoid(np.array(self.sizes))

    @property
    def cpr(self) -> float:
        """Circuit performance ratio: area under f by signed score; higher is better."""
        return float(self.f @ self.weights)

    @property
    def cmd(self) -> float:
        """Circuit-model distance: the area under |1 − f| by magnitude.

        0 is best.
        """
        return float(np.abs(1 - self.f_absolute) @ self.weights)

    @property
    def cpr_interval(self) -> Interval:
        """CPR with its interval."""
        return self._interval(self.cpr, self._area_draws["cpr"])

    @property
    def cmd_interval(self) -> Interval:
        """CMD with its interval."""
        return self._interval(self.cmd, self._area_draws["cmd"])

    def less(self, other: Curve) -> dict[str, Interval]:
        """Return the areas minus those of another curve on the same pairs.

        Both curves are resampled over the same pairs. Returns {"cpr", "cmd"}, each (difference, lower, upper bound).
        Raises `UsageError` for a curve of other pairs or sizes.

        >>> curve.less(curve)["cpr"]
        (0.0, 0.0, 0.0)
        """
        if self.sizes != other.sizes or not np.array_equal(self.clean, other.clean):
            raise UsageError("Curves are compared pair by pair: judge both on the same task at the same sizes.")
        mine, theirs = self._area_draws, other._area_draws
        values = {"cpr": self.cpr - other.cpr, "cmd": self.cmd - other.cmd}
        return {name: self._interval(value, mine[name] - theirs[name]) for name, value in values.items()}

    @property
    def log_area(self) -> dict[str, float]:
        """Both areas over the logarithm of the size.

        So every decade counts alike.
        """
        weights = trapezoid(np.log10(self.sizes))
        weights = weights / weights.sum()
        return {"cpr": float(self.f @ weights), "cmd": float(np.abs(1 - self.f_absolute) @ weights)}

    @property
    def random_areas(self) -> dict[str, float]:
        """CPR and CMD of the random ranking."""
        return {"cpr": float(self.random @ self.weights), "cmd": float(np.abs(1 - self.random) @ self.weights)}

    def summary(self) -> str:
        """Return the areas and those of random edges in a line.

        >>> print(curve.summary().partition(":")[0])
        secant on towers
        """
        (cpr, low, high), (cmd, below, above), chance = self.cpr_interval, self.cmd_interval, self.random_areas
        return (
            f"{self.method} on {self.task}: CPR {cpr:.2f} ({low:.2f} to {high:.2f}; random {chance['cpr']:.2f}), "
            f"CMD {cmd:.3f} ({below:.3f} to {above:.3f}; random {chance['cmd']:.2f}), {len(self.clean)} pairs"
        )

    def table(self) -> Table:
        """Return a table of f by each ranking at every size.

        It has the number of edges and the weight of each size too.

        >>> curve.table().columns[:4]
        ('share', 'edges', 'ungrouped', 'f, signed')
        """
        low, high = self.f_interval
        columns = ("share", "edges", "ungrouped", "f, signed", "low", "high", "f, absolute", "f, random", "weight")
        rows = tuple(
            (
                size,
                *map(int, self.counts[i, 0]),
                *map(float, (self.f[i], low[i], high[i], self.f_absolute[i], self.random[i], self.weights[i])),
            )
            for i, size in enumerate(self.sizes)
        )
        caption = (
            f"{self.summary()}. Edges: what is left of the signed ranking after edges that are cut off were dropped, "
            f"of {self.n_edge:,}; ungrouped: counted for every query head. Weight: of the size in CPR and CMD."
        )
        formats = {name: ".3f" for name in columns[3:]} | {"share": ".1%", "weight": ".4f"}
        return Table(columns, rows, caption, formats)

    def figure(self) -> Figure:
        """Draw f by size, with that of random edges.

        >>> type(curve.figure()).__name__
        'Figure'
        """
        from interp.report.figures import lines

        series = {"signed": self.f, "absolute": self.f_absolute, "random": self.random}
        return lines(
            "faithfulness",
            100 * np.array(self.sizes),
            series,
            caption=f"Faithfulness of circuits of {self.method} by size, per cent of {self.n_edge:,} edges; "
            f"1 is the whole model, 0 the counterfactual run. {len(self.clean)} pairs; the band is the 95 % bootstrap "
            "interval over pairs.",
            alt=f"Faithfulness by size; the smallest circuits, {self.sizes[0]:.1%} of the edges, have {self.f[0]:.2f}.",
            axes=("size (% of all edges)", "faithfulness f"),
            bands={"signed": self.f_interval},
            log="x",
        )

    def __repr__(self) -> str:
        return f"Curve({self.summary()})"

    def _faithfulness(self, measures: np.ndarray) -> np.ndarray:
        floor = self.corrupted.mean()
        return (measures.mean(1) - floor) / (self.clean.mean() - floor)

    @cached_property
    def _draws(self) -> np.ndarray:
        return Bootstrap.of(len(self.clean), self.seed).weights / len(self.clean)

    @cached_property
    def _area_draws(self) -> dict[str, Float[np.ndarray, " draw"]]:
        """Return both areas in every resample of the pairs."""
        return {
            "cpr": self._resampled(self.signed) @ self.weights,
            "cmd": np.abs(1 - self._resampled(self.absolute)) @ self.weights,
        }

    def _resampled(self, measures: np.ndarray) -> Float[np.ndarray, "draw n_size"]:
        floor = self._draws @ self.corrupted
        return (self._draws @ measures.T - floor[:, None]) / (self._draws @ self.clean - floor)[:, None]

    @staticmethod
    def _interval(value: float, draws: np.ndarray) -> Interval:
        low, high = np.percentile(draws, [2.5, 97.5])
        return value, float(low), float(high)


def trapezoid(x: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Return the weights of points in the trapezoidal rule.

    Σ w f = ∫ f dx.
    """
    gaps = np.diff(x)
    return (np.append(gaps, 0.0) + np.insert(gaps, 0, 0.0)) / 2
