"""Result of an attribution over many prompts: means with intervals. No torch here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from interp.errors import UsageError, whole
from interp.provenance import Provenance
from interp.report import Figure, Shown, Table
from interp.results import Result
from interp.tensors import as_tensor

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class Averaged(Shown, Result):
    """The mean of an attribution over prompts, label by label.

    Attributes:
        what: "direct", "sources", "orders" or "edges".
        target: what is attributed, in words.
        unit: of every number.
        labels: what each number belongs to.
        mean: (n_label,) over prompts.
        deviation: (n_label,) standard deviation over prompts: how much prompts differ. NaN for one prompt.
        observed: (n_prompt,) the model's own value of the target on each prompt.
        error: the largest relative error of any prompt's sum.
        arrays: (n_prompt, n_label) every prompt's own, where they are at most ten million numbers; else of no row.
        provenance: the model, and the run.

    >>> average = attribution.over(model, ["the tower is", "London is in"], target=(" Paris", " London"))
    >>> average.top(2)
    (('MLP1', 2.2398976385593414), ('MLP2', -1.0816741771996021))
    """

    what: str
    target: str
    unit: str
    labels: tuple[str, ...]
    mean: np.ndarray
    deviation: np.ndarray
    observed: np.ndarray
    error: float
    arrays: np.ndarray
    provenance: Provenance

    @property
    def values(self) -> Tensor:
        """Value of the target in the model itself on each prompt.

        A torch tensor.
        """
        return as_tensor(self.observed)

    @property
    def total(self) -> float:
        """Sum of all means, which is the mean of the model's values."""
        return float(self.mean.sum())

    @property
    def interval(self) -> tuple[np.ndarray, np.ndarray]:
        """Bounds (n_label,) of the 95 % interval of the mean over prompts.

        By Student's t; NaN for one prompt.
        """
        from scipy.stats import t

        n = len(self.observed)
        half = t.ppf(0.975, max(1, n - 1)) * self.deviation / np.sqrt(n)
        return self.mean - half, self.mean + half

    def spread(self, label: str) -> tuple[float, ...]:
        """Return the minimum, quartiles and maximum of a label over prompts.

        These are the 0, 25, 50, 75 and 100 % quantiles.

        Raises `UsageError` for a label that does not exist, or where single prompts had too many numbers to store.

        >>> [round(quantile, 3) for quantile in average.spread("L0H1")]
        [0.065, 0.069, 0.072, 0.076, 0.079]
        """
        if label not in self.labels:
            raise UsageError(f'No "{label}" is attributed to; labels are such as "{self.labels[0]}".')
        if not len(self.arrays):
            raise UsageError("The numbers of single prompts were too many to store: average over fewer prompts.")
        return tuple(np.quantile(self.arrays[:, self.labels.index(label)], (0, 0.25, 0.5, 0.75, 1)).tolist())

    def top(self, k: int) -> tuple[tuple[str, float], ...]:
        """Return the k labels of largest mean magnitude: (label, mean).

        >>> [label for label, _ in average.top(3)]
        ['MLP1', 'MLP2', 'MLP0']
        """
        order = np.argsort(-np.abs(self.mean), kind="stable")[: whole(k, "k", 0)]
        return tuple((self.labels[i], float(self.mean[i])) for i in order)

    def table(self, k: int = 20) -> Table:
        """Return the k largest means as a table.

        Its columns are the mean, its interval, the standard deviation and the share of prompts with the mean's sign.

        >>> average.table(2).columns
        ('component', 'mean', 'low', 'high', 'deviation', 'same sign')
        """
        low, high = self.interval
        rows = []
        for label, mean in self.top(k):
            i = self.labels.index(label)
            same = float((np.sign(self.arrays[:, i]) == np.sign(mean)).mean()) if len(self.arrays) else None
            rows.append((label, mean, float(low[i]), float(high[i]), float(self.deviation[i]), same))
        columns = ("component", "mean", "low", "high", "deviation", "same sign")
        caption = (
            f"{self.what.capitalize()} of the {self.target}, mean over {len(self.observed)} prompts in {self.unit}, "
            f"95 % interval and standard deviation over prompts. All {len(self.labels)} sum to {self.total:+.4f}."
        )
        return Table(columns, tuple(rows), caption, dict.fromkeys(columns[1:5], "+.4f") | {"same sign": ".0%"})

    def figure(self) -> Figure:
        """Draw the 20 largest means.

        >>> average.figure()
        Figure(means: Bars; the largest is MLP1 with +2.24.)
        """
        from interp.report.figures import bars

        largest, half = self.top(20), np.nan_to_num(self.interval[1] - self.mean)
        return bars(
            "means",
            [label for label, _ in largest],
            [value for _, value in largest],
            errors=[float(half[self.labels.index(label)]) for label, _ in largest],
            caption=f"The largest means of {self.what} over {len(self.observed)} prompts ({self.target}, {self.unit}). "
            "Error bars: 95 % intervals over prompts.",
            alt=f"Bars; the largest is {largest[0][0]} with {largest[0][1]:+.2f}.",
        )

    def __repr__(self) -> str:
        (label, value), *_ = self.top(1)
        return (
            f"Averaged({self.what} of {self.target}: {len(self.observed)} prompts, mean {self.total:+.4f} {self.unit}, "
            f"largest {label} {value:+.4f}, error {self.error:.0e})"
        )
