"""Results of the protocol.

No torch: saved results are loaded and drawn without it.
"""

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


@dataclass(frozen=True, eq=False)
class Score(Layered):
    """Metrics of one layer and position on the test side.

    Attributes:
        layer: layer l is the output of block l, -1 the embedding.
        position: position rule.
        strength: strength chosen for this layer on the train side; NaN for probes without one.
        cv_accuracy: balanced accuracy of the cross-validation on the train side that chose it.
        accuracy: accuracy with its interval.
        auc: AUC with its interval.
        balanced_accuracy: mean of the two classes' accuracies.
        ece: expected calibration error of the probe's own probabilities; NaN if it gives none.
        ece_rescaled: the same after Platt scaling, fitted on cross-validation scores of the train side.
        recall: fraction of true statements recovered at 1 % false positives.
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
    """Predictions of the chosen probe on the test side.

    Attributes:
        rows: indices of the statements in their set.
        labels: true labels.
        scores: signed scores, above 0 for "true".
        probabilities: the probe's own probabilities; empty if it gives none.
        rescaled: probabilities after Platt scaling.
        statements: the texts.
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
    """Results of one probe on every layer and position of a set.

    `probes.sweep` returns it.

    Attributes:
        name: name of the set.
        probe: class name of the estimator.
        module: module of that class.
        settings: parameters of the estimator; {"repr": text} for a value that is not plain.
        layers: layer l is the output of block l, -1 the embedding.
        positions: the position rules.
        strengths: (position, layer) strengths chosen on the train side.
        cv_accuracy: (position, layer) cross-validated balanced accuracy of the chosen strengths.
        accuracy: (position, layer, 3) test accuracy: estimate, lower, upper.
        auc: (position, layer, 3) test AUC: estimate, lower, upper.
        best: metrics at the layer and position chosen on the train side.
        oracle: metrics at the layer and position with the best test accuracy, for comparison only.
        predictions: predictions at the chosen layer and position.
        direction: (d,) direction of the chosen probe in raw activation space; empty if it has none.
        controls: the controls; None if turned off.
        n_train: number of train rows.
        n_test: number of test rows.
        dropped: number of rows whose entities are on both sides.
        groups_train: number of train entities.
        groups_test: number of test entities.
        grouped_by: rule that determined the entities.
        polarity: +1 if all statements are affirmative, -1 if all are negated, 0 if mixed or unknown.
        seed: seed of split, folds, resamples and controls.
        resemblance: test statements similar to a train statement of another group; None if groups are the entities.

    Example:
        >>> probes.sweep(acts, probe=probes.MassMean(), controls=False).best.layer  # acts = probes.collect(...)
        1
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
        """Convert the fields of an earlier file.

        The estimator of such a file is one of `probes`.

        >>> probes.Sweep.upgrade({"layers": (0, 1, 2)}, layout=1)
        {'module': 'probes', 'layers': (-1, 0, 1)}
        """
        return {"module": "probes", **super().upgrade(values, layout)}

    @property
    def verdicts(self) -> tuple[Verdict, ...]:
        """Sentences about what the numbers show and do not show."""
        return of_sweep(self)

    def table(self) -> Table:
        """Return a table with one row per layer and position.

        The chosen row is marked.

        >>> probes.sweep(acts, probe=probes.MassMean(), controls=False).table().columns  # acts = probes.collect(...)
        ('layer', 'position', 'strength', 'CV accuracy (train)', 'accuracy', 'low', 'high', 'AUC', 'AUC low', ...
        """
        return figures.sweep_table(self)

    def figure(self) -> Figure:
        """Plot accuracy over layers with intervals and baselines.

        >>> probes.sweep(acts, probe=probes.MassMean(), controls=False).figure().alt  # acts = probes.collect(...)
        'Accuracy of MassMean over the layers, 0.39 to 0.79.'
        """
        return figures.layer_curve(self)

    def refit(self, acts: Activations, sides: Split | None = None, *, probe: Any = None) -> Any:
        """Fit the chosen probe again on the train side.

        The result can be saved.

        Args:
            acts: the activations of the sweep.
            sides: the split, as given to `sweep`.
            probe: an unfitted probe of the swept class, needed only for classes outside `probes`.

        Returns:
            The fitted probe.

        Raises:
            UsageError: other statements or another test side, or a class that cannot be looked up.

        Example:
            >>> probe = probes.sweep(acts, probe=probes.MassMean(), controls=False).refit(acts)
            >>> probe.predict(acts.at(1)[:4]).tolist()  # acts = probes.collect(model, data)
            [1, 1, 0, 1]
        """
        from probes.protocol.refit import refit

        return refit(self, acts, sides, probe)

    def __repr__(self) -> str:
        sides = f"{self.n_train} train and {self.n_test} test rows"
        return f"Sweep({self.probe} on {self.name}, {len(self.layers)} layers, {sides}, best {self.best!r})"


@dataclass(frozen=True, eq=False)
class Transfer(Layered, Shown):
    """Results of a probe trained and tested across several sets.

    It is trained on each set and tested on every set; `probes.transfer` returns the results.

    Attributes:
        names: names of the sets, in the order of rows and columns.
        probe: class name of the estimator.
        settings: parameters of the estimator.
        layer: the layer, chosen by the mean cross-validated accuracy on the train sides unless it was given.
        position: position rule.
        accuracy: (train set, test set) on raw activations, with the threshold of the train set.
        accuracy_centred: (train set, test set) each set minus the mean of its own train side, which uses unlabelled
            rows of the target set (transductive).
        auc: (train set, test set); needs no threshold, and centring does not change it.
        auc_interval: (train set, test set, 2) 95 % bounds over the target's test entities.
        accuracy_interval: (train set, test set, 2) bounds of the raw accuracy.
        joint_accuracy: (test set, 3) accuracy of a probe trained on the train sides of all sets jointly, raw.
        joint_auc: (test set, 3) AUC of that probe.
        polarities: (set,) +1 affirmative, -1 negated, 0 mixed or unknown.
        n_test: (set,) number of test rows.
        groups_test: (set,) number of test entities.
        seed: seed of split, folds and resamples.
        resemblances: test statements similar to a train statement of another group, for each pair of sets whose groups
            are not their entities.

    Example:
        >>> sets = [acts, other]  # acts = probes.collect(model, data), and so for another set
        >>> probes.transfer(sets, probe=probes.MassMean(), layer=1)
        Transfer(MassMean at layer 1 between planted, negated)
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
        """Sentences about what the numbers show and do not show.

        Above all they say where a probe inverts.
        """
        return of_transfer(self)

    def table(self) -> Table:
        """Return a table with one row per pair of sets.

        >>> sets = [acts, other]  # acts = probes.collect(model, data), and so for another set
        >>> probes.transfer(sets, probe=probes.MassMean(), layer=1).table().columns[:4]
        ('trained on', 'tested on', 'AUC', 'AUC low')
        """
        return figures.transfer_table(self)

    def figure(self) -> Figure:
        """Plot the matrix of AUCs.

        >>> sets = [acts, other]  # acts = probes.collect(model, data), and so for another set
        >>> probes.transfer(sets, probe=probes.MassMean(), layer=1).figure().alt
        'From 0.90 to 0.98.'
        """
        return figures.transfer_matrix(self, "auc")

    def __repr__(self) -> str:
        return f"Transfer({self.probe} at layer {self.layer} between {', '.join(self.names)})"

    def __str__(self) -> str:
        return str(self.table())


@dataclass(frozen=True, eq=False)
class LeftOut(Layered, Shown):
    """Results of a probe tested on what its training left out.

    A topic, template or set is left out in turn.

    Attributes:
        by: "topic", "template" or "set".
        names: the topics, templates or sets left out in turn.
        probe: class name of the estimator.
        layers: (name,) layer, chosen without the one left out.
        position: position rule.
        accuracy: (name, 3) raw accuracy: estimate, lower, upper.
        accuracy_centred: (name, 3) each topic, template or set minus the mean of its train side (transductive).
        auc: (name, 3) AUC of the centred scores.
        n_train: (name,) number of train rows.
        n_test: (name,) number of test rows; none of their entities was trained on.
        groups_test: (name,) number of test entities.
        seed: seed of split, folds and resamples.

    Example:
        >>> sets = [acts, other]  # acts = probes.collect(model, data), and so for another set
        >>> probes.leave_one_out(sets, probe=probes.MassMean(), layer=1)
        LeftOut(MassMean, one set of planted, negated at a time)
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
        """Return a table with one row per left-out topic, template or set.

        >>> sets = [acts, other]  # acts = probes.collect(model, data), and so for another set
        >>> probes.leave_one_out(sets, probe=probes.MassMean(), layer=1).table().columns[:4]
        ('left out', 'layer', 'accuracy', 'low')
        """
        return figures.left_out_table(self)

    def __repr__(self) -> str:
        return f"LeftOut({self.probe}, one {self.by} of {', '.join(self.names)} at a time)"

    def __str__(self) -> str:
        return str(self.table())
