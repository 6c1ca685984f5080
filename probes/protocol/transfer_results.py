"""Results of transfer between sets.

No torch: saved results are loaded and drawn without it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from interp.report.shown import Shown
from interp.report.table import Table
from probes.layers import Layered
from probes.protocol import figures
from probes.protocol.resemblance import Resemblance
from probes.protocol.verdicts import Verdict, of_transfer

if TYPE_CHECKING:
    from interp.report.blocks import Figure


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
