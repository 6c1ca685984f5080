"""Leave one topic, template or set out for testing.

The probe is trained on the others and tested on the one left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interp.arguments import checked
from interp.errors import UsageError
from probes.activations import Activations
from probes.batched import scores_of
from probes.estimators.logistic import LogisticRegression
from probes.inputs import check_kinds, check_whole
from probes.protocol.checks import as_torch, check
from probes.protocol.intervals import Measured, measured
from probes.protocol.model_selection import candidates
from probes.protocol.splits import Split, indexed, split
from probes.protocol.transfer import comparable, fit_chosen, layer_curve
from probes.protocol.transfer_results import LeftOut
from probes.statements import Statements, join

By = Literal["topic", "template", "set"]


@checked
def leave_one_out(
    acts: Activations | Sequence[Activations],
    *,
    probe: Any = None,
    by: By = "set",
    layer: int | None = None,
    position: str | None = None,
    seed: int = 0,
) -> LeftOut:
    """Train on all topics except one, and test on that one.

    Templates or sets can be left out instead of topics.

    The train sides of the others are used for training and the test side of the one left out for testing, so that both
    its topic and its entities are new. The layer is the one with the best mean cross-validated accuracy on the train
    sides of the others. Accuracy is given raw and after centring each topic on its own train side, which uses
    unlabelled rows of the one left out (transductive). The AUC is that of the centred scores.

    Args:
        acts: activations of one set or several.
        probe: an unfitted probe; logistic regression by default.
        by: "topic" or "template" as named by the statements, or "set".
        layer: the layer; by default chosen separately for each one left out.
        position: the position, if several were collected.
        seed: seed of the split, folds and resamples.

    Returns:
        `LeftOut` with accuracy and AUC for each one left out.

    Raises:
        UsageError: statements without topics or templates, fewer than two of them, or a side without one class.

    Example:
        >>> sets = [acts, other]  # acts = probes.collect(model, data), and so for another set
        >>> probes.leave_one_out(sets, probe=probes.MassMean(), layer=1).accuracy[:, 0].round(2).tolist()
        [0.86, 0.86]
    """
    check_whole(seed, "seed")
    probe = LogisticRegression() if probe is None else probe
    whole, kinds = _joined(acts, probe, by)
    names = tuple(dict.fromkeys(kinds))
    if len(names) < 2:
        raise UsageError(f"All statements have one {by} ({kinds[0]}): without it no statements are left to train on.")
    position = whole.positions[0] if position is None and len(whole.positions) == 1 else position
    side, kind = split(whole.data, seed), np.array(kinds)
    for name in names:
        _check_classes(whole.data, side, kind == name, name)
    curves = [layer_curve(whole, side.train & (kind == name), probe, position, seed) for name in names if layer is None]
    layers = [_best_of_others(whole, curves, i) if layer is None else layer for i in range(len(names))]
    metrics = [
        _evaluate_one(whole.data, whole.at(at, position), side, kind, name, probe, seed)
        for at, name in zip(layers, names, strict=True)
    ]
    tested = [whole.data.take(side.test & (kind == name)).groups for name in names]
    return LeftOut(
        by=by,
        names=names,
        probe=type(probe).__name__,
        layers=np.array(layers),
        position=str(position),
        accuracy=np.stack([raw.accuracy for raw, _ in metrics]),
        accuracy_centred=np.stack([centred.accuracy for _, centred in metrics]),
        auc=np.stack([centred.auc for _, centred in metrics]),
        n_train=np.array([int(side.train[kind != name].sum()) for name in names]),
        n_test=np.array([len(rows) for rows in tested]),
        groups_test=np.array([len(indexed(rows)[0]) for rows in tested]),
        seed=seed,
    )


def _evaluate_one(
    data: Statements,
    X: Float[Tensor, "n d"],
    side: Split,
    kind: np.ndarray,
    name: str,
    probe: Any,
    seed: int,
) -> tuple[Measured, Measured]:
    """Return the metrics on `name` after training on the others.

    They are raw, and after centring on the own train sides.
    """
    known, new = side.train & (kind != name), side.test & (kind == name)
    train, test = data.take(known), data.take(new)
    centred_X = X.clone()
    for one in dict.fromkeys(kind):
        centred_X[as_torch(kind == one)] -= X[as_torch((kind == one) & side.train)].double().mean(0).to(X.dtype)
    raw, centred = (
        scores_of(fit_chosen(probe, rows[as_torch(known)], train, candidates(probe, None), seed), rows[as_torch(new)])
        for rows in (X, centred_X)
    )
    evaluate = partial(measured, labels=test.labels, groups=test.groups, seed=seed)
    return evaluate(raw), evaluate(centred)


def _joined(acts: Activations | Sequence[Activations], probe: Any, by: By) -> tuple[Activations, tuple[str, ...]]:
    """Return all rows as one set of activations.

    Also returns the topic, template or set of each row.
    """
    several = (acts,) if isinstance(acts, Activations) else acts
    check_kinds(several, Activations, "acts", "probes.collect")
    several = list(several)
    if len(several) != 1 or by == "set":
        several = list(comparable(several, probe))
    first, *_ = several
    check(first, probe)
    whole = Activations(
        join([one.data for one in several]),
        first.layers,
        first.positions,
        torch.cat([one.values for one in several], dim=2),
        torch.cat([one.lengths for one in several]),
        first.identity,
    )
    if by == "set":
        return whole, tuple(one.data.name for one in several for _ in range(len(one)))
    missing = [one.data.name for one in several if getattr(one.data, by) is None]
    if missing:
        raise UsageError(f'{missing[0]} has no {by} for its statements: give a column "{by}", or use by="set".')
    return whole, tuple(value for one in several for value in getattr(one.data, by))


def _best_of_others(acts: Activations, curves: list[np.ndarray], out: int) -> int:
    return acts.layers[int(np.mean([curve for i, curve in enumerate(curves) if i != out], axis=0).argmax())]


def _check_classes(data: Statements, side: Split, kind: np.ndarray, name: str) -> None:
    for words, mask in (("train", side.train & kind), ("test", side.test & kind)):
        if len(set(data.labels[mask].tolist())) < 2:
            raise UsageError(
                f'{data.name}: "{name}" has {int(mask.sum())} rows on the {words} side, not of both classes. Give more '
                "statements of it."
            )
