"""Controls at the layer that was chosen: does the probe remember entities, does it find truth in shuffled labels?"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float

from interp.statistics import auc
from probes.estimators.capabilities import closed_form
from probes.estimators.pairs import PairProbe
from probes.protocol.labelings import per_group, rows_by_group, scores_by_labels, shuffled
from probes.protocol.metrics import accuracy
from probes.protocol.results import Null, Selectivity
from probes.protocol.splits import FEW_GROUPS, Split
from probes.statements import Statements

TASKS = 5
DRAWS = 200


def selectivity(probe: Any, X: Float[np.ndarray, "n d"], data: Statements, *, seed: int) -> Selectivity:
    """Truth minus control accuracy: fit on one row of each entity, read on its other rows.

    A control task gives every entity a random label. Only entities of two rows or more can take part; with fewer than
    30 of them there is nothing to say and no number is given; nor is there for a probe that learns from pairs, whose
    two rows say the opposite and cannot share a label.
    """
    if isinstance(probe, PairProbe):
        note = f"{type(probe).__name__} learns from pairs, and labels at random have none"
        return Selectivity(float("nan"), np.zeros(0), 0, note)
    several = [rows for rows in rows_by_group(data.groups).values() if len(rows) > 1]
    if len(several) < FEW_GROUPS:
        note = f"only {len(several)} groups have two statements or more; a control task needs {FEW_GROUPS}"
        return Selectivity(float("nan"), np.zeros(0), len(several), note)
    rng = np.random.default_rng(seed)
    found = []
    for task in per_group(data.groups, n=TASKS, seed=seed):
        mixed = [rng.permutation(rows) for rows in several]
        learnt, read = np.array([rows[0] for rows in mixed]), np.concatenate([rows[1:] for rows in mixed])
        both = np.stack([data.labels, task])
        if any(len(set(labels.tolist())) < 2 for labels in both[:, learnt]):
            return Selectivity(float("nan"), np.zeros(0), len(several), "one row a group leaves one class only")
        scores = scores_by_labels(probe, X[learnt], both[:, learnt], X[read], data.take(learnt))
        found.append([float(accuracy(s, labels[read])[0]) for s, labels in zip(scores, both, strict=True)])
    truth, control = np.array(found).T
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
    """The AUC on the test side of probes fitted on shuffled train labels; for slow probes, of shuffled test labels."""
    train, test = data.take(split.train), data.take(split.test)
    refitted = closed_form(probe)
    if refitted:
        labels = shuffled(train.labels, train.groups, n=DRAWS, seed=seed)
        drawn = scores_by_labels(probe, X[split.train], labels, X[split.test], train)
        found = np.array([float(auc(row, test.labels)[0]) for row in drawn])
    else:
        labels = shuffled(test.labels, test.groups, n=DRAWS, seed=seed)
        found = np.array([float(auc(scores, row)[0]) for row in labels])
    own = float(auc(scores, test.labels)[0])
    return Null(found, float((1 + (found >= own).sum()) / (1 + DRAWS)), refitted)
