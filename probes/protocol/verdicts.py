"""Sentences about what a result shows and does not show, each computed from its numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from probes.protocol.splits import FEW_GROUPS

if TYPE_CHECKING:
    from probes.protocol.resemblance import Resemblance
    from probes.protocol.results import Controls, Interval, Sweep, Transfer

Kind = Literal[
    "reads",
    "nothing",
    "leak",
    "surface",
    "balanced",
    "entities",
    "no-control",
    "null",
    "few-groups",
    "inverted",
    "oracle",
    "shared",
    "resembles",
]
LITTLE = 0.05
"""Selectivity below this is called near zero (fraction)."""
ASSOCIATION = (
    "What it reads turns round when the statement is denied: an association between the words, or how likely the "
    "statement is, not its truth."
)


@dataclass(frozen=True)
class Verdict:
    """One sentence; `warning` when it limits what the probe's accuracy may be taken to mean.

    `negation`: of an inverted probe, whether the two sets are of opposite polarity.
    """

    kind: Kind
    text: str
    warning: bool = True
    negation: bool = False


def inverts(auc_interval: np.ndarray | tuple[float, ...]) -> bool:
    """Whether an AUC is below chance with its whole 95 % interval (estimate, lower, upper)."""
    return float(auc_interval[0]) < 0.5 and float(auc_interval[-1]) < 0.5


def of_sweep(found: Sweep) -> tuple[Verdict, ...]:
    """Verdicts on one set."""
    verdicts = [_reads(found)]
    if found.controls is not None:
        verdicts += _held_against(found, found.controls)
    if found.resemblance is not None and found.resemblance.rows:
        verdicts.append(_resembles(found.resemblance))
    if found.groups_test < FEW_GROUPS:
        verdicts.append(
            Verdict(
                "few-groups",
                f"{found.name}: only {found.groups_test} test groups, so the interval itself is uncertain; "
                f"{found.dropped} rows about groups of both sides were left out.",
            )
        )
    return tuple(verdicts)


def of_transfer(found: Transfer) -> tuple[Verdict, ...]:
    """Verdicts on pairs of sets: where the probe inverts, and whether one probe serves all."""
    verdicts = []
    for i, source in enumerate(found.names):
        for j, target in enumerate(found.names):
            auc = (found.auc[i, j], *found.auc_interval[i, j])
            if i == j or not inverts(auc):
                continue
            denied = found.polarities[i] * found.polarities[j] == -1
            why = f"inverts under negation. {ASSOCIATION}" if denied else "is inverted: it ranks false above true."
            text = f"Trained on {source} and read on {target} (AUC {_shown(auc)}) the probe {why}"
            verdicts.append(Verdict("inverted", text, negation=bool(denied)))
    alike = [one for one in found.resemblances if one.rows]
    if alike:
        verdicts.append(_resembles(max(alike, key=lambda one: (one.train != one.test, one.rows / one.n_test))))
    return (*verdicts, *_jointly(found))


def _resembles(found: Resemblance) -> Verdict:
    """Return how many test rows are like a train row, and how to keep them apart."""
    count = f"{found.rows} of {found.n_test} test statements of {found.test}"
    if found.by == "quotes":
        text = (
            f"Groups are the first quoted text alone: {count} share another quoted text with a train statement of "
            f'{found.train}, such as "{found.example}" Name both as groups to keep them apart (group=, an expression '
            "with two brackets)."
        )
    else:
        text = (
            f"No entities are known, each fact is its own group: {count} are nearly the same as a train statement of "
            f'{found.train}, such as "{found.example}" What holds for facts unlike those it was trained on may be '
            "less. Name what the statements are about in a column (group=) to keep them apart."
        )
    return Verdict("resembles", text)


def _jointly(found: Transfer) -> tuple[Verdict, ...]:
    """What one probe trained on all sets can do; where its direction serves and its one threshold does not, both."""
    if not (found.joint_auc[:, 1] > 0.5).all():
        return ()
    pairs = zip(found.names, found.joint_auc[:, 0], found.joint_accuracy[:, 0], strict=True)
    each = ", ".join(f"{name} AUC {auc:.2f} and accuracy {accuracy:.2f}" for name, auc, accuracy in pairs)
    text = f"Trained on all sets together the probe ranks true above false in each ({each})."
    if (found.joint_accuracy[:, 1] > 0.5).all():
        return (Verdict("shared", text, False),)
    return (Verdict("shared", f"{text} Its direction serves all sets; its single threshold does not."),)


def _reads(found: Sweep) -> Verdict:
    best, at = found.best, f"layer {found.best.layer}, position {found.best.position}"
    if inverts(best.auc):
        text = f"{found.name}: the probe is inverted on new groups (AUC {_shown(best.auc)}, {at})."
        return Verdict("inverted", text)
    if best.auc[1] <= 0.5:
        text = f"{found.name}: the probe finds nothing that holds for new groups (AUC {_shown(best.auc)}, {at})."
        return Verdict("nothing", text)
    facts = found.resemblance is not None and found.resemblance.by == "words"
    unseen = "facts it was not trained on" if facts else "groups it has not seen"
    return Verdict(
        "reads",
        f"{found.name}: {found.probe} tells true from false statements about {unseen} (accuracy "
        f"{_shown(best.accuracy)}, AUC {_shown(best.auc)}, {at}).",
        False,
    )


def _held_against(found: Sweep, held: Controls) -> list[Verdict]:
    return [
        v
        for v in (
            _leak(found, held),
            *_surface(found, held),
            *_against(found, held),
            _entities(found, held),
            _null(found, held),
        )
        if v
    ]


def _leak(found: Sweep, held: Controls) -> Verdict | None:
    auc = held.embedding_auc  # not the accuracy: where most statements are true, a constant answer has more than 0.5
    if auc is None or auc[1] <= 0.5:
        return None
    return Verdict(
        "leak",
        f"{found.name}: the embedding layer is not at chance (AUC {_shown(auc)}), before the model has done "
        "anything: the token itself gives the label away.",
    )


def _surface(found: Sweep, held: Controls) -> list[Verdict]:
    """Baselines that do as well: their interval reaches the probe's estimate, and they are above chance themselves."""
    same = [b for b in held.baselines if b.auc[1] > 0.5 and b.auc[2] >= found.best.auc[0]]
    return [
        Verdict(
            "surface",
            f"{found.name}: {b.name} alone does about as well (AUC {_shown(b.auc)}) as the probe "
            f"({found.best.auc[0]:.2f}): the accuracy is no evidence for more than that.",
        )
        for b in same
    ]


