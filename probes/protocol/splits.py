"""Splits by entity: the same entity on the same side, in every data set.

An entity's side is a hash of its name, so that sets collected separately agree without knowing of each other: a city
is never learnt from one set and tested in another. Rows about several entities (number comparisons) count only when
all of them are on one side; the others are dropped and counted.
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
"""Below so many test groups an interval rests on little, and the report says so."""


@dataclass(frozen=True, eq=False)
class Split(Result):
    """Which rows train and which test.

    Attributes:
        train: (n,) mask.
        test: (n,) mask, disjoint from `train`.
        dropped: rows on neither side, because their entities fall on both.
        groups_train: entities of the train rows.
        groups_test: entities of the test rows.
        salt: what the hash was salted with; "" for a split of one's own.
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
    """The salt of a seed: "v1" for seed 0."""
    return f"v{seed + 1}"


def position_of(entity: str, salt: str) -> float:
    """Where an entity stands between 0 and 1: the first 8 bytes of sha256("salt|entity") over 2^64."""
    digest = hashlib.sha256(f"{salt}|{entity}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


@overload
def split(data: Statements, seed: int = 0, test: float = 0.35) -> Split: ...
@overload
def split(data: Sequence[Statements], seed: int = 0, test: float = 0.35) -> tuple[Split, ...]: ...
def split(data: Statements | Sequence[Statements], seed: int = 0, test: float = 0.35) -> Split | tuple[Split, ...]:
    """The sides of one set's rows, or of several sets' rows: an entity is on one side everywhere.

    So is a fact of free text, stated or denied, in sets that are split together: see `probes.statements.sharing_facts`.

    An entity is tested when `position_of(entity, salt) >= 1 - test`; the salt is "v1" for seed 0. `test` is the
    fraction of entities, not of rows.

    Raises:
        UsageError: `test` not between 0 and 1, or a side without true or without false statements.
    """
    check_whole(seed, "seed")
    check_number(test, "test")
    if not 0 < test < 1:
        raise UsageError(f"test={test} is not a fraction between 0 and 1: 0.35 tests about a third of the entities.")
    if not isinstance(data, Statements):
        check_kinds(data, Statements, "data", "probes.read_statements")
        return tuple(split(one, seed, test) for one in sharing_facts(data))
    salt = salt_of(seed)
    entities = {entity for row in data.groups for entity in row}
    tested = {entity for entity in entities if position_of(entity, salt) >= 1 - test}
    sides = [{entity in tested for entity in row} for row in data.groups]
    return _checked(data, np.array([s == {False} for s in sides]), np.array([s == {True} for s in sides]), salt)


def own_split(data: Statements, train: Bool[np.ndarray, " n"], test: Bool[np.ndarray, " n"]) -> Split:
    """A split of one's own making, checked: `UsageError` if an entity, or a row, stands on both sides."""
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
            f'{data.name}: the group "{both[0]}"{more} has rows on both sides of the split, so the probe could '
            "remember it; put all rows of a group on one side."
        )
    for name, mask in (("train", train), ("test", test)):
        if len(set(data.labels[mask].tolist())) < 2:
            raise UsageError(
                f"{data.name}: the {name} side of the split has {int(mask.sum())} rows, not both true and false ones: "
                "give more statements, other groups or another seed."
            )
    dropped = len(data) - int(train.sum()) - int(test.sum())
    return Split(train, test, dropped, len(sides[0]), len(sides[1]), salt)


def folds(groups: Groups, n_fold: int, seed: int) -> tuple[Bool[np.ndarray, "fold n"], Bool[np.ndarray, "fold n"]]:
    """(train, validation) masks of a cross-validation by entity.

    Entities are dealt out to the folds in the order of their hash, so that folds hold as many of them each. A row is
    validated in a fold that holds all its entities and trained on where the fold holds none of them.

    Raises `UsageError` for fewer entities than folds.
    """
    names = sorted({entity for row in groups for entity in row}, key=lambda e: (position_of(e, salt_of(seed)), e))
    if len(names) < n_fold:
        raise UsageError(f"{len(names)} train groups cannot make {n_fold} folds: give statements about more entities.")
    fold_of = {entity: i % n_fold for i, entity in enumerate(names)}
    inside = np.array([[all(fold_of[e] == k for e in row) for row in groups] for k in range(n_fold)])
    touched = np.array([[any(fold_of[e] == k for e in row) for row in groups] for k in range(n_fold)])
    return ~touched, inside


def indexed(groups: Groups) -> tuple[tuple[str, ...], Int[np.ndarray, "n k"]]:
    """(the entities, in order of appearance; for each row the numbers of its entities, -1 where it has fewer)."""
    number: dict[str, int] = {}
    rows = [[number.setdefault(entity, len(number)) for entity in dict.fromkeys(row)] for row in groups]
    width = max((len(row) for row in rows), default=1)
    return tuple(number), np.array([row + [-1] * (width - len(row)) for row in rows], np.int64).reshape(-1, width)
