"""What probes still read after a linear erasure, on rows it was fitted on and on others. Loading needs no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool

from interp.arguments import checked
from interp.errors import UsageError
from interp.report import Shown, Table
from interp.results import Result

FOLDS = 4
MLP_SEEDS = 3
STRENGTH = 0.01
"""C of the logistic regression, as in `probes.LogisticRegression`."""


@dataclass(frozen=True, eq=False)
class Erased(Result):
    """Probes fitted again after one kind of erasure; every number is an accuracy but for the changes.

    Attributes:
        method: of erasure.
        linear_train: logistic regression fitted and judged on the train rows, where the eraser was fitted too.
        linear_test: the same probe on the test rows.
        linear_inside: fitted and judged within the test rows, by cross-validation over entities; None with too few.
        nonlinear_test: a perceptron (SAPLMA) fitted on train, judged on test; mean over seeds.
        change_train: how far train rows were moved, see `Eraser.changed`.
        change_test: how far test rows were.
    """

    method: str
    linear_train: float
    linear_test: float
    linear_inside: float | None
    nonlinear_test: float
    change_train: float
    change_test: float


@dataclass(frozen=True, eq=False)
class ErasureReport(Shown, Result):
    """Erasures side by side: none, the mean projection, LEACE without shrinkage, and LEACE."""

    methods: tuple[Erased, ...]
    n_train: int
    n_test: int
    chance: float

    def table(self) -> Table:
        """One row a method."""
        columns = ("erasure", "linear, train", "linear, test", "linear, within test", "perceptron, test")
        columns += ("change, train", "change, test")
        rows = tuple(
            (m.method, m.linear_train, m.linear_test, m.linear_inside, m.nonlinear_test, m.change_train, m.change_test)
            for m in self.methods
        )
        caption = (
            f"Accuracy of probes fitted again after erasure ({self.n_train} train rows, on which erasers were fitted, "
            f"and {self.n_test} test rows; the larger test class holds {self.chance:.3f}). Change: root mean square "
            "shift over root mean square distance from the mean."
        )
        return Table(columns, rows, caption, dict.fromkeys(columns[1:], ".3f"))

    def sentences(self) -> tuple[str, ...]:
        """What the last method, LEACE, did and did not do."""
        leace, plain = self.methods[-1], self.methods[-2]
        inside = (
            "" if leace.linear_inside is None else f"; fitted within the test rows it has {leace.linear_inside:.3f}"
        )
        return (
            f"After {leace.method} the label is linearly guarded on the rows of the fit: logistic regression fitted "
            f"again has {leace.linear_train:.3f} there and {leace.linear_test:.3f} on the test rows{inside}.",
            self._nonlinear(leace.nonlinear_test),
            f"Test rows moved by {leace.change_test:.2f} of their spread ({leace.change_train:.2f} on the rows of the "
            f"fit); without shrinkage by {plain.change_test:.2f}.",
        )

    def reads_on(self, accuracy: float) -> bool:
        """Whether an accuracy on the test rows is above chance by two standard errors, at most 1 / (2 sqrt(n)) each."""
        return accuracy > self.chance + (1 / self.n_test) ** 0.5

    def __repr__(self) -> str:
        last = self.methods[-1]
        left = f"linear {last.linear_test:.3f}, perceptron {last.nonlinear_test:.3f}"
        return f"ErasureReport(after {last.method}: {left} on {self.n_test} test rows, chance {self.chance:.3f})"

    def _nonlinear(self, left: float) -> str:
        """What the perceptron's accuracy after the erasure says; not two standard errors above chance, nothing."""
        before = f"on the test rows, against {self.methods[0].nonlinear_test:.3f} before"
        if self.reads_on(left):
            return f"The information is not gone: a perceptron still has {left:.3f} {before}."
        return (
            f"A perceptron fitted again has {left:.3f} {before}: not two standard errors above {self.chance:.3f}, "
            f"which does not show that {self.n_test} rows hold nothing for another probe."
        )


