"""Result of a model on a task: accuracy and log odds. No torch here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from interp.report import Shown, Table
from interp.results import Result
from interp.statistics import mean_interval

ABLE = 0.75
"""Accuracy from which a model counts as able to do a task: the bound of the MIB benchmark (arXiv 2504.13151)."""


@dataclass(frozen=True, eq=False)
class TaskScore(Shown, Result):
    """Log odds of right against wrong answers, pair by pair, in nats.

    `clean` (n,) are those of the clean prompts, `counterfactual` (n,) of the counterfactual ones, for the same answers;
    `top` (n,) says whether a right answer is the likeliest of all tokens after the clean prompt. Intervals are
    at 95 %: Wilson's for fractions, percentile bootstraps over pairs for means.

    >>> score = task.score(model)
    >>> score.accuracy, score.mean
    (0.5, 0.926)
    """

    task: str
    model: str
    clean: np.ndarray
    counterfactual: np.ndarray
    top: np.ndarray
    seed: int = 0

    @property
    def accuracy(self) -> float:
        """Fraction of pairs with the right answer likelier than the wrong one."""
        return float((self.clean > 0).mean())

    @property
    def accuracy_interval(self) -> tuple[float, float]:
        """Wilson interval of `accuracy` (95 %).

        It has a width even at 1.
        """
        return proportion_interval(int((self.clean > 0).sum()), len(self.clean))

    @property
    def mean(self) -> float:
        """Mean log odds after the clean prompts, in nats."""
        return float(self.clean.mean())

    @property
    def mean_interval(self) -> tuple[float, float]:
        """95 % interval of `mean`."""
        _, low, high = mean_interval(self.clean, seed=self.seed)
        return float(low), float(high)

    @property
    def able(self) -> bool:
        """Whether the model can do the task.

        The accuracy reaches 75 % and the counterfactual lowers the log odds.
        """
        return self.accuracy >= ABLE and self.mean > float(self.counterfactual.mean())

    def summary(self) -> str:
        """Return in one sentence whether the model can do the task.

        >>> print(score.summary().partition(":")[0])
        llama object cannot do the task towers
        """
        low, high = self.accuracy_interval
        can = "can do" if self.able else "cannot do"
        return (
            f"{self.model} {can} the task {self.task}: right in {self.accuracy:.0%} of {len(self.clean)} pairs "
            f"({low:.0%} to {high:.0%}), mean log odds {self.mean:+.2f} nats, "
            f"{self.counterfactual.mean():+.2f} after the counterfactual."
        )

    def table(self) -> Table:
        """Return every measure with its interval.

        >>> print(score.table())
        towers on llama object: 2 pairs; 95 % intervals over pairs.
        measure                               mean     low   high
        accuracy                             0.500   0.095  0.905
        right answer is the likeliest token  0.000   0.000  0.658
        log odds, clean (nats)               0.926  −1.183  3.035
        log odds, counterfactual (nats)      2.102   1.711  2.494
        change by the counterfactual (nats)  1.176  −0.541  2.893
        """
        fractions = (("accuracy", self.clean > 0), ("right answer is the likeliest token", self.top))
        means = (
            ("log odds, clean (nats)", self.clean),
            ("log odds, counterfactual (nats)", self.counterfactual),
            ("change by the counterfactual (nats)", self.counterfactual - self.clean),
        )
        n = len(self.clean)
        rows = (
            *((name, float(hit.mean()), *proportion_interval(int(hit.sum()), n)) for name, hit in fractions),
            *((name, *map(float, mean_interval(values, seed=self.seed))) for name, values in means),
        )
        caption = f"{self.task} on {self.model}: {n} pairs; 95 % intervals over pairs."
        return Table(("measure", "mean", "low", "high"), rows, caption, dict.fromkeys(("mean", "low", "high"), ".3f"))

    def __repr__(self) -> str:
        return self.summary()


def proportion_interval(hits: int, n: int) -> tuple[float, float]:
    """Return the 95 % Wilson interval of `hits` in `n`."""
    z = 1.959964
    share, spread = hits / n, z * z / n
    half = z * np.sqrt(share * (1 - share) / n + spread / (4 * n))
    low, high = (share + spread / 2 - half) / (1 + spread), (share + spread / 2 + half) / (1 + spread)
    return float(max(0.0, low)), float(min(1.0, high))
