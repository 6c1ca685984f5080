"""Controls at the chosen layer.

They are selectivity (does the probe memorise entities?) and a null of shuffled labels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float

from interp.statistics import auc
from probes.estimators.capabilities import closed_form
from probes.estimators.pairs import PairProbe
from probes.protocol.control_results import Null, Selectivity
from probes.protocol.labelings import per_group, rows_by_group, scores_by_labels, shuffled
from probes.protocol.metrics import accuracy
from probes.protocol.splits import FEW_GROUPS, Split
from probes.statements import Statements

TASKS = 5
DRAWS = 200


def selectivity(probe: Any, X: Float[np.ndarray, "n d"], data: Statements, *, seed: int) -> Selectivity:
    """Compute selectivity: accuracy on true labels minus accuracy on control labels.

    A control task gives every entity a random label (Hewitt and Liang, arXiv 1909.03368). The probe is fitted on one
    row of each entity and tested on its other rows, so that only entities with at least two rows take part. With fewer
    than 30 such entities no number is given. Nor is one given for a probe that learns from pairs, whose two rows are
    opposite and cannot share a label.

    Args:
        probe: an unfitted probe.
        X: (n, d) activations.
        data: the statements.
        seed: seed of the labels and draws of rows.

    Returns:
        `Selectivity`; its `note` says why there is no number.

    Example:
        >>> selectivity(probes.MassMean(), acts.at(1).numpy(), acts.data, seed=0).groups  # acts = probes.collect(...)
        40
    """
    if isinstance(probe, PairProbe):
        note = f"{type(probe).__name__} learns from pairs, and random labels have none"
        return Selectivity(float("nan"), np.zeros(0), 0, note)
    several = [rows for rows in rows_by_group(data.groups).values() if len(rows) > 1]
    if len(several) < FEW_GROUPS:
        note = f"only {len(several)} groups have at least two statements, but a control task needs {FEW_GROUPS}"
        return Selectivity(float("nan"), np.zeros(0), len(several), note)
    rng = np.random.default_rng(seed)
    accuracies = []
    for task in per_group(data.groups, n=TASKS, seed=seed):
        mixed = [rng.permutation(rows) for rows in several]
        train, test = np.array([rows[0] for rows in mixed]), np.concatenate([rows[1:] for rows in mixed])
        both = np.stack([data.labels, task])
        if any(len(set(labels.tolist())) < 2 for labels in both[:, train]):
            return Selectivity(float("nan"), np.zeros(0), len(several), "one row per group leaves one class only")
        scores = scores_by_labels(probe, X[train], both[:, train], X[test], data.take(train))
        accuracies.append([float(accuracy(s, labels[test])[0]) for s, labels in zip(scores, both, strict=True)])
    truth, control = np.array(accuracies).T
    return Selectivity(float(truth.mean()), control, len(several))


def null(
    probe: Any,
    X: Float[np.ndarray, "n d"],
    data: Statements,
    split: Split,
    scores: Float[np.ndarray, " m"],
    *,
    seed: int,
) -> Null:
    """Compute the test AUC under shuffled labels.

    Probes that are cheap to fit are fitted on shuffled train labels. For the others the test labels are shuffled.

    Args:
        probe: an unfitted probe.
        X: (n, d) activations.
        data: the statements.
        split: train and test side.
        scores: (m,) scores of the probe on the test side.
        seed: seed of the shuffles.

    Returns:
        `Null` with one AUC per draw and a p-value.
    """
    train, test = data.take(split.train), data.take(split.test)
    refitted = closed_form(probe)
    if refitted:
        labels = shuffled(train.labels, train.groups, n=DRAWS, seed=seed)
        drawn = scores_by_labels(probe, X[split.train], labels, X[split.test], train)
        aucs = np.array([float(auc(row, test.labels)[0]) for row in drawn])
    else:
        labels = shuffled(test.labels, test.groups, n=DRAWS, seed=seed)
        aucs = np.array([float(auc(scores, row)[0]) for row in labels])
    own = float(auc(scores, test.labels)[0])
    return Null(aucs, float((1 + (aucs >= own).sum()) / (1 + DRAWS)), refitted)
