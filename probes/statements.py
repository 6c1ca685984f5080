"""True and false statements.

They have the information that a fair test needs, above all their entities.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Bool, Int

from interp.errors import UsageError
from interp.results import Result
from probes.facts import first_stated
from probes.groups import Groups, Kind
from probes.inputs import check_kinds
from probes.rows import Problem, left_out, listed

LOOSE: tuple[Kind, ...] = ("fact", "pair", "quoted")
"""Kinds of groups that do not cover everything that two statements may share."""
PER_ROW = ("pair", "topic", "template")


@dataclass(frozen=True, eq=False)
class Statements(Result):
    """Statements with labels, as returned by `read_statements` or `generate`.

    Attributes:
        name: name of the set.
        statements: the texts.
        labels: (n,) 1 for true, 0 for false.
        groups: the entities of each row, one or more; a split puts all rows of an entity on one side.
        grouped_by: the rule that determined the groups.
        polarity: (n,) +1 for affirmative, -1 for negated, or None.
        pair: name that a statement shares with its negation, or None.
        topic: topic of each row, or None.
        template: wording of each row, or None.
        polarity_by: the rule that determined the polarity.
        problems: problems of the set. Only rows that they name as left out were dropped.
        group_kind: kind of the rule that determined the groups, see `probes.groups`.

    Example:
        >>> data  # data = probes.read_statements("planted.csv")
        Statements(planted: 80 statements, 40 true)
    """

    name: str
    statements: tuple[str, ...]
    labels: np.ndarray
    groups: Groups
    grouped_by: str
    polarity: np.ndarray | None = None
    pair: tuple[str, ...] | None = None
    topic: tuple[str, ...] | None = None
    template: tuple[str, ...] | None = None
    polarity_by: str = ""
    problems: tuple[Problem, ...] = ()
    group_kind: Kind = "column"

    layout: ClassVar[int] = 2

    @classmethod
    def upgrade(cls, values: dict[str, Any], layout: int) -> dict[str, Any]:
        """Convert the fields of a file of layout 1.

        The problems in such a file are sentences without a kind.

        >>> problems = probes.Statements.upgrade({"problems": ("1 of 4 rows is true",)}, layout=1)["problems"]
        >>> problems[0].kind
        'unbalanced'
        """
        if layout != 1:
            return super().upgrade(values, layout)
        return values | {"problems": tuple(_of_layout_1(text) for text in values["problems"])}

    def __post_init__(self) -> None:
        for name in ("labels", "groups", "polarity", *PER_ROW):
            value = getattr(self, name)
            if value is not None and len(value) != len(self.statements):
                raise UsageError(
                    f"{self.name} has {len(self.statements)} statements but {len(value)} entries of {name}."
                )
        if not set(np.unique(self.labels).tolist()) <= {0, 1}:
            raise UsageError(f"{self.name}: labels must be 0 or 1.")

    def __len__(self) -> int:
        return len(self.statements)

    def sha256(self) -> str:
        """Return the SHA-256 digest of the statements with their labels, in order.

        >>> data.sha256()[:12], data.take([1, 0]).sha256()[:12]  # data = probes.read_statements(...)
        ('35f5de318c76', '5978a73e2200')
        """
        rows = list(zip(self.statements, self.labels.tolist(), strict=True))
        return hashlib.sha256(json.dumps(rows, ensure_ascii=False).encode()).hexdigest()

    def take(self, rows: Bool[np.ndarray, " n"] | Int[np.ndarray, " m"] | Sequence[int]) -> Statements:
        """Return the rows selected by a mask or by 0-based indices.

        The rows of the result are in the order of the indices.

        >>> data.take([3, 0]).statements  # data = probes.read_statements(...)
        ('Thing 1 is kind 757.', 'Thing 0 is kind 0.')
        """
        chosen = np.arange(len(self))[np.asarray(rows)]
        changed: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in ("statements", "groups", *PER_ROW) and value is not None:
                changed[field.name] = tuple(value[i] for i in chosen)
            elif isinstance(value, np.ndarray):
                changed[field.name] = value[chosen]
        return replace(self, **changed)

    def deduplicated(self) -> Statements:
        """Return the set without repeated or contradictory statements.

        A statement is contradictory if it has both labels. `problems` of the result says how many rows were left out.
        Raises `UsageError` if no statement is left.

        >>> twice = data.take([0, 0, 1])  # data = probes.read_statements(...)
        >>> len(twice.deduplicated()), str(twice.deduplicated().problems[0])
        (2, 'left out: 1 rows that repeat a statement or contradict one')
        """
        first: dict[str, int] = {}
        for i, statement in enumerate(self.statements):
            first.setdefault(statement, i)
        both = set(conflicting(self.statements, self.labels))
        rows = [i for statement, i in first.items() if statement not in both]
        if not rows:
            raise UsageError(f"{self.name}: every statement has both labels, so that none is left.")
        dropped = left_out(f"{len(self) - len(rows)} rows that repeat a statement or contradict one")
        return replace(self.take(rows), problems=(*dropped, *(p for p in self.problems if p.kind == "left-out")))

    def __repr__(self) -> str:
        return f"Statements({self.name}: {len(self)} statements, {int(self.labels.sum())} true)"

    def _repr_html_(self) -> str:
        return f"<pre>{self}</pre>"

    def __str__(self) -> str:
        true = int(self.labels.sum())
        entities = len({entity for row in self.groups for entity in row})
        lines = [
            f"{self.name}: {len(self)} statements, {true} true and {len(self) - true} false, {entities} entities "
            f"({self.grouped_by})"
        ]
        return "\n".join([*lines, *(f"  {problem}" for problem in self.problems)])


def sharing_facts(sets: Sequence[Statements]) -> tuple[Statements, ...]:
    """Return the sets with facts of free text grouped across sets.

    Each fact is one group in all sets. The first statement of a fact, in the order of the sets, names its group.
    Entities, and pairs that a column names, do not change.

    >>> [one.name for one in sharing_facts([data, data.take([0, 1])])]  # data = probes.read_statements(...)
    ['planted', 'planted']
    """
    known: dict[str, str] = {}
    return tuple(_named_by_fact(one, known) if one.group_kind in ("fact", "pair") else one for one in sets)


def _named_by_fact(data: Statements, known: dict[str, str]) -> Statements:
    pairs = data.pair or ("",) * len(data)
    names = [name for row, pair in zip(data.groups, pairs, strict=True) for name in row if name != pair]
    first = dict(zip(names, first_stated(names, known), strict=True))
    return replace(data, groups=tuple(tuple(first.get(name, name) for name in row) for row in data.groups))


def join(sets: Sequence[Statements], name: str | None = None) -> Statements:
    """Join several sets into one.

    Rows without a topic get the name of their set as topic. The names of pairs are prefixed by the name of their set.
    Statements of one fact form one group, see `sharing_facts`.

    Args:
        sets: the sets, in order.
        name: name of the result; by default the names joined by "+".

    Raises:
        UsageError: no sets.

    Example:
        >>> join([data, other.data])  # data = probes.read_statements(...), and so for another set
        Statements(planted+negated: 160 statements, 80 true)
    """
    check_kinds(sets, Statements, "sets", "probes.read_statements")
    if not sets:
        raise UsageError("There is nothing to join: give at least one set of statements.")
    sets = sharing_facts(sets)
    polarity = [s.polarity for s in sets]
    whole = all(p is not None for p in polarity)
    kinds: list[Kind] = [s.group_kind for s in sets]
    return Statements(
        name=name or "+".join(s.name for s in sets),
        statements=tuple(text for s in sets for text in s.statements),
        labels=np.concatenate([s.labels for s in sets]),
        groups=tuple(row for s in sets for row in s.groups),
        grouped_by="; ".join(dict.fromkeys(s.grouped_by for s in sets)),
        group_kind=min(kinds, key=lambda kind: kind not in LOOSE),
        polarity=np.concatenate([p for p in polarity if p is not None]) if whole else None,
        pair=_joined(sets, "pair"),
        topic=tuple(topic for s in sets for topic in (s.topic or (s.name,) * len(s))),
        template=_joined(sets, "template"),
        polarity_by="; ".join(dict.fromkeys(s.polarity_by for s in sets)) if whole else "",
        problems=tuple(replace(problem, text=f"{s.name}: {problem}") for s in sets for problem in s.problems),
    )


def paired(affirmative: Statements, negated: Statements) -> Statements:
    """Join a set and its row-by-row negation into one set.

    The joined set has polarity and pairs.

    Args:
        affirmative: the statements.
        negated: the negation of each row, in the same order.

    Raises:
        UsageError: different numbers of rows, different entities in a row, or equal labels in a row.

    Example:
        >>> len(paired(probes.generate("elements"), probes.generate("elements", negated=True)))
        400
    """
    check_kinds((affirmative, negated), Statements, "the two sets", "probes.read_statements")
    if len(affirmative) != len(negated):
        raise UsageError(
            f"{affirmative.name} has {len(affirmative)} rows and {negated.name} {len(negated)}: pairs need equal "
            "numbers of rows."
        )
    affirmative, negated = sharing_facts((affirmative, negated))
    same = np.array([a == b for a, b in zip(affirmative.groups, negated.groups, strict=True)])
    odd = np.flatnonzero(~same | (affirmative.labels == negated.labels)) + 1
    if len(odd):
        raise UsageError(
            f"{negated.name} does not negate {affirmative.name} row by row: {listed(odd.tolist())} have different "
            "entities or the same label."
        )
    pair, n = tuple(f"{affirmative.name} {i + 1}" for i in range(len(affirmative))), len(affirmative)
    signs = np.repeat(np.array([1, -1], np.int8), n)
    both = join([affirmative, negated])
    return replace(both, polarity=signs, polarity_by="row by row", pair=pair + pair)


def _of_layout_1(text: str) -> Problem:
    """Return the problem for a sentence of layout 1.

    That layout had no kind.
    """
    words: dict[str, Any] = {"left out: ": "left-out", " repeated ": "repeated", "carry both": "contradicted"}
    return Problem(next((kind for word, kind in words.items() if word in text), "unbalanced"), text)


def conflicting(texts: Sequence[str], labels: np.ndarray) -> list[str]:
    """Return the statements that occur with both labels.

    >>> conflicting(["a", "b", "a"], np.array([0, 1, 1]))
    ['a']
    """
    kinds: dict[str, set[int]] = defaultdict(set)
    for text, label in zip(texts, labels.tolist(), strict=True):
        kinds[text].add(label)
    return [text for text, given in kinds.items() if len(given) > 1]


def _joined(sets: Sequence[Statements], key: str) -> tuple[str, ...] | None:
    """Return a column of all sets.

    Pairs are prefixed by the name of their set. None if a set lacks the column.
    """
    columns = [getattr(s, key) for s in sets]
    if any(column is None for column in columns):
        return None
    named = zip(sets, columns, strict=True)
    return tuple(f"{s.name}: {value}" if key == "pair" else value for s, column in named for value in column)
