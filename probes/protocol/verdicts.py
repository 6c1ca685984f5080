"""Verdicts: what a result shows and does not show.

They are sentences, computed from the numbers of the result.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from probes.protocol.splits import FEW_GROUPS

if TYPE_CHECKING:
    from probes.protocol.control_results import Controls, Interval
    from probes.protocol.resemblance import Resemblance
    from probes.protocol.results import Sweep
    from probes.protocol.transfer_results import Transfer

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
"""Selectivity (fraction) below which it is called near zero."""
ASSOCIATION = (
    "What it reads is reversed when the statement is negated: an association between the words, or the likelihood of "
    "the statement, but not its truth."
)


@dataclass(frozen=True)
class Verdict:
    """Sentence about a result, with its kind.

    Attributes:
        kind: what the sentence is about.
        text: the sentence.
        warning: whether it limits how the probe's accuracy can be interpreted.
        negation: for an inverted probe, whether the two sets have opposite polarity.

    Example:
        >>> Verdict("nothing", "The AUC on new entities reaches 0.5.").warning
        True
    """

    kind: Kind
    text: str
    warning: bool = True
    negation: bool = False


def inverts(auc_interval: np.ndarray | tuple[float, ...]) -> bool:
    """Return whether an AUC is clearly below chance.

    Its whole 95 % interval must be below chance. `auc_interval` is (estimate, lower, upper).

    >>> inverts((0.2, 0.1, 0.3)), inverts((0.4, 0.3, 0.6))
    (True, False)
    """
    return float(auc_interval[0]) < 0.5 and float(auc_interval[-1]) < 0.5


def of_sweep(sweep: Sweep) -> tuple[Verdict, ...]:
    """Return the verdicts on a sweep.

    >>> of_sweep(probes.sweep(acts, probe=probes.MassMean(), controls=False))[0].kind  # acts = probes.collect(...)
    'reads'
    """
    verdicts = [_reads(sweep)]
    if sweep.controls is not None:
        verdicts += _on_controls(sweep, sweep.controls)
    if sweep.resemblance is not None and sweep.resemblance.rows:
        verdicts.append(_resembles(sweep.resemblance))
    if sweep.groups_test < FEW_GROUPS:
        verdicts.append(
            Verdict(
                "few-groups",
                f"{sweep.name}: there are only {sweep.groups_test} test groups, so that the interval itself is "
                f"uncertain; {sweep.dropped} rows about groups of both sides were left out.",
            )
        )
    return tuple(verdicts)


def of_transfer(transfer: Transfer) -> tuple[Verdict, ...]:
    """Return the verdicts on pairs of sets.

    They are inversions, and whether one probe works for all.

    >>> result = probes.transfer([acts, other], probe=probes.MassMean(), layer=1)
    >>> [verdict.kind for verdict in of_transfer(result)]
    ['shared']
    """
    verdicts = []
    for i, source in enumerate(transfer.names):
        for j, target in enumerate(transfer.names):
            auc = (transfer.auc[i, j], *transfer.auc_interval[i, j])
            if i == j or not inverts(auc):
                continue
            denied = transfer.polarities[i] * transfer.polarities[j] == -1
            why = f"inverts under negation. {ASSOCIATION}" if denied else "is inverted: it ranks false above true."
            text = f"Trained on {source} and tested on {target} (AUC {_shown(auc)}) the probe {why}"
            verdicts.append(Verdict("inverted", text, negation=bool(denied)))
    similar = [one for one in transfer.resemblances if one.rows]
    if similar:
        verdicts.append(_resembles(max(similar, key=lambda one: (one.train != one.test, one.rows / one.n_test))))
    return (*verdicts, *_jointly(transfer))


def _resembles(resemblance: Resemblance) -> Verdict:
    """Return how many test rows resemble a train row.

    Also says how to separate them.
    """
    count = f"{resemblance.rows} of {resemblance.n_test} test statements of {resemblance.test}"
    if resemblance.by == "quotes":
        text = (
            f"Groups are the first quoted text only: {count} share another quoted text with a train statement of "
            f'{resemblance.train}, such as "{resemblance.example}" Use both texts as groups to separate them (group=, '
            "an expression "
            "with two brackets)."
        )
    else:
        text = (
            f"No entities are known, so each fact is its own group: {count} are nearly the same as a train statement "
            "of "
            f'{resemblance.train}, such as "{resemblance.example}" Accuracy on facts unlike those of the training may '
            "be lower. "
            "Name the subjects of the statements in a column (group=) to separate them."
        )
    return Verdict("resembles", text)


def _jointly(transfer: Transfer) -> tuple[Verdict, ...]:
    """Return the verdict on one probe trained on all sets.

    It covers the direction and the single threshold of the probe.
    """
    if not (transfer.joint_auc[:, 1] > 0.5).all():
        return ()
    pairs = zip(transfer.names, transfer.joint_auc[:, 0], transfer.joint_accuracy[:, 0], strict=True)
    each = ", ".join(f"{name} AUC {auc:.2f} and accuracy {accuracy:.2f}" for name, auc, accuracy in pairs)
    text = f"Trained on all sets jointly the probe ranks true above false in each ({each})."
    if (transfer.joint_accuracy[:, 1] > 0.5).all():
        return (Verdict("shared", text, False),)
    return (Verdict("shared", f"{text} Its direction works for all sets, but its single threshold does not."),)


def _reads(sweep: Sweep) -> Verdict:
    best, at = sweep.best, f"layer {sweep.best.layer}, position {sweep.best.position}"
    if inverts(best.auc):
        text = f"{sweep.name}: the probe is inverted on new groups (AUC {_shown(best.auc)}, {at})."
        return Verdict("inverted", text)
    if best.auc[1] <= 0.5:
        text = f"{sweep.name}: the probe learns nothing that generalises to new groups (AUC {_shown(best.auc)}, {at})."
        return Verdict("nothing", text)
    facts = sweep.resemblance is not None and sweep.resemblance.by == "words"
    unseen = "facts it was not trained on" if facts else "groups it has not seen"
    return Verdict(
        "reads",
        f"{sweep.name}: {sweep.probe} separates true from false statements about {unseen} (accuracy "
        f"{_shown(best.accuracy)}, AUC {_shown(best.auc)}, {at}).",
        False,
    )


def _on_controls(sweep: Sweep, controls: Controls) -> list[Verdict]:
    """Return the verdicts on controls and baselines."""
    return [
        v
        for v in (
            _leak(sweep, controls),
            *_surface(sweep, controls),
            *_against(sweep, controls),
            _entities(sweep, controls),
            _null(sweep, controls),
        )
        if v
    ]


def _leak(sweep: Sweep, controls: Controls) -> Verdict | None:
    auc = controls.embedding_auc  # not the accuracy: if most statements are true, a constant answer exceeds 0.5
    if auc is None or auc[1] <= 0.5:
        return None
    return Verdict(
        "leak",
        f"{sweep.name}: the embedding layer is not at chance (AUC {_shown(auc)}), before the model has computed "
        "anything: the token itself predicts the label.",
    )


def _surface(sweep: Sweep, controls: Controls) -> list[Verdict]:
    """Return verdicts on baselines above chance whose interval reaches the probe's estimate."""
    same = [b for b in controls.baselines if b.auc[1] > 0.5 and b.auc[2] >= sweep.best.auc[0]]
    return [
        Verdict(
            "surface",
            f"{sweep.name}: {b.name} alone does about as well (AUC {_shown(b.auc)}) as the probe "
            f"({sweep.best.auc[0]:.2f}): the accuracy is not evidence of more than that.",
        )
        for b in same
    ]


