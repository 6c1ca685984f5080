"""Test statements that are similar to a train statement.

The train statement belongs to another group, so that a split by group does not prevent this.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Int

from interp.results import Result
from probes.facts import near
from probes.groups import quoted_in
from probes.statements import LOOSE, Statements


@dataclass(frozen=True, eq=False)
class Resemblance(Result):
    """Number of test statements that resemble a train statement.

    The similar train statement belongs to another group.

    Attributes:
        train: name of the train set.
        test: name of the test set.
        by: "words" for nearly the same words, ignoring denial and inflection; "quotes" for a shared quoted text other
            than the first.
        rows: number of test statements similar to a train statement.
        n_test: number of test statements.
        example: one of them; "" if there is none.

    Example:
        >>> Resemblance("train", "test", "words", rows=2, n_test=10, example="Whales can fly.")
        Resemblance(2 of 10 test statements of test, by words)
    """

    train: str
    test: str
    by: Literal["words", "quotes"]
    rows: int
    n_test: int
    example: str

    def __repr__(self) -> str:
        return f"Resemblance({self.rows} of {self.n_test} test statements of {self.test}, by {self.by})"


def resemblance(train: Statements, test: Statements) -> Resemblance | None:
    """Compare test statements with train statements by words or quotes.

    Returns None if the groups of both sets are their entities.

    >>> resemblance(data, data) is None  # groups are entities; data = probes.read_statements(...)
    True
    """
    kinds = {train.group_kind, test.group_kind} & set(LOOSE)
    if not kinds:
        return None
    if kinds == {"quoted"}:
        by, rows = "quotes", _sharing_quotes(train.statements, test.statements)
    else:
        by, rows = "words", near(test.statements, train.statements)
    example = test.statements[int(rows[0])] if len(rows) else ""
    return Resemblance(train.name, test.name, by, len(rows), len(test), example)


def _sharing_quotes(train: Iterable[str], test: Iterable[str]) -> Int[np.ndarray, " m"]:
    known = {text for statement in train for text in quoted_in(statement)}
    return np.flatnonzero([not known.isdisjoint(quoted_in(statement)) for statement in test])
