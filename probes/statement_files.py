"""Statements read from CSV and JSONL files, with the problems of their rows."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int8

from interp.arguments import checked
from interp.errors import UsageError
from probes.groups import groups_of
from probes.rows import Problem, Rows, check_columns, label_of, left_out, listed, read_rows
from probes.statements import PER_ROW, Statements, conflicting

NEGATION = re.compile(r"\bnot\b|n['’]t\b", re.IGNORECASE)
POLARITIES = {"1": 1, "+1": 1, "1.0": 1, "affirmative": 1, "-1": -1, "-1.0": -1, "negated": -1}
BALANCED = (0.4, 0.6)
"""A set is called unbalanced if its fraction of true statements is outside this range."""


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
    """Read labelled statements from a file, a Hugging Face dataset or memory.

    Besides the statement and its label (1/0 or true/false), the columns `group`, `polarity` (+1/-1 or
    affirmative/negated), `pair`, `topic` and `template` are used if present. Without the column, groups follow a rule
    (`probes.groups`), and a statement with the word "not" or "n't" counts as negated.

    Rows without a statement or a label, or with too few fields, are left out. `problems` reports them, and also
    duplicates, conflicting labels and imbalance, which are not removed.

    Args:
        source: a CSV, TSV or JSONL file, "hf:NAME" for a Hugging Face dataset, or an iterable of dictionaries.
        group: column(s) of the entities, or a regular expression applied to the statement.
        statement: name of the column with the texts.
        label: name of the column with the labels.
        split: split of a Hugging Face dataset.
        name: name of the set; by default that of the file.

    Returns:
        `Statements`.

    Raises:
        MissingInputError: the file or dataset does not exist.
        UsageError: a missing column, a label that is neither 0 nor 1, one class only, or no rows.

    Example:
        >>> rows = [{"statement": "Stones sink.", "label": True}, {"statement": "Stones float.", "label": False}]
        >>> probes.read_statements(rows).labels.tolist()
        [1, 0]
    """
    table = read_rows(source, split)
    check_columns(table, (statement, label))
    numbers, rows, problems = _complete(table, statement, label)
    labels = _labels(table.name, numbers, rows, label)
    texts = tuple(str(row[statement]).strip() for row in rows)
    grouping = groups_of(texts, rows, group)
    polarity, polarity_by = _polarity(texts, numbers, rows)
    return Statements(
        name=name or table.name,
        statements=texts,
        labels=labels,
        groups=grouping.groups,
        grouped_by=grouping.rule,
        group_kind=grouping.kind,
        polarity=polarity,
        **{key: _column(rows, key) for key in PER_ROW},
        polarity_by=polarity_by,
        problems=(*table.problems, *problems, *_content_problems(texts, labels, numbers)),
    )


def _complete(table: Rows, statement: str, label: str) -> tuple[list[int], list[Mapping[str, Any]], list[Problem]]:
    """Return the complete rows and the problems of the others.

    A complete row has a statement and a label; its number and values are returned.
    """
    problems: list[Problem] = []
    missing = {
        "statement": [i for i, row in table.rows if _blank(row.get(statement))],
        "label": [i for i, row in table.rows if _blank(row.get(label)) and not _blank(row.get(statement))],
    }
    for what, numbers in missing.items():
        if numbers:
            problems += left_out(f"{listed(numbers)} without a {what}")
    incomplete = {i for numbers in missing.values() for i in numbers}
    complete = [(i, row) for i, row in table.rows if i not in incomplete]
    if not complete:
        raise UsageError(f"{table.name} has no row with a statement and a label.")
    return [i for i, _ in complete], [row for _, row in complete], problems


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


def _content_problems(texts: Sequence[str], labels: np.ndarray, numbers: Sequence[int]) -> list[Problem]:
    """Return the problems of repeated, contradicted and unbalanced statements."""
    seen: dict[str, list[int]] = defaultdict(list)
    for text, number in zip(texts, numbers, strict=True):
        seen[text].append(number)
    problems: list[Problem] = []
    if repeats := [number for rows in seen.values() for number in rows[1:]]:
        problems.append(Problem("repeated", f"{len(repeats)} repeated statements: {listed(sorted(repeats))}"))
    if both := conflicting(texts, labels):
        where = listed(sorted(number for text in both for number in seen[text]))
        problems.append(Problem("contradicted", f"{len(both)} statements carry both labels: {where}"))
    true = float(labels.mean())
    if not BALANCED[0] <= true <= BALANCED[1]:
        text = f"unbalanced: {true:.0%} of the statements are true, so that accuracy alone misleads"
        problems.append(Problem("unbalanced", text))
    return problems


def _blank(value: Any) -> bool:
    return value is None or str(value).strip() == ""
