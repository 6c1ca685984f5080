"""Leave one topic, template or set out: does the probe know anything beyond those it was trained on?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch

from interp.errors import UsageError
from probes.activations import Activations
from probes.estimators.logistic import LogisticRegression
from probes.protocol.choosing import candidates
from probes.protocol.intervals import measured
from probes.protocol.results import LeftOut
from probes.protocol.splits import Split, split
from probes.protocol.sweeping import check, rows_of
from probes.protocol.transferring import comparable, fit_chosen, layer_curve
from probes.statements import Statements, join

By = Literal["topic", "template", "set"]


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

    What is tested is new in two ways: its topic and its entities. The layer is the one whose cross-validated accuracy on
    the train side of the others is best on average. Accuracy is given raw and after centring each topic on its own train side, which uses unlabelled rows
    of the one left out (transductive); the AUC is of the centred scores.

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
    probe = LogisticRegression() if probe is None else probe
    whole, kinds = _together(acts, probe, by)
    names = tuple(dict.fromkeys(kinds))
    if len(names) < 2:
        raise UsageError(f"All statements have one {by} ({names[0]}): leaving it out leaves nothing to train on.")
    position = whole.positions[0] if position is None and len(whole.positions) == 1 else position
    side, kind = split(whole.data, seed), np.array(kinds)
    for name in names:
        _check_classes(whole.data, side, kind == name, name)
    curves = [layer_curve(whole, side.train & (kind == name), probe, position, seed) for name in names if layer is None]
    at = [_best_of_others(whole, curves, i) if layer is None else layer for i in range(len(names))]
    rows = [_one(whole, side, kind == name, kind, probe, at[i], position, seed) for i, name in enumerate(names)]
    counts = [np.array([side.train[kind != name].sum() for name in names]), np.array([m for *_, m, _ in rows])]
    return LeftOut(
        by=by,
        names=names,
        probe=type(probe).__name__,
        layers=np.array([row[0] for row in rows]),
        position=str(position),
        accuracy=np.stack([row[1] for row in rows]),
        accuracy_centred=np.stack([row[2] for row in rows]),
        auc=np.stack([row[3] for row in rows]),
        n_train=counts[0],
        n_test=counts[1],
        groups_test=np.array([row[-1] for row in rows]),
        seed=seed,
    )


def _one(  # noqa: PLR0913
    acts: Activations,
    side: Split,
    out: np.ndarray,
    kind: np.ndarray,
    probe: Any,
    layer: int,
    position: str | None,
    seed: int,
) -> tuple[int, np.ndarray, np.ndarray, np.ndarray, int, int]:
    """(layer, accuracy, centred accuracy, AUC, test rows, test groups) with the rows of `out` left out."""
    known, new = side.train & ~out, side.test & out
    tried = candidates(probe, None)
    train, test = acts.data.take(known), acts.data.take(new)
    X = acts.at(layer, position)
    apart = X.clone()
    for name in dict.fromkeys(kind):
        apart[rows_of(kind == name)] -= X[rows_of((kind == name) & side.train)].double().mean(0).to(X.dtype)
    raw, centred = (
        measured(
            fit_chosen(probe, rows[rows_of(known)], train, tried, seed).decision_function(rows[rows_of(new)]),
            test.labels,
            test.groups,
            seed=seed,
        )
        for rows in (X, apart)
    )
    groups = len({entity for row in test.groups for entity in row})
    return layer, raw.accuracy, centred.accuracy, centred.auc, len(test), groups


def _together(acts: Activations | Sequence[Activations], probe: Any, by: By) -> tuple[Activations, tuple[str, ...]]:
    """All rows as one set of activations, and what each row is: its topic, template or set."""
    if by not in ("topic", "template", "set"):
        raise UsageError(f'by="{by}" is not "topic", "template" or "set".')
    several = (acts,) if isinstance(acts, Activations) else tuple(acts)
    if len(several) > 1 or by == "set":
        several = comparable(several, probe)
    check(several[0], probe)
    first = several[0]
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
