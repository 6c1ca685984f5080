"""Accuracy of probes after linear erasure.

It is measured on the rows of its fit and on new rows. Loading needs no torch.
"""

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
    """Accuracies of probes that were fitted again after one method of erasure.

    Attributes:
        method: the method of erasure.
        linear_train: accuracy of logistic regression on the train rows, on which the eraser was fitted too.
        linear_test: accuracy of the same probe on the test rows.
        linear_inside: accuracy within the test rows by cross-validation over entities; None if there are too few.
        nonlinear_test: test accuracy of a perceptron (SAPLMA), mean over seeds.
        change_train: relative shift of the train rows, see `Eraser.changed`.
        change_test: relative shift of the test rows.

    Example:
        >>> last = erasure.methods[-1]  # erasure = probes.erasure_report(X, y, groups, test=test)
        >>> last.method, round(last.linear_train, 2)
        ('LEACE, Ledoit-Wolf', 0.5)
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
    """Comparison of no erasure, mean projection, LEACE without shrinkage, and LEACE.

    Attributes:
        methods: one entry per method.
        n_train: number of train rows.
        n_test: number of test rows.
        chance: fraction of the larger class among the test rows.

    Example:
        >>> [method.method for method in erasure.methods]  # erasure = probes.erasure_report(X, y, groups, test=test)
        ['none', 'projection along the mean difference', 'LEACE, no shrinkage', 'LEACE, Ledoit-Wolf']
    """

    methods: tuple[Erased, ...]
    n_train: int
    n_test: int
    chance: float

    def table(self) -> Table:
        """Return a table with one row per method.

        >>> erasure.table().columns[:3]  # erasure = probes.erasure_report(X, y, groups, test=test)
        ('erasure', 'linear, train', 'linear, test')
        """
        columns = ("erasure", "linear, train", "linear, test", "linear, within test", "perceptron, test")
        columns += ("change, train", "change, test")
        rows = tuple(
            (m.method, m.linear_train, m.linear_test, m.linear_inside, m.nonlinear_test, m.change_train, m.change_test)
            for m in self.methods
        )
        caption = (
            f"Accuracy of probes fitted again after erasure ({self.n_train} train rows, on which the erasers were "
            f"fitted, and {self.n_test} test rows; always naming the larger test class gives {self.chance:.3f}). "
            "Change: root mean square shift over root mean square distance from the mean."
        )
        return Table(columns, rows, caption, dict.fromkeys(columns[1:], ".3f"))

    def sentences(self) -> tuple[str, ...]:
        """Return sentences about what LEACE erased and what it did not.

        LEACE is the last method of the report.

        >>> erasure.sentences()[0]  # erasure = probes.erasure_report(X, y, groups, test=test)
        'After LEACE, Ledoit-Wolf no linear probe can read the label on the rows of the fit: logistic ...'
        """
        leace, plain = self.methods[-1], self.methods[-2]
        inside = (
            "" if leace.linear_inside is None else f"; fitted within the test rows it reaches {leace.linear_inside:.3f}"
        )
        return (
            f"After {leace.method} no linear probe can read the label on the rows of the fit: logistic regression "
            f"fitted again reaches {leace.linear_train:.3f} there and {leace.linear_test:.3f} on the test "
            f"rows{inside}.",
            self._nonlinear(leace.nonlinear_test),
            f"The test rows moved by {leace.change_test:.2f} of their spread ({leace.change_train:.2f} on the rows of "
            f"the fit); without shrinkage they moved by {plain.change_test:.2f}.",
        )

    def reads_on(self, accuracy: float) -> bool:
        """Return whether a test accuracy exceeds chance by two standard errors.

        A standard error is at most 1 / (2 sqrt(n_test)).

        >>> erasure.n_test, erasure.reads_on(0.65), erasure.reads_on(0.70)  # erasure = probes.erasure_report(...)
        (28, False, True)
        """
        return accuracy > self.chance + (1 / self.n_test) ** 0.5

    def __repr__(self) -> str:
        last = self.methods[-1]
        left = f"linear {last.linear_test:.3f}, perceptron {last.nonlinear_test:.3f}"
        return f"ErasureReport(after {last.method}: {left} on {self.n_test} test rows, chance {self.chance:.3f})"

    def _nonlinear(self, left: float) -> str:
        """Return what the perceptron's accuracy after the erasure shows."""
        before = f"on the test rows, compared with {self.methods[0].nonlinear_test:.3f} before"
        if self.reads_on(left):
            return f"The information is not gone: a perceptron still reaches {left:.3f} {before}."
        return (
            f"A perceptron fitted again reaches {left:.3f} {before}: less than two standard errors above "
            f"{self.chance:.3f}. This does not show that another probe could read nothing from {self.n_test} rows."
        )