def _against(sweep: Sweep, controls: Controls) -> list[Verdict]:
    """Return verdicts on baselines below chance, which a balanced set explains."""
    return [
        Verdict(
            "balanced",
            f"{sweep.name}: {b.name} alone is below chance (AUC {_shown(b.auc)}). If every answer is true as often as "
            "false, words that are more often true in the train groups are more often false in the others. Compare the "
            "probe with 0.5, not with this baseline.",
            False,
        )
        for b in controls.baselines
        if inverts(b.auc)
    ]


def _entities(sweep: Sweep, controls: Controls) -> Verdict | None:
    selectivity = controls.selectivity
    if not np.isfinite(selectivity.value):
        return Verdict("no-control", f"{sweep.name}: there is no control task: {selectivity.note}.")
    if selectivity.value >= LITTLE:
        return None
    return Verdict(
        "entities",
        f"{sweep.name}: selectivity is {selectivity.value:+.2f}, near zero or below: from one statement per group the "
        f"probe learns random labels of the groups ({selectivity.control.mean():.2f}) about as well as true labels "
        f"({selectivity.truth:.2f}), so that its accuracy may come from recognising the groups.",
    )


def _null(sweep: Sweep, controls: Controls) -> Verdict | None:
    if controls.null.p <= 0.05:
        return None
    low, high = controls.null.interval[1:]
    return Verdict(
        "null",
        f"{sweep.name}: shuffled labels do as well in {controls.null.p:.0%} of draws (middle 95 % of their AUC: "
        f"{low:.2f} to {high:.2f}): the result cannot be distinguished from chance.",
    )


def _shown(values: Interval | tuple[float, ...]) -> str:
    estimate, low, high = values
    return f"{estimate:.2f}, 95 % {low:.2f} to {high:.2f}"
