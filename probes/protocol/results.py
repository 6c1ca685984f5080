"""Result of a sweep over layers and positions.

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
from probes.protocol.control_results import Controls, Interval, shown
from probes.protocol.resemblance import Resemblance
from probes.protocol.verdicts import Verdict, of_sweep

if TYPE_CHECKING:
    from interp.report.blocks import Figure
    from probes.activations import Activations
    from probes.protocol.splits import Split


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

    Example:
        >>> probes.sweep(acts, probe=probes.MassMean(), controls=False).best  # acts = probes.collect(model, data)
        Score(layer 1, position last: accuracy 0.786 [0.643, 0.929], AUC 0.903 [0.821, 0.985])
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

    Example:
        >>> probes.sweep(acts, probe=probes.MassMean(), controls=False).predictions  # acts = probes.collect(...)
        Predictions(22 of 28 test statements right)
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
