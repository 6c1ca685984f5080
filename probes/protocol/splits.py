"""Splits by entity.

An entity is on the same side in every dataset.

The side of an entity is a hash of its name, so that separately collected sets agree: a city is never learned from one
set and tested in another. Rows about several entities (number comparisons) are used only if all of them are on one
side; the others are dropped and counted.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
from jaxtyping import Bool, Int

from interp.errors import UsageError
from interp.results import Result
from probes.inputs import check_kind, check_kinds, check_number, check_whole
from probes.statements import Statements, sharing_facts

Groups = Sequence[Sequence[str]]
FEW_GROUPS = 30
"""Number of test groups below which the report calls an interval uncertain."""


@dataclass(frozen=True, eq=False)
class Split(Result):
    """Train and test rows of a set.

    Attributes:
        train: (n,) mask of train rows.
        test: (n,) mask of test rows, disjoint from `train`.
        dropped: number of rows on neither side, because their entities are on both.
        groups_train: number of entities of the train rows.
        groups_test: number of entities of the test rows.
        salt: salt of the hash; "" for a split given by the user.

    Example:
        >>> probes.split(data)  # data = probes.read_statements(...)
        Split(train 52 rows of 26 groups, test 28 of 14, 0 dropped)
    """

    train: np.ndarray
    test: np.ndarray
    dropped: int
    groups_train: int
    groups_test: int
    salt: str

    def __repr__(self) -> str:
        train, test = int(self.train.sum()), int(self.test.sum())
        sides = f"train {train} rows of {self.groups_train} groups, test {test} of {self.groups_test}"
        return f"Split({sides}, {self.dropped} dropped)"


def salt_of(seed: int) -> str:
    """Return the salt of a seed.

    >>> salt_of(0)
    'v1'
    """
    return f"v{seed + 1}"


def position_of(entity: str, salt: str) -> float:
    """Return the hash of an entity as a number in [0, 1).

    It is the first 8 bytes of sha256("salt|entity") / 2^64.

    >>> round(position_of("Paris", "v1"), 3)
    0.408
    """
    digest = hashlib.sha256(f"{salt}|{entity}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


@overload
def split(data: Statements, seed: int = 0, test: float = 0.35) -> Split: ...
@overload
def split(data: Sequence[Statements], seed: int = 0, test: float = 0.35) -> tuple[Split, ...]: ...
def split(data: Statements | Sequence[Statements], seed: int = 0, test: float = 0.35) -> Split | tuple[Split, ...]:
    """Split the rows of one set, or of several, by entity.

    An entity is on the test side of every set if `position_of(entity, salt) >= 1 - test`; the salt is "v1" for seed 0.
    A fact of free text, stated or denied, is treated alike in sets that are split in one call (see
    `probes.statements.sharing_facts`).

    Args:
        data: one set or several.
        seed: seed of the hash.
        test: fraction of entities (not rows) on the test side.

    Returns:
        A `Split`, or a tuple of them for several sets.

    Raises:
        UsageError: `test` is not between 0 and 1, or a side has no true or no false statements.

    Example:
        >>> split(data, seed=0).groups_test  # data = probes.read_statements(...)
        14
    """
    check_whole(seed, "seed")
    check_number(test, "test")
    if not 0 < test < 1:
        raise UsageError(
            f"test={test} is not a fraction between 0 and 1, such as 0.35 for about a third of the entities."
        )
    if not isinstance(data, Statements):
        check_kinds(data, Statements, "data", "probes.read_statements")
        return tuple(split(one, seed, test) for one in sharing_facts(data))
    salt = salt_of(seed)
    entities = {entity for row in data.groups for entity in row}
    tested = {entity for entity in entities if position_of(entity, salt) >= 1 - test}
    sides = [{entity in tested for entity in row} for row in data.groups]
    return _checked(data, np.array([s == {False} for s in sides]), np.array([s == {True} for s in sides]), salt)


def own_split(data: Statements, train: Bool[np.ndarray, " n"], test: Bool[np.ndarray, " n"]) -> Split:
    """Check given masks and return them as a `Split`.

    Args:
        data: the statements.
        train: (n,) mask of train rows.
        test: (n,) mask of test rows.

    Returns:
        `Split` with an empty salt.

    Raises:
        UsageError: an entity or a row is on both sides, or a side lacks a class.

    Example:
        >>> first = np.arange(len(data)) < 40  # data = probes.read_statements(...)
        >>> own_split(data, first, ~first)
        Split(train 40 rows of 20 groups, test 40 of 20, 0 dropped)
    """
    check_kind(data, Statements, "data", "probes.read_statements")
    train, test = np.asarray(train, bool), np.asarray(test, bool)
    if train.shape != (len(data),) or test.shape != (len(data),):
        raise UsageError(
            f"A split of {data.name} needs two masks of {len(data)} rows, not of {train.shape} and {test.shape}."
        )
    return _checked(data, train, test, "")


def _checked(data: Statements, train: np.ndarray, test: np.ndarray, salt: str) -> Split:
    sides = [{entity for i in np.flatnonzero(mask) for entity in data.groups[i]} for mask in (train, test)]
    if both := sorted(sides[0] & sides[1]):
        more = f" and {len(both) - 1} more" if len(both) > 1 else ""
        raise UsageError(
            f'{data.name}: the group "{both[0]}"{more} has rows on both sides of the split, so that the probe could '
            "memorise it. Put all rows of a group on one side."
        )
    for name, mask in (("train", train), ("test", test)):
        if len(set(data.labels[mask].tolist())) < 2:
            raise UsageError(
                f"{data.name}: the {name} side of the split has {int(mask.sum())} rows, not of both classes. Give more "
                "statements, other groups or another seed."
            )
    dropped = len(data) - int(train.sum()) - int(test.sum())
    return Split(train, test, dropped, len(sides[0]), len(sides[1]), salt)


def folds(groups: Groups, n_fold: int, seed: int) -> tuple[Bool[np.ndarray, "fold n"], Bool[np.ndarray, "fold n"]]:
    """Return the train and validation masks of a cross-validation by entity.

    Entities are assigned to folds in turn, in the order of their hash, so that folds have equal numbers of them. A row
    is validated in a fold that has all its entities and trained on in folds that have none of them.

    Args:
        groups: the entities of each row.
        n_fold: number of folds.
        seed: seed of the hash.

    Raises:
        UsageError: fewer entities than folds.

    Example:
        >>> train, validation = folds([("a",), ("b",), ("c",)], n_fold=3, seed=0)
        >>> validation.sum(1).tolist()
        [1, 1, 1]
    """
    names = sorted({entity for row in groups for entity in row}, key=lambda e: (position_of(e, salt_of(seed)), e))
    if len(names) < n_fold:
        raise UsageError(
            f"{len(names)} train groups are too few for {n_fold} folds: give statements about more entities."
        )
    fold_of = {entity: i % n_fold for i, entity in enumerate(names)}
    inside = np.array([[all(fold_of[e] == k for e in row) for row in groups] for k in range(n_fold)])
    touched = np.array([[any(fold_of[e] == k for e in row) for row in groups] for k in range(n_fold)])
    return ~touched, inside


def indexed(groups: Groups) -> tuple[tuple[str, ...], Int[np.ndarray, "n k"]]:
    """Return all entities and the entity indices of each row.

    The entities are in order of appearance. Rows with fewer entities than others are padded with -1.

    >>> indexed([("a",), ("b", "a")])[1].tolist()
    [[0, -1], [1, 0]]
    """
    number: dict[str, int] = {}
    rows = [[number.setdefault(entity, len(number)) for entity in dict.fromkeys(row)] for row in groups]
    width = max((len(row) for row in rows), default=1)
    return tuple(number), np.array([row + [-1] * (width - len(row)) for row in rows], np.int64).reshape(-1, width)
