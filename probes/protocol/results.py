"""What the protocol found. No torch here: saved results are read and drawn without it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from interp.report.shown import Shown
from interp.report.table import Table
from interp.results import Result
from probes.layers import Layered
from probes.protocol import figures
from probes.protocol.resemblance import Resemblance
from probes.protocol.verdicts import Verdict, of_sweep, of_transfer

if TYPE_CHECKING:
    from interp.report.blocks import Figure
    from probes.activations import Activations
    from probes.protocol.splits import Split

Interval = tuple[float, float, float]
"""Estimate, lower and upper bound of the 95 % interval over entities."""


def shown(values: Interval | np.ndarray) -> str:
    """An interval in a line of text."""
    estimate, low, high = values
    return f"{estimate:.3f} [{low:.3f}, {high:.3f}]"


@dataclass(frozen=True, eq=False)
class Baseline(Result):
    """What can be had without the probe's layer. `accuracy` and `auc` are NaN where `note` says why there is none."""

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
    """Truth against a random label for each entity, learnt from one row of each entity and read on its other rows.

    Attributes:
        truth: accuracy on the true labels in this setting, mean over the same draws of rows.
        control: (task,) accuracies on the control labels, each with its own draw of rows.
        groups: entities of two rows or more that took part.
        note: why there are no numbers, or why they mean little; "" when all is well.
    """

    truth: float
    control: np.ndarray
    groups: int
    note: str = ""

    @property
    def value(self) -> float:
        """Truth - mean(control): near 0 or below, the probe remembers entities as well as it reads truth."""
        return self.truth - float(self.control.mean()) if len(self.control) else float("nan")

    def __repr__(self) -> str:
        if not len(self.control):
            return f"Selectivity(none: {self.note})"
        parts = f"truth {self.truth:.3f}, control labels {self.control.mean():.3f}"
        return f"Selectivity({self.value:+.3f}: {parts}; {self.groups} groups)"


