"""Test statements that are like a train statement although their groups differ: what a split by group leaves open."""

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
    """How many test statements are like a train statement of another group.

    Attributes:
        train: name of the set trained on.
        test: name of the set tested on.
        by: "words": nearly the same words, denial and inflection apart; "quotes": a quoted text in common, besides
            the first.
        rows: test statements like a train statement.
        n_test: test statements.
        example: one of them; "" if there is none.
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
    """Return what the test rows share with the train rows; None where groups hold the entities of both sets."""
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
