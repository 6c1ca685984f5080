"""Results about sets of heads. No torch here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from interp.report import Figure, Shown, Table
from interp.results import Result


@dataclass(frozen=True, eq=False)
class HeadSet(Shown, Result):
    """Smallest set of heads that carries a share of the measure.

    All other heads are corrupted.

    `heads` are their names, the most important first, `f` their faithfulness, `control` (n_controls,) that of random
    sets of as many heads; `f_by_size` (n_head,) is f of the k heads of largest single effect.

    >>> heads = discovery.minimal_heads(model, task, n_controls=3)
    >>> heads.heads, heads.f
    (('L0H3',), 1.248)
    """

    task: str
    share: float
    heads: tuple[str, ...]
    f: float
    f_by_size: np.ndarray
    control: np.ndarray
    n_head: int

    def summary(self) -> str:
        """Return the result in one sentence.

        >>> heads.summary()
        '1 of 12 heads keep 125% of towers (90% asked for); random sets of as many at most -1%.'
        """
        return (
            f"{len(self.heads)} of {self.n_head} heads keep {self.f:.0%} of {self.task} ({self.share:.0%} asked for); "
            f"random sets of as many at most {float(self.control.max()):.0%}."
        )

    def table(self) -> Table:
        """Return the heads.

        >>> heads.table().rows[0]
        (1, 'L0H3')
        """
        return Table(("rank", "head"), tuple(enumerate(self.heads, 1)), self.summary())


@dataclass(frozen=True, eq=False)
class HeadEffects(Shown, Result):
    """Effects of corrupting each head: `values` (n_head, n_pair), in nats.

    >>> effects = discovery.head_effects(model, task)
    >>> effects.values.shape, effects.correlation.shape
    ((12, 2), (12, 12))
    """

    task: str
    heads: tuple[str, ...]
    values: np.ndarray
    total: float

    @property
    def correlation(self) -> np.ndarray:
        """Correlation of effects over pairs (n_head, n_head); NaN for constant ones.

        Heads that do the same thing on the same prompts correlate; heads of which one is strong where the other is weak
        have a negative correlation.
        """
        centred = self.values - self.values.mean(1, keepdims=True)
        size = np.sqrt((centred**2).sum(1))
        size[size < 1e-9 * max(1.0, float(size.max()))] = np.nan
        return centred @ centred.T / np.outer(size, size)

    def top(self, k: int) -> tuple[tuple[str, float], ...]:
        """Return the k heads of largest mean effect.

        >>> effects.top(2)
        (('L0H3', 1.411), ('L0H0', -0.686))
        """
        means = self.values.mean(1)
        return tuple((self.heads[i], float(means[i])) for i in np.argsort(-np.abs(means), kind="stable")[:k].tolist())

    def table(self) -> Table:
        """Return the strongest heads.

        >>> effects.table().rows[0]
        ('L0H3', 1.411)
        """
        caption = (
            f"Change of the log odds of {self.task}, in nats, when a head alone is corrupted; all: {self.total:+.3f}."
        )
        return Table(("head", "effect"), self.top(30), caption, {"effect": "+.4f"})

    def figure(self) -> Figure:
        """Draw the correlations among the strongest heads.

        >>> type(effects.figure()).__name__
        'Figure'
        """
        from interp.report.figures import heatmap

        names = [name for name, _ in self.top(12)]
        rows = [self.heads.index(name) for name in names]
        return heatmap(
            "head-correlation",
            self.correlation[np.ix_(rows, rows)],
            caption=f"Correlation over {self.values.shape[1]} pairs of the effects of corrupting two heads, each "
            "alone. Blue: they matter on the same prompts; red: one matters where the other does not.",
            alt=f"Correlations among the {len(names)} strongest heads.",
            rows=names,
            columns=names,
            axes=("head", "head", "correlation"),
        )


@dataclass(frozen=True, eq=False)
class Backups(Shown, Result):
    """Heads that take over when others are gone.

    For each head, `alone` (n_head,) is the change of the measure when it is corrupted, `given` when it is corrupted on
    top of the `primaries`; `compensation` = alone − given is positive for a head that supports the answer more once
    the primaries are gone. `joint` is the change when primaries and the k best backups are corrupted at once, `summed`
    the sum of the change by the primaries and the change by the backups.

    >>> result = discovery.backups(model, task, ["L0H1"], k=2)
    >>> result.joint, result.summed
    (-0.293, 0.395)
    """

    task: str
    heads: tuple[str, ...]
    primaries: tuple[str, ...]
    alone: np.ndarray
    given: np.ndarray
    joint: float
    summed: float

    @property
    def compensation(self) -> np.ndarray:
        """Additional support of each head for the answer without the primaries.

        In nats.
        """
        return self.alone - self.given

    @property
    def synergy(self) -> float:
        """Ratio of the joint loss to the sum of separate losses.

        The losses are those of primaries and best backups.
        """
        return self.joint / self.summed if self.summed else float("nan")

    def top(self, k: int) -> tuple[tuple[str, float], ...]:
        """Return the k heads that compensate most.

        >>> result.top(2)
        (('L1H1', 0.582), ('L1H3', 0.372))
        """
        order = np.argsort(-self.compensation, kind="stable")
        return tuple((self.heads[i], float(self.compensation[i])) for i in order[:k].tolist())

    def table(self) -> Table:
        """Return the heads that compensate most.

        >>> result.table().columns
        ('head', 'alone', 'given', 'compensation')
        """
        index = {name: i for i, name in enumerate(self.heads)}
        rows = tuple((n, float(self.alone[index[n]]), float(self.given[index[n]]), v) for n, v in self.top(20))
        caption = (
            f"Change of the log odds of {self.task}, in nats, when a head is corrupted: alone, and on top of "
            f"{', '.join(self.primaries)}. Losing these and the best backups together costs {self.synergy:.2f} times "
            "the sum of both losses."
        )
        columns = ("head", "alone", "given", "compensation")
        return Table(columns, rows, caption, dict.fromkeys(columns[1:], "+.4f"))
