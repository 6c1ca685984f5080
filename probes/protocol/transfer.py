"""Transfer of a probe between sets of statements.

The probe is trained on one set and tested on another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import permutations, product
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interp.arguments import checked
from interp.errors import UsageError
from probes import batched
from probes.activations import Activations
from probes.batched import scores_of
from probes.estimators.capabilities import plain_settings
from probes.estimators.logistic import LogisticRegression
from probes.facts import fact_of
from probes.inputs import check_kinds, check_whole
from probes.protocol.checks import as_torch, check, polarity_of
from probes.protocol.intervals import measured
from probes.protocol.metrics import accuracy
from probes.protocol.model_selection import candidates, cross_validate, extras, with_strength
from probes.protocol.resemblance import resemblance
from probes.protocol.splits import Split, split
from probes.protocol.transfer_results import Transfer
from probes.statements import Statements, join, sharing_facts


@checked
def transfer(
    acts: Sequence[Activations],
    *,
    probe: Any = None,
    layer: int | None = None,
    position: str | None = None,
    strengths: Sequence[float] | None = None,
    seed: int = 0,
) -> Transfer:
    """Train on every set and test on every set.

    Each probe is trained on the train side of a set and tested on the test sides of all sets. An entity is on the same
    side in all sets.

    Args:
        acts: activations of at least two sets, with the same weights, dtype and BOS setting.
        probe: an unfitted probe; logistic regression by default. Its strength is chosen on each train side.
        layer: the layer; by default the one with the best mean cross-validated accuracy on the train sides.
        position: the position, if several were collected.
        strengths: candidates that replace the probe's own list.
        seed: seed of the split (salt "v1" for 0), folds and resamples.

    Returns:
        `Transfer` with accuracy and AUC (train set, test set).

    Raises:
        UsageError: fewer than two sets, two sets with one name, different models or layers, or a side without one
            class.

    Example:
        >>> sets = [acts, other]  # acts = probes.collect(model, data), and so for another set
        >>> probes.transfer(sets, probe=probes.MassMean()).auc.round(2).tolist()
        [[0.9, 0.97], [0.91, 0.98]]
    """
    check_whole(seed, "seed")
    probe = LogisticRegression() if probe is None else probe
    acts = comparable(acts, probe)
    position = acts[0].positions[0] if position is None and len(acts[0].positions) == 1 else position
    sides = [split(one.data, seed) for one in acts]
    strengths_tried = candidates(probe, strengths)
    if layer is None:
        curves = [layer_curve(one, side.train, probe, position, seed) for one, side in zip(acts, sides, strict=True)]
        layer = acts[0].layers[int(np.mean(curves, axis=0).argmax())]
    sets = [part_of(one, side, layer, position) for one, side in zip(acts, sides, strict=True)]
    raw, centred, auc = _matrices(probe, sets, strengths_tried, seed)
    joint = _jointly(probe, sets, strengths_tried, seed)
    return Transfer(
        names=tuple(one.data.name for one in acts),
        probe=type(probe).__name__,
        settings=plain_settings(probe),
        layer=layer,
        position=str(position),
        accuracy=raw[..., 0],
        accuracy_centred=centred,
        auc=auc[..., 0],
        auc_interval=auc[..., 1:],
        accuracy_interval=raw[..., 1:],
        joint_accuracy=joint[0],
        joint_auc=joint[1],
        polarities=np.array([polarity_of(one.data) for one in acts]),
        n_test=np.array([int(side.test.sum()) for side in sides]),
        groups_test=np.array([side.groups_test for side in sides]),
        seed=seed,
        resemblances=tuple(
            one for a, b in product(sets, repeat=2) if (one := resemblance(a.train, b.test)) is not None
        ),
    )


@dataclass(frozen=True, eq=False)
class Part:
    """Statements and activations of one set at one layer.

    Also has the mean of its train side.
    """

    train: Statements
    test: Statements
    X: Float[Tensor, "n d"]
    X_test: Float[Tensor, "m d"]
    mean: Float[Tensor, " d"]


def part_of(acts: Activations, side: Split, layer: int, position: str | None) -> Part:
    """Return the two sides of a set at one layer.

    >>> part_of(acts, probes.split(acts.data), layer=1, position=None).X.shape  # acts = probes.collect(model, data)
    torch.Size([52, 16])
    """
    X = acts.at(layer, position)
    train = X[as_torch(side.train)]
    mean = train.double().mean(0).to(train.dtype)
    return Part(acts.data.take(side.train), acts.data.take(side.test), train, X[as_torch(side.test)], mean)


def comparable(acts: Sequence[Activations], probe: Any) -> tuple[Activations, ...]:
    """Check that several sets can be compared, and return them.

    The facts of the returned sets are grouped jointly. Raises `UsageError` unless there are at least two sets with
    different names, one model, and the same layers and positions.

    >>> [one.data.name for one in comparable([acts, other], probes.MassMean())]
    ['planted', 'negated']
    """
    acts = (acts,) if isinstance(acts, Activations) else acts
    check_kinds(acts, Activations, "acts", "probes.collect")
    acts = tuple(acts)
    if len(acts) < 2:
        raise UsageError(f"Transfer needs at least two sets of activations, not {len(acts)}.")
    names = [one.data.name for one in acts]
    if twice := {name for name in names if names.count(name) > 1}:
        raise UsageError(f'Two sets are named "{sorted(twice)[0]}": give each its own name (name=).')
    for one in acts:
        check(one, probe)
        acts[0].check_same_model(one)
        if (one.layers, one.positions) != (acts[0].layers, acts[0].positions):
            raise UsageError(
                f"{one.data.name} has other layers or positions than {names[0]}: collect the same ones for both."
            )
    for one, other in permutations(acts, 2):
        _check_names(one.data, other.data)
    shared = sharing_facts([one.data for one in acts])
    return tuple(replace(one, data=data) for one, data in zip(acts, shared, strict=True))


def _check_names(data: Statements, other: Statements) -> None:
    """Raise `UsageError` if two sets name the same entities differently.

    This is so if most entities of one set are those of the other under longer names.
    """
    theirs, ours = ({fact_of(entity): entity for row in one.groups for entity in row} for one in (other, data))
    longer = [(name, part) for name in sorted(ours.keys() - theirs.keys()) for part in _parts(name) if part in theirs]
    if len({name for name, _ in longer}) > len(ours) / 2:
        name, part = ours[longer[0][0]], theirs[longer[0][1]]
        raise UsageError(
            f'{data.name} calls "{name}" what {other.name} calls "{part}", so that an entity could be learned from one '
            "set and tested in the other. Give the entities the same names in a column (group=)."
        )


def _parts(name: str) -> list[str]:
    """Return all shorter runs of consecutive words in a name.

    The whole name is excluded.
    """
    words = name.split()
    runs = [(i, j) for i in range(len(words)) for j in range(i + 1, len(words) + 1)]
    return [" ".join(words[i:j]) for i, j in runs if j - i < len(words)]


def layer_curve(
    acts: Activations, train: Bool[np.ndarray, " n"], probe: Any, position: str | None, seed: int
) -> Float[np.ndarray, " layer"]:
    """Compute the cross-validated accuracy of every layer on train rows.

    Only the middle strength is used, which is enough to compare layers.

    Args:
        acts: the activations.
        train: (n,) mask of the train rows.
        probe: an unfitted probe.
        position: the position, if several were collected.
        seed: seed of the folds.

    Example:
        >>> layer_curve(acts, probes.split(data).train, probes.MassMean(), "last", 0).round(2).tolist()
        [0.5, 0.42, 0.88, 0.85]
    """
    strengths_tried = candidates(probe, None)
    X = torch.stack([acts.at(layer, position)[as_torch(train)] for layer in acts.layers])
    middle = strengths_tried[len(strengths_tried) // 2 : len(strengths_tried) // 2 + 1]
    return cross_validate(probe, X, acts.data.take(train), strengths=middle, seed=seed).best_accuracy


def fit_chosen(probe: Any, X: Float[Tensor, "n d"], train: Statements, strengths: tuple[float, ...], seed: int) -> Any:
    """Choose the strength by cross-validation and fit on all train rows.

    Args:
        probe: an unfitted probe.
        X: (n, d) activations.
        train: the statements of these rows.
        strengths: the candidates.
        seed: seed of the folds.

    Example:
        >>> train = data.take(range(40))  # acts = probes.collect(model, data)
        >>> fit_chosen(probes.Ridge(), acts.at(1)[:40], train, (1.0, 100.0), 0).alpha
        100.0
    """
    strength = strengths[0]
    if len(strengths) > 1:
        strength = float(cross_validate(probe, X[None], train, strengths=strengths, seed=seed).chosen[0])
    return batched.fit_layers(with_strength(probe, strength), X[None], train.labels, **extras(train))[0]


def _matrices(
    probe: Any, sets: Sequence[Part], strengths: tuple[float, ...], seed: int
) -> tuple[Float[np.ndarray, "train test 3"], Float[np.ndarray, "train test"], Float[np.ndarray, "train test 3"]]:
    """Return accuracy, centred accuracy and AUC of every pair of sets."""
    n = len(sets)
    raw, centred, auc = np.zeros((n, n, 3)), np.zeros((n, n)), np.zeros((n, n, 3))
    for i, source in enumerate(sets):
        fitted = fit_chosen(probe, source.X, source.train, strengths, seed)
        fitted_centred = fit_chosen(probe, source.X - source.mean, source.train, strengths, seed)
        for j, target in enumerate(sets):
            metrics = measured(scores_of(fitted, target.X_test), target.test.labels, target.test.groups, seed=seed)
            raw[i, j], auc[i, j] = metrics.accuracy, metrics.auc
            centred_scores = scores_of(fitted_centred, target.X_test - target.mean)
            centred[i, j] = accuracy(centred_scores, target.test.labels)[0]
    return raw, centred, auc


def _jointly(
    probe: Any, sets: Sequence[Part], strengths: tuple[float, ...], seed: int
) -> tuple[Float[np.ndarray, "set 3"], Float[np.ndarray, "set 3"]]:
    """Evaluate one probe that is trained on all sets.

    Returns raw accuracy and AUC on each set, for one probe trained on the train sides of all.
    """
    joint = join([one.train for one in sets])
    fitted = fit_chosen(probe, torch.cat([one.X for one in sets]), joint, strengths, seed)
    metrics = [measured(scores_of(fitted, one.X_test), one.test.labels, one.test.groups, seed=seed) for one in sets]
    return np.stack([m.accuracy for m in metrics]), np.stack([m.auc for m in metrics])