def _against(found: Sweep, held: Controls) -> list[Verdict]:
    """Baselines below chance: what a balanced set does to them, and no evidence for the probe."""
    return [
        Verdict(
            "balanced",
            f"{found.name}: {b.name} alone is below chance (AUC {_shown(b.auc)}). Where every answer is as often true "
            "as false, what went with true in the train groups goes with false in the others: 0.5, not this, is what "
            "the probe is to be compared with.",
            False,
        )
        for b in held.baselines
        if inverts(b.auc)
    ]


def _entities(found: Sweep, held: Controls) -> Verdict | None:
    some = held.selectivity
    if not np.isfinite(some.value):
        return Verdict("no-control", f"{found.name}: no control task could be made: {some.note}.")
    if some.value >= LITTLE:
        return None
    return Verdict(
        "entities",
        f"{found.name}: selectivity is {some.value:+.2f}, near zero or below: from one statement a group the probe "
        f"learns random labels of the groups ({some.control.mean():.2f}) about as well as truth ({some.truth:.2f}), so "
        "its accuracy may rest on recognising them.",
    )


def _null(found: Sweep, held: Controls) -> Verdict | None:
    if held.null.p <= 0.05:
        return None
    low, high = held.null.interval[1:]
    return Verdict(
        "null",
        f"{found.name}: shuffled labels do as well in {held.null.p:.0%} of draws (middle 95 % of their AUC: {low:.2f} "
        f"to {high:.2f}): the result cannot be told from chance.",
    )


def _shown(values: Interval | tuple[float, ...]) -> str:
    estimate, low, high = values
    return f"{estimate:.2f}, 95 % {low:.2f} to {high:.2f}"
