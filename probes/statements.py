"""Statements that are true or false, with what a fair test needs to know of each: its entities above all."""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Bool, Int, Int8

from interp.arguments import checked
from interp.errors import UsageError
from interp.results import Result
from probes.facts import first_stated
from probes.groups import Groups, Kind, groups_of
from probes.inputs import check_kinds
from probes.rows import Problem, Rows, check_columns, label_of, left_out, listed, rows_of

NEGATION = re.compile(r"\bnot\b|n['’]t\b", re.IGNORECASE)
POLARITIES = {"1": 1, "+1": 1, "1.0": 1, "affirmative": 1, "-1": -1, "-1.0": -1, "negated": -1}
BALANCED = (0.4, 0.6)
"""The fraction of true statements outside which a set is called unbalanced."""
LOOSE: tuple[Kind, ...] = ("fact", "pair", "quoted")
"""Groups that do not hold everything that two statements may share."""
PER_ROW = ("pair", "topic", "template")


@dataclass(frozen=True, eq=False)
class Statements(Result):
    """Statements with labels. Made by `read_statements` or `generate`; saves and loads as any result.

    Attributes:
        name: of the set.
        statements: the texts.
        labels: (n,) 1 for true, 0 for false.
        groups: the entities of each row, one or more: a split puts all rows of an entity on one side.
        grouped_by: how they were found, in words.
        polarity: (n,) +1 affirmative, -1 negated, or None.
        pair: what ties a statement to its negation, or None; rows of one pair say the opposite.
        topic: of each row, or None.
        template: the wording of each row, or None.
        polarity_by: how the polarity was found, in words.
        problems: what is odd about the set. Nothing was dropped but what they say.
        group_kind: how groups were found, as a kind: see `probes.groups`.
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
        """Return the fields of a file of layout 1, whose problems were sentences without a kind, as they are today."""
        if layout != 1:
            return super().upgrade(values, layout)
        return values | {"problems": tuple(_of_layout_1(text) for text in values["problems"])}

    def __post_init__(self) -> None:
        for name in ("labels", "groups", "polarity", *PER_ROW):
            value = getattr(self, name)
            if value is not None and len(value) != len(self.statements):
                raise UsageError(f"{self.name}: {len(self.statements)} statements, but {len(value)} of {name}.")
        if not set(np.unique(self.labels).tolist()) <= {0, 1}:
            raise UsageError(f"{self.name}: labels must be 0 or 1.")

    def __len__(self) -> int:
        return len(self.statements)

    def sha256(self) -> str:
        """Digest of the statements with their labels, in order."""
        rows = list(zip(self.statements, self.labels.tolist(), strict=True))
        return hashlib.sha256(json.dumps(rows, ensure_ascii=False).encode()).hexdigest()

    def take(self, rows: Bool[np.ndarray, " n"] | Int[np.ndarray, " m"] | Sequence[int]) -> Statements:
        """The rows of a mask or of these numbers (from 0), in that order."""
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
        """Without later copies of a statement, and without every statement that has both labels; both are told."""
        first: dict[str, int] = {}
        for i, statement in enumerate(self.statements):
            first.setdefault(statement, i)
        both = set(_conflicting(self.statements, self.labels))
        kept = [i for statement, i in first.items() if statement not in both]
        if not kept:
            raise UsageError(f"{self.name}: every statement carries both labels, so none is left.")
        told = left_out(f"{len(self) - len(kept)} rows that repeat a statement or contradict one")
        return replace(self.take(kept), problems=(*told, *(p for p in self.problems if p.kind == "left-out")))

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


@checked
def read_statements(
    source: str | Path | Iterable[Mapping[str, Any]],
    *,
    group: str | Sequence[str] | None = None,
    statement: str = "statement",
    label: str = "label",
    split: str = "train",
    name: str | None = None,
) -> Statements:
    """Statements from a CSV or JSONL file, a Hugging Face data set ("hf:NAME") or dictionaries in memory.

    Besides the statement and its label (1/0, true/false), the columns `group`, `polarity` (+1/-1 or
    affirmative/negated), `pair`, `topic` and `template` are used where present. Without a column, groups are found by
    a rule (`probes.groups`), and a statement with the word "not" or "n't" counts as negated.

    Args:
        source: where from.
        group: column(s) of the entities, or a regular expression over the statement.
        statement: name of the column with the texts.
        label: name of the column with the labels.
        split: of a Hugging Face data set.
        name: of the set; by default the file's.

    Rows without a statement or a label, or with too few fields, are left out and told in `problems`, as are
    duplicates, conflicting labels and imbalance, which are kept.

    Raises:
        MissingInputError: no such file or data set.
        UsageError: a missing column, a label that is neither 0 nor 1, only one of the two, or no rows at all.
    """
    found = rows_of(source, split)
    check_columns(found, (statement, label))
    numbers, rows, problems = _complete(found, statement, label)
    labels = _labels(found.name, numbers, rows, label)
    texts = tuple(str(row[statement]).strip() for row in rows)
    grouping = groups_of(texts, rows, group)
    polarity, polarity_by = _polarity(texts, numbers, rows)
    return Statements(
        name=name or found.name,
        statements=texts,
        labels=labels,
        groups=grouping.groups,
        grouped_by=grouping.rule,
        group_kind=grouping.kind,
        polarity=polarity,
        **{key: _column(rows, key) for key in PER_ROW},
        polarity_by=polarity_by,
        problems=(*found.problems, *problems, *_oddities(texts, labels, numbers)),
    )


def sharing_facts(sets: Sequence[Statements]) -> tuple[Statements, ...]:
    """Return the sets with one group for each fact of free text, in whichever sets it is stated or denied.

    The group is named by the first statement of the fact, in the order of the sets: a set that shares no fact with
    those before it keeps its groups. Entities, and pairs that a column names, stay as they are.
    """
    known: dict[str, str] = {}
    return tuple(_named_by_fact(one, known) if one.group_kind in ("fact", "pair") else one for one in sets)


def _named_by_fact(data: Statements, known: dict[str, str]) -> Statements:
    pairs = data.pair or ("",) * len(data)
    names = [name for row, pair in zip(data.groups, pairs, strict=True) for name in row if name != pair]
    first = dict(zip(names, first_stated(names, known), strict=True))
    return replace(data, groups=tuple(tuple(first.get(name, name) for name in row) for row in data.groups))


def join(sets: Sequence[Statements], name: str | None = None) -> Statements:
    """Several sets as one. A row's topic is its set's name where it had none; pairs are kept apart by set.

    Statements of one fact are of one group: see `sharing_facts`.
    """
    check_kinds(sets, Statements, "sets", "probes.read_statements")
    if not sets:
        raise UsageError("Nothing to join: give at least one set of statements.")
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
    """Two sets whose rows i say the opposite, as one set with polarity and pairs.

    Raises `UsageError` unless they have as many rows, about the same entities and with opposite labels.
    """
    check_kinds((affirmative, negated), Statements, "the two sets", "probes.read_statements")
    if len(affirmative) != len(negated):
        raise UsageError(
            f"{affirmative.name} has {len(affirmative)} rows and {negated.name} {len(negated)}: pairs need as many."
        )
    affirmative, negated = sharing_facts((affirmative, negated))
    same = np.array([a == b for a, b in zip(affirmative.groups, negated.groups, strict=True)])
    odd = np.flatnonzero(~same | (affirmative.labels == negated.labels)) + 1
    if len(odd):
        raise UsageError(
            f"{negated.name} does not deny {affirmative.name} row by row: {listed(odd.tolist())} differ in entity or "
            "carry the same label."
        )
    pair, n = tuple(f"{affirmative.name} {i + 1}" for i in range(len(affirmative))), len(affirmative)
    signs = np.repeat(np.array([1, -1], np.int8), n)
    both = join([affirmative, negated])
    return replace(both, polarity=signs, polarity_by="row by row", pair=pair + pair)


def _complete(found: Rows, statement: str, label: str) -> tuple[list[int], list[Mapping[str, Any]], list[Problem]]:
    """The rows that have a statement and a label, their numbers, and what is told of the others."""
    problems: list[Problem] = []
    missing = {
        "statement": [i for i, row in found.rows if _blank(row.get(statement))],
        "label": [i for i, row in found.rows if _blank(row.get(label)) and not _blank(row.get(statement))],
    }
    for what, numbers in missing.items():
        if numbers:
            problems += left_out(f"{listed(numbers)} without a {what}")
    incomplete = {i for numbers in missing.values() for i in numbers}
    kept = [(i, row) for i, row in found.rows if i not in incomplete]
    if not kept:
        raise UsageError(f"{found.name} holds no row with a statement and a label.")
    return [i for i, _ in kept], [row for _, row in kept], problems


def _labels(name: str, numbers: Sequence[int], rows: Sequence[Mapping[str, Any]], label: str) -> Int8[np.ndarray, " n"]:
    values = [label_of(row[label]) for row in rows]
    bad = [i for i, value in enumerate(values) if value is None]
    if bad:
        where = listed(numbers[i] for i in bad)
        raise UsageError(f'{name}: the label "{rows[bad[0]][label]}" ({where}) is neither 0 nor 1 (or false and true).')
    labels = np.array(values, np.int8)
    if len(set(values)) == 1:
        word = "true" if values[0] else "false"
        raise UsageError(f"{name}: all {len(labels)} statements are {word}; a probe needs both classes.")
    return labels


def _polarity(
    texts: Sequence[str], numbers: Sequence[int], rows: Sequence[Mapping[str, Any]]
) -> tuple[Int8[np.ndarray, " n"], str]:
    if "polarity" not in rows[0]:
        return np.array([-1 if NEGATION.search(t) else 1 for t in texts], np.int8), 'the words "not" and "n\'t"'
    values = [POLARITIES.get(str(row.get("polarity")).strip().lower()) for row in rows]
    bad = [i for i, value in enumerate(values) if value is None]
    if bad:
        given = rows[bad[0]].get("polarity")
        where = listed(numbers[i] for i in bad)
        raise UsageError(f'The polarity "{given}" ({where}) is neither 1 (affirmative) nor -1 (negated).')
    return np.array(values, np.int8), "the column polarity"


def _column(rows: Sequence[Mapping[str, Any]], key: str) -> tuple[str, ...] | None:
    return tuple(str(row.get(key, "")).strip() for row in rows) if key in rows[0] else None


def _oddities(texts: Sequence[str], labels: np.ndarray, numbers: Sequence[int]) -> list[Problem]:
    seen: dict[str, list[int]] = defaultdict(list)
    for text, number in zip(texts, numbers, strict=True):
        seen[text].append(number)
    found: list[Problem] = []
    if repeats := [number for rows in seen.values() for number in rows[1:]]:
        found.append(Problem("repeated", f"{len(repeats)} repeated statements: {listed(sorted(repeats))}"))
    if both := _conflicting(texts, labels):
        where = listed(sorted(number for text in both for number in seen[text]))
        found.append(Problem("contradicted", f"{len(both)} statements carry both labels: {where}"))
    true = float(labels.mean())
    if not BALANCED[0] <= true <= BALANCED[1]:
        text = f"unbalanced: {true:.0%} of the statements are true, so that accuracy alone misleads"
        found.append(Problem("unbalanced", text))
    return found


def _of_layout_1(text: str) -> Problem:
    """The kind of a sentence as layout 1 worded it; that of a joined set follows the name of its part."""
    words: dict[str, Any] = {"left out: ": "left-out", " repeated ": "repeated", "carry both": "contradicted"}
    return Problem(next((kind for word, kind in words.items() if word in text), "unbalanced"), text)


def _conflicting(texts: Sequence[str], labels: np.ndarray) -> list[str]:
    kinds: dict[str, set[int]] = defaultdict(set)
    for text, label in zip(texts, labels.tolist(), strict=True):
        kinds[text].add(label)
    return [text for text, found in kinds.items() if len(found) > 1]


def _joined(sets: Sequence[Statements], key: str) -> tuple[str, ...] | None:
    """A column of all sets, its values marked with their set's name; None if any set has none."""
    columns = [getattr(s, key) for s in sets]
    if any(column is None for column in columns):
        return None
    marked = zip(sets, columns, strict=True)
    return tuple(f"{s.name}: {value}" if key == "pair" else value for s, column in marked for value in column)


def _blank(value: Any) -> bool:
    return value is None or str(value).strip() == ""