@checked
def erasure_report(
    X: Any, y: Any, groups: Sequence[Sequence[str]], *, test: Bool[np.ndarray, " n"], seed: int = 0
) -> ErasureReport:
    """Erase the label by several methods, then fit probes again and compare.

    The erasers are fitted on the train rows.

    Args:
        X: (n, d) activations.
        y: (n,) labels.
        groups: the entities of each row.
        test: (n,) mask of the test rows. The other rows are train rows, unless they share an entity with a test row.
        seed: seed of the perceptrons and of the folds within the test rows.

    Returns:
        An `ErasureReport`.

    Raises:
        UsageError: arrays of different lengths, or a side without both classes.

    Example:
        >>> test = probes.split(data).test  # acts = probes.collect(model, data)
        >>> result = erasure_report(acts.at(1), data.labels, data.groups, test=test)
        >>> [round(one.linear_train, 2) for one in result.methods]  # before, and after three ways to erase
        [0.92, 0.5, 0.5, 0.5]
    """
    from probes.erasure import Leace, MeanProjection
    from probes.estimators.base import as_array, read_labels

    rows, (_, labels) = np.asarray(as_array(X), np.float64), read_labels(as_array(y))
    test = np.asarray(test, bool)
    if not len(rows) == len(labels) == len(groups) == len(test):
        raise UsageError(
            f"X, y, groups and test must have the same length, not {len(rows)}, {len(labels)}, {len(groups)} and "
            f"{len(test)}."
        )
    tested = {entity for row, inside in zip(groups, test, strict=True) if inside for entity in row}
    train = np.array([not tested.intersection(row) for row in groups]) & ~test
    for side, mask in (("train", train), ("test", test)):
        if len(set(labels[mask].tolist())) < 2:
            raise UsageError(
                f"The {side} side has {int(mask.sum())} rows, not of both classes: it needs true and false ones."
            )
    evaluate = _Evaluation(labels, groups, train, test, seed)
    methods = [evaluate("none", rows, 0.0, 0.0)]
    for method in (MeanProjection(), Leace(shrinkage=None), Leace()):
        eraser = method.fit(rows[train], labels[train])
        methods.append(evaluate(eraser.method, eraser.apply(rows), eraser.change, eraser.changed(rows[test])))
    true = float(labels[test].mean())
    return ErasureReport(tuple(methods), int(train.sum()), int(test.sum()), max(true, 1 - true))


@dataclass(frozen=True, eq=False)
class _Evaluation:
    """Evaluation of probes on one split, called once per method of erasure."""

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
        """Return the cross-validated accuracy within the test rows.

        None if there are too few entities.
        """
        from probes.protocol.splits import folds

        labels = self.labels[self.test]
        groups = [row for row, inside in zip(self.groups, self.test, strict=True) if inside]
        if len({entity for row in groups for entity in row}) < FOLDS:
            return None
        right = []
        for train, validation in zip(*folds(groups, FOLDS, self.seed), strict=True):
            if validation.any() and len(set(labels[train].tolist())) == 2:
                probe = _linear().fit(rows[train], labels[train])
                right.append(probe.predict(rows[validation]) == labels[validation])
        return float(np.concatenate(right).mean()) if right else None


def _linear() -> Any:
    """Return scikit-learn's logistic regression on standardised rows.

    It starts at 0, the optimum for equal means.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(C=STRENGTH, max_iter=1000))
