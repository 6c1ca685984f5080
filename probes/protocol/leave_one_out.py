"""Leave one topic, template or set out: does the probe know anything beyond those it was trained on?"""

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
from probes.protocol.results import LeftOut
from probes.protocol.splits import Split, indexed, split
from probes.protocol.transfer import comparable, fit_chosen, layer_curve
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
    """Train on the train sides of all topics (templates, sets) but one, test on the test side of that one.

    What is tested is new in two ways: its topic and its entities. The layer is the one whose cross-validated accuracy
    on the train side of the others is best on average. Accuracy is given raw and after centring each topic on its own
    train side, which uses unlabelled rows of the one left out (transductive); the AUC is of the centred scores.

    Args:
        acts: of one set, or several.
        probe: an unfitted probe; logistic regression by default.
        by: "topic" and "template" as the statements name them, "set" for each of several sets.
        layer: where; by default chosen anew for each left out.
        position: which token, if several were collected.
        seed: of the split, folds and resamples.

    Raises:
        UsageError: statements without topics or templates, fewer than two of them, or a side that lacks a class.
    """
    check_whole(seed, "seed")
    probe = LogisticRegression() if probe is None else probe
    whole, kinds = _together(acts, probe, by)
    names = tuple(dict.fromkeys(kinds))
    if len(names) < 2:
        raise UsageError(f"All statements have one {by} ({kinds[0]}): leaving it out leaves nothing to train on.")
    position = whole.positions[0] if position is None and len(whole.positions) == 1 else position
    side, kind = split(whole.data, seed), np.array(kinds)
    for name in names:
        _check_classes(whole.data, side, kind == name, name)
    curves = [layer_curve(whole, side.train & (kind == name), probe, position, seed) for name in names if layer is None]
    layers = [_best_of_others(whole, curves, i) if layer is None else layer for i in range(len(names))]
    found = [
        _one(whole.data, whole.at(at, position), side, kind, name, probe, seed)
        for at, name in zip(layers, names, strict=True)
    ]
    tested = [whole.data.take(side.test & (kind == name)).groups for name in names]
    return LeftOut(
        by=by,
        names=names,
        probe=type(probe).__name__,
        layers=np.array(layers),
        position=str(position),
        accuracy=np.stack([raw.accuracy for raw, _ in found]),
        accuracy_centred=np.stack([centred.accuracy for _, centred in found]),
        auc=np.stack([centred.auc for _, centred in found]),
        n_train=np.array([int(side.train[kind != name].sum()) for name in names]),
        n_test=np.array([len(rows) for rows in tested]),
        groups_test=np.array([len(indexed(rows)[0]) for rows in tested]),
        seed=seed,
    )


def _one(
    data: Statements,
    X: Float[Tensor, "n d"],
    side: Split,
    kind: np.ndarray,
    name: str,
    probe: Any,
    seed: int,
) -> tuple[Measured, Measured]:
    """What is measured on `name` after training on the others: raw, and after centring each on its own train side."""
    known, new = side.train & (kind != name), side.test & (kind == name)
    train, test = data.take(known), data.take(new)
    apart = X.clone()
    for one in dict.fromkeys(kind):
        apart[as_torch(kind == one)] -= X[as_torch((kind == one) & side.train)].double().mean(0).to(X.dtype)
    raw, centred = (
        scores_of(fit_chosen(probe, rows[as_torch(known)], train, candidates(probe, None), seed), rows[as_torch(new)])
        for rows in (X, apart)
    )
    judge = partial(measured, labels=test.labels, groups=test.groups, seed=seed)
    return judge(raw), judge(centred)


def _together(acts: Activations | Sequence[Activations], probe: Any, by: By) -> tuple[Activations, tuple[str, ...]]:
    """All rows as one set of activations, and what each row is: its topic, template or set."""
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
        raise UsageError(f'{missing[0]} names no {by} of its statements: give a column "{by}", or leave out by="set".')
    return whole, tuple(value for one in several for value in getattr(one.data, by))


def _best_of_others(acts: Activations, curves: list[np.ndarray], out: int) -> int:
    return acts.layers[int(np.mean([curve for i, curve in enumerate(curves) if i != out], axis=0).argmax())]


def _check_classes(data: Statements, side: Split, kind: np.ndarray, name: str) -> None:
    for words, mask in (("train", side.train & kind), ("test", side.test & kind)):
        if len(set(data.labels[mask].tolist())) < 2:
            raise UsageError(
                f'{data.name}: "{name}" has {int(mask.sum())} rows on the {words} side, not both true and false ones; '
                "give more statements of it."
            )
