"""Results of patching. No torch here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from interp.provenance import Provenance
from interp.report import Figure, Shown, Table
from interp.results import Result
from interp.statistics import cluster_draws, weighted_mean

COLOURS = (0.0, 1.0)
"""Ends of the colours of every heat map of fractions, so that two maps can be compared by eye."""


@dataclass(frozen=True, eq=False)
class Patched(Shown, Result):
    """Result of patching: the target after each patch.

    `array` (n_row, n_column) is the target, in `unit`; `corrupted` and `clean` are those of the two runs. `rows` and
    `columns` name what was patched, `what` says it in words.

    >>> clean, other = model.to_tokens("the tower is in"), model.to_tokens("a tower is in")
    >>> target = attribution.logit_difference(model, " Paris", " London")
    >>> patched = patching.patch_residual(model, clean, other, target)
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
        """Fraction recovered by each patch: 1 restores the clean run.

        (patched − corrupted) / (clean − corrupted).
        """
        return (self.array - self.corrupted) / (self.clean - self.corrupted)

    def top(self, k: int) -> tuple[tuple[str, str, float], ...]:
        """Return the k patches that move the target most: (row, column, fraction).

        >>> patched.top(1)
        (('before block 2', ' in', 1.431),)
        """
        return _top(self.recovered, self.rows, self.columns, k)

    def table(self) -> Table:
        """Return every patch, the strongest first.

        >>> patched.table().columns
        ('stream', 'position', 'recovered')
        """
        caption = f"{self.what}: fraction of the way from {self.corrupted:+.3f} to {self.clean:+.3f} ({self.target})."
        return Table((*self.axes, "recovered"), self.top(self.array.size), caption, {"recovered": "+.3f"})

    def figure(self) -> Figure:
        """Draw a heat map of the recovered fractions.

        Colours go from 0 to 1.

        >>> type(patched.figure()).__name__
        'Figure'
        """
        caption = (
            f"{self.what}. Fraction of the {self.target} recovered: 0 is the corrupted run "
            f"({self.corrupted:+.3f} {self.unit}), 1 the clean one ({self.clean:+.3f})."
        )
        return _map("patched", self.recovered, self.rows, self.columns, self.axes, "recovered", caption)


@dataclass(frozen=True, eq=False)
class Patching(Shown, Result):
    """Metric of every pair after each patch.

    `effect` is its share of the difference of the two runs.

    Attributes:
        task: the task.
        what: what was patched, such as "attn_out".
        direction: "denoise" puts the clean run's values into the counterfactual run, "noise" the reverse.
        source: where the values that are put in come from.
        metric: what is measured of the patched run.
        values: (n_pair, n_row, n_column) the metric of each pair after each patch.
        clean: (n_pair,) the metric of the clean run.
        counterfactual: (n_pair,) the metric of the counterfactual run.
        rows: what was patched in each row.
        columns: what was patched in each column.
        axes: names of the two axes.

    >>> result = patching.patch(model, task, "z", by=("layer", "head"))
    >>> result.values.shape, result.rows
    ((2, 3, 4), ('layer 0', 'layer 1', 'layer 2'))
    """

    task: str
    what: str
    direction: str
    source: str
    metric: str
    values: np.ndarray
    clean: np.ndarray
    counterfactual: np.ndarray
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    axes: tuple[str, str]
    provenance: Provenance | None = None

    @property
    def effect(self) -> np.ndarray:
        """Share of the mean difference that each patch makes (n_row, n_column).

        Denoising: (patched − counterfactual) / (clean − counterfactual), 1 where a patch restores the clean run.
        Noising: (clean − patched) / (clean − counterfactual), 1 where a patch destroys all of it. 0 changes nothing.
        """
        return self._share(self.values.mean(0), self.clean.mean(), self.counterfactual.mean())

    def interval(self, draws: int = 1000, seed: int = 0) -> np.ndarray:
        """Return the 95 % bootstrap interval of `effect` (2, n_row, n_column).

        >>> low, high = result.interval(draws=50)
        >>> low.shape
        (3, 4)
        """
        drawn = []
        for weights in cluster_draws(len(self.clean), seed=seed, draws=draws, cells=self.values[0].size):
            values, clean, other = (
                np.asarray(weighted_mean(array, weights)) for array in (self.values, self.clean, self.counterfactual)
            )
            drawn.append(self._share(values, clean[:, None, None], other[:, None, None]))
        return np.quantile(np.concatenate(drawn), (0.025, 0.975), axis=0)

    def top(self, k: int) -> tuple[tuple[str, str, float], ...]:
        """Return the k patches of largest effect: (row, column, share).

        >>> result.top(2)
        (('layer 0', 'head 3', 1.227), ('layer 0', 'head 1', 0.684))
        """
        return _top(self.effect, self.rows, self.columns, k)

    def table(self) -> Table:
        """Return every patch, the strongest first.

        >>> result.table().columns
        ('layer', 'head', 'restored')
        """
        return Table((*self.axes, self._word), self.top(self.effect.size), self._caption, {self._word: "+.3f"})

    def figure(self) -> Figure:
        """Draw a heat map of the shares, colours from 0 to 1.

        >>> type(result.figure()).__name__
        'Figure'
        """
        return _map("patching", self.effect, self.rows, self.columns, self.axes, self._word, self._caption)

    @property
    def _word(self) -> str:
        return "restored" if self.direction == "denoise" else "destroyed"

    @property
    def _caption(self) -> str:
        into = {"denoise": "the clean run's into the counterfactual run", "noise": f"{self.source} into the clean run"}
        return (
            f"Patching {self.what} of the task {self.task}, {into[self.direction]}: share of the difference in "
            f"{self.metric} {self._word}, from {self.counterfactual.mean():+.3f} (counterfactual) to "
            f"{self.clean.mean():+.3f} (clean), mean over {len(self.clean)} pairs."
        )

    def _share(self, values: np.ndarray, clean: np.ndarray, other: np.ndarray) -> np.ndarray:
        return (values - other if self.direction == "denoise" else clean - values) / (clean - other)


def _top(
    effect: np.ndarray, rows: tuple[str, ...], columns: tuple[str, ...], k: int
) -> tuple[tuple[str, str, float], ...]:
    order = np.argsort(-np.abs(effect), axis=None, kind="stable")[:k]
    places = [np.unravel_index(i, effect.shape) for i in order]
    return tuple((rows[i], columns[j], float(effect[i, j])) for i, j in places)


def _map(
    name: str,
    effect: np.ndarray,
    rows: tuple[str, ...],
    columns: tuple[str, ...],
    axes: tuple[str, str],
    word: str,
    caption: str,
) -> Figure:
    from interp.report import visible
    from interp.report.figures import heatmap

    row, column, most = _top(effect, rows, columns, 1)[0]
    beyond = int(((effect < COLOURS[0]) | (effect > COLOURS[1])).sum())
    note = f" {beyond} shares beyond 0 to 1 have the colour of the nearer end; the result's table has them." * (
        beyond > 0
    )
    return heatmap(
        name,
        effect.clip(*COLOURS),
        caption=caption + note,
        alt=f"Heat map of shares {word}; the strongest is {row}, {visible(column)} with {most:+.2f}.",
        rows=rows,
        columns=[visible(label) for label in columns],
        axes=(*axes, word),
        signed=False,
        limits=COLOURS,
    )