@checked
def erasure_report(
    X: Any, y: Any, groups: Sequence[Sequence[str]], *, test: Bool[np.ndarray, " n"], seed: int = 0
) -> ErasureReport:
    """Erase the label by several methods fitted on the train rows, then fit probes again.

    Args:
        X: (n, d) activations.
        y: (n,) labels.
        groups: the entities of each row.
        test: (n,) mask of the test rows; all others are train rows, unless one of their entities is in the test.
        seed: of the perceptrons and of the folds within the test rows.

    Raises `UsageError` for arrays that do not fit together, or a side without both classes.
    """
    from probes.erasure import Leace, MeanProjection
    from probes.estimators.base import as_array, read_labels

    rows, (_, labels) = np.asarray(as_array(X), np.float64), read_labels(as_array(y))
    test = np.asarray(test, bool)
    if not len(rows) == len(labels) == len(groups) == len(test):
        raise UsageError(f"{len(rows)} rows, {len(labels)} labels, {len(groups)} groups, a mask of {len(test)}.")
    held = {entity for row, out in zip(groups, test, strict=True) if out for entity in row}
    train = np.array([not held.intersection(row) for row in groups]) & ~test
    for side, mask in (("train", train), ("test", test)):
        if len(set(labels[mask].tolist())) < 2:
            raise UsageError(f"The {side} side has {int(mask.sum())} rows, not both true and false ones.")
    judge = _Judge(labels, groups, train, test, seed)
    found = [judge("none", rows, 0.0, 0.0)]
    for method in (MeanProjection(), Leace(shrinkage=None), Leace()):
        eraser = method.fit(rows[train], labels[train])
        found.append(judge(eraser.method, eraser.apply(rows), eraser.change, eraser.changed(rows[test])))
    true = float(labels[test].mean())
    return ErasureReport(tuple(found), int(train.sum()), int(test.sum()), max(true, 1 - true))


@dataclass(frozen=True, eq=False)
class _Judge:
    labels: np.ndarray
    groups: Sequence[Sequence[str]]
    train: np.ndarray
    test: np.ndarray
    seed: int

    def __call__(self, method: str, rows: np.ndarray, change_train: float, change_test: float) -> Erased:
        from probes import SAPLMA

        linear = _linear().fit(rows[self.train], self.labels[self.train])
        perceptrons = [SAPLMA(seed=self.seed + i) for i in range(MLP_SEEDS)]
        fitted = [p.fit(rows[self.train], self.labels[self.train]) for p in perceptrons]
        return Erased(
            method=method,
            linear_train=self._accuracy(linear, rows, self.train),
            linear_test=self._accuracy(linear, rows, self.test),
            linear_inside=self._inside(rows[self.test]),
            nonlinear_test=float(np.mean([self._accuracy(p, rows, self.test) for p in fitted])),
            change_train=change_train,
            change_test=change_test,
        )

    def _accuracy(self, probe: Any, rows: np.ndarray, mask: np.ndarray) -> float:
        return float((probe.predict(rows[mask]) == self.labels[mask]).mean())

    def _inside(self, rows: np.ndarray) -> float | None:
        """Accuracy over the test rows of probes fitted on those of other entities; None where entities are too few."""
        from probes.protocol.splits import folds

        labels = self.labels[self.test]
        groups = [row for row, out in zip(self.groups, self.test, strict=True) if out]
        if len({entity for row in groups for entity in row}) < FOLDS:
            return None
        right = []
        for train, validation in zip(*folds(groups, FOLDS, self.seed), strict=True):
            if validation.any() and len(set(labels[train].tolist())) == 2:
                probe = _linear().fit(rows[train], labels[train])
                right.append(probe.predict(rows[validation]) == labels[validation])
        return float(np.concatenate(right).mean()) if right else None


def _linear() -> Any:
    """Logistic regression on standardised rows. scikit-learn's: with equal class means the optimum is 0, its start."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(C=STRENGTH, max_iter=1000))