@dataclass(frozen=True, eq=False)
class Null(Result):
    """What the same procedure finds in labels shuffled between and within groups.

    Attributes:
        auc: (draw,) AUC on the test side.
        p: (1 + draws with an AUC at least the probe's) / (1 + draws).
        refitted: whether the probe was fitted again on shuffled train labels (else only the test labels were shuffled).
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
    """What the probe's number is held against.

    `embedding_accuracy` and `embedding_auc` are of the same probe on layer -1, None if that was not collected.
    """

    selectivity: Selectivity
    null: Null
    embedding_accuracy: Interval | None
    embedding_auc: Interval | None
    baselines: tuple[Baseline, ...]

    def table(self) -> Table:
        """One control a row."""
        return figures.controls_table(self)

    def __repr__(self) -> str:
        return f"Controls({self.selectivity!r}, {self.null!r}, and more in .table())"

    def __str__(self) -> str:
        return str(self.table())


@dataclass(frozen=True, eq=False)
class Score(Layered):
    """One layer and position on the test side.

    Attributes:
        layer: l is the output of block l, -1 the embedding.
        position: which token.
        strength: chosen for this layer on the train side; NaN for probes without one.
        cv_accuracy: balanced accuracy of the cross-validation on the train side that chose it.
        accuracy: with its interval.
        auc: with its interval.
        balanced_accuracy: mean of the two classes' accuracies.
        ece: expected calibration error of the probe's own probabilities; NaN if it gives none.
        ece_rescaled: the same after Platt scaling on scores of the train side's cross-validation.
        recall: fraction of true statements found at 1 % false positives.
    """

    layer: int
    position: str
    strength: float
    cv_accuracy: float
    accuracy: Interval
    auc: Interval
    balanced_accuracy: float
    ece: float
    ece_rescaled: float
    recall: float

    def __repr__(self) -> str:
        numbers = f"accuracy {shown(self.accuracy)}, AUC {shown(self.auc)}"
        return f"Score(layer {self.layer}, position {self.position}: {numbers})"


@dataclass(frozen=True, eq=False)
class Predictions(Result):
    """The chosen probe's answers on the test side.

    `rows` number the statements in their set; `scores` are signed, above 0 for "true"; `probabilities` the probe's own
    (empty if it gives none) and `rescaled` those after Platt scaling.
    """

    rows: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    probabilities: np.ndarray
    rescaled: np.ndarray
    statements: tuple[str, ...]

    def __repr__(self) -> str:
        right = int(((self.scores > 0) == (self.labels == 1)).sum())
        return f"Predictions({right} of {len(self.rows)} test statements right)"


@dataclass(frozen=True, eq=False)
class Sweep(Layered, Shown):
    """One probe on every layer and position of one set. Made by `sweep`.

    Attributes:
        name: of the set.
        probe: the name of the estimator's class.
        module: where that class is defined.
        settings: its parameters as given; {"repr": text} for one that is not a plain value.
        layers: l is the output of block l, -1 the embedding.
        positions: which tokens.
        strengths: (position, layer) chosen on the train side.
        cv_accuracy: (position, layer) what chose them.
        accuracy: (position, layer, 3) on the test side: estimate, lower, upper.
        auc: (position, layer, 3) likewise.
        best: the layer and position that the train side chose.
        oracle: the layer and position with the best test accuracy: shown beside it, never reported as the result.
        predictions: of the best.
        direction: (d,) of the best, in raw activation space; empty for a probe that is no direction.
        controls: None if turned off.
        n_train: rows.
        n_test: rows.
        dropped: rows whose entities fall on both sides.
        groups_train: entities.
        groups_test: entities.
        grouped_by: how entities were found.
        polarity: +1 if all statements are affirmative, -1 if all are negated, 0 if mixed or unknown.
        seed: of split, folds, resamples and controls.
        resemblance: test statements like a train statement of another group; None where groups hold all entities.
    """

    name: str
    probe: str
    module: str
    settings: dict[str, Any]
    layers: tuple[int, ...]
    positions: tuple[str, ...]
    strengths: np.ndarray
    cv_accuracy: np.ndarray
    accuracy: np.ndarray
    auc: np.ndarray
    best: Score
    oracle: Score
    predictions: Predictions
    direction: np.ndarray
    controls: Controls | None
    n_train: int
    n_test: int
    dropped: int
    groups_train: int
    groups_test: int
    grouped_by: str
    polarity: int
    seed: int
    resemblance: Resemblance | None = None

    @classmethod
    def upgrade(cls, values: dict[str, Any], layout: int) -> dict[str, Any]:
        """Return the fields of an older file, which names one of the estimators of `probes`."""
        return {"module": "probes", **super().upgrade(values, layout)}

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """Return what the numbers show and do not show, in sentences."""
        return of_sweep(self)

    def table(self) -> Table:
        """One layer and position a row; the chosen one is marked."""
        return figures.sweep_table(self)

    def figure(self) -> Figure:
        """Accuracy over layers with intervals, and what it is held against."""
        return figures.layer_curve(self)

    def refit(self, acts: Activations, sides: Split | None = None, *, probe: Any = None) -> Any:
        """Return the chosen probe, fitted again on the train side of `acts`, to be saved; `sides` as given to `sweep`.

        `probe`: an unfitted one of the class that was swept, where that is not one of `probes`.
        """
        from probes.protocol.refit import refit

        return refit(self, acts, sides, probe)

    def __repr__(self) -> str:
        sides = f"{self.n_train} train and {self.n_test} test rows"
        return f"Sweep({self.probe} on {self.name}, {len(self.layers)} layers, {sides}, best {self.best!r})"


@dataclass(frozen=True, eq=False)
class Transfer(Layered, Shown):
    """Trained on each set, tested on every set. Made by `transfer`.

    Attributes:
        names: of the sets, in the order of rows and columns.
        probe: the estimator's name.
        settings: its parameters as given.
        layer: where, by the mean over sets of the cross-validated accuracy on their train sides.
        position: which token.
        accuracy: (train set, test set) on raw activations, with the threshold of the train set.
        accuracy_centred: (train set, test set) each set less the mean of its own train side: uses unlabelled rows of
            the target set (transductive).
        auc: (train set, test set); needs no threshold. The centring does not change it.
        auc_interval: (train set, test set, 2) 95 % bounds over the target's test entities.
        accuracy_interval: (train set, test set, 2) bounds of the raw accuracy.
        joint_accuracy: (test set, 3) trained on the train sides of all sets together, raw.
        joint_auc: (test set, 3) likewise.
        polarities: (set,) +1 affirmative, -1 negated, 0 mixed or unknown.
        n_test: (set,) rows.
        groups_test: (set,) entities.
        seed: of split, folds and resamples.
        resemblances: test statements of a set like a train statement of another group, for pairs of sets whose groups
            do not hold all entities.
    """

    names: tuple[str, ...]
    probe: str
    settings: dict[str, Any]
    layer: int
    position: str
    accuracy: np.ndarray
    accuracy_centred: np.ndarray
    auc: np.ndarray
    auc_interval: np.ndarray
    accuracy_interval: np.ndarray
    joint_accuracy: np.ndarray
    joint_auc: np.ndarray
    polarities: np.ndarray
    n_test: np.ndarray
    groups_test: np.ndarray
    seed: int
    resemblances: tuple[Resemblance, ...] = ()

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """What the numbers show and do not show, in sentences: above all where a probe inverts."""
        return of_transfer(self)

    def table(self) -> Table:
        """One pair of sets a row."""
        return figures.transfer_table(self)

    def figure(self) -> Figure:
        """The matrix of AUCs."""
        return figures.transfer_matrix(self, "auc")

    def __repr__(self) -> str:
        return f"Transfer({self.probe} at layer {self.layer} between {', '.join(self.names)})"

    def __str__(self) -> str:
        return str(self.table())


@dataclass(frozen=True, eq=False)
class LeftOut(Layered, Shown):
    """Trained on all but one topic, template or set, tested on that one. Made by `leave_one_out`.

    Attributes:
        by: "topic", "template" or "set".
        names: what was left out in turn.
        probe: the estimator's name.
        layers: (name,) where, chosen without the one left out.
        position: which token.
        accuracy: (name, 3) raw: estimate, lower, upper.
        accuracy_centred: (name, 3) each topic, template or set less the mean of its own train side (transductive).
        auc: (name, 3) of the centred scores.
        n_train: (name,) rows.
        n_test: (name,) rows; their entities were not trained on either.
        groups_test: (name,) entities.
        seed: of split, folds and resamples.
    """

    by: str
    names: tuple[str, ...]
    probe: str
    layers: np.ndarray
    position: str
    accuracy: np.ndarray
    accuracy_centred: np.ndarray
    auc: np.ndarray
    n_train: np.ndarray
    n_test: np.ndarray
    groups_test: np.ndarray
    seed: int

    def table(self) -> Table:
        """One left out a row."""
        return figures.left_out_table(self)

    def __repr__(self) -> str:
        return f"LeftOut({self.probe}, one {self.by} of {', '.join(self.names)} at a time)"

    def __str__(self) -> str:
        return str(self.table())
