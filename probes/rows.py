"""Rows of statements from a file, a Hugging Face data set or memory: what could not be read is told, with its row.

Rows are counted from 1, a table's header not counted.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from interp.errors import DamagedFileError, MissingInputError, UsageError, nearest
from interp.results import Result

HUGGING_FACE = "hf:"
WORDS = {"true": 1, "false": 0, "1": 1, "0": 0, "1.0": 1, "0.0": 0}
SHOWN = 3
"""Rows named in a message; the rest are counted."""


@dataclass(frozen=True, eq=False)
class Problem(Result):
    """What is odd about a set of statements, as a kind and in words.

    Attributes:
        kind: "left-out": rows that are not in the set. The others are in it: "repeated" statements, "contradicted"
            ones with both labels, an "unbalanced" set.
        text: what it is, with row numbers (from 1).
    """

    kind: Literal["left-out", "repeated", "contradicted", "unbalanced"]
    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Rows:
    """What a source held: `rows` by column name, each with its number, and what was left out."""

    name: str
    rows: tuple[tuple[int, Mapping[str, Any]], ...]
    columns: tuple[str, ...]
    problems: tuple[Problem, ...] = ()


def rows_of(source: Any, split: str) -> Rows:
    """The rows of a path (.csv, .tsv, .jsonl), of "hf:NAME", or of an iterable of dictionaries.

    Raises:
        MissingInputError: no such file or data set.
        DamagedFileError: a file that is not text in UTF-8.
        UsageError: another kind of file, an empty one, or rows that are no dictionaries.
    """
    if isinstance(source, str) and source.startswith(HUGGING_FACE):
        return _hugging_face(source.removeprefix(HUGGING_FACE), split)
    if isinstance(source, str | Path):
        return _file(Path(source))
    if not isinstance(source, Iterable):
        raise UsageError(f'Statements come from a file, "hf:NAME" or rows, not from {type(source).__name__}.')
    found = list(source)
    if not all(isinstance(row, Mapping) for row in found):
        raise UsageError('Rows in memory are dictionaries such as {"statement": "…", "label": 1}.')
    return _numbered("rows", enumerate(found, 1))


def label_of(value: Any) -> int | None:
    """1 or 0 for a label that is 1, 0, true or false in any spelling of these; None for anything else."""
    return WORDS.get(str(value).strip().lower())


def listed(rows: Iterable[int]) -> str:
    """Row numbers in words: "row 3" or "rows 3, 5, 8 and 12 more".

    >>> listed([3])
    'row 3'
    >>> listed([3, 5, 8, 9, 11])
    'rows 3, 5, 8 and 2 more'
    """
    numbers = list(rows)
    shown = ", ".join(map(str, numbers[:SHOWN]))
    more = f" and {len(numbers) - SHOWN} more" if len(numbers) > SHOWN else ""
    return f"row{'s' * (len(numbers) > 1)} {shown}{more}"


def left_out(what: str) -> tuple[Problem]:
    """Return the problem that some rows are not in the set."""
    return (Problem("left-out", f"left out: {what}"),)


def _file(path: Path) -> Rows:
    readers = {".csv": _csv, ".tsv": _tsv, ".jsonl": _jsonl, ".ndjson": _jsonl}
    if path.suffix.lower() not in readers:
        raise UsageError(f"{path} is neither .csv, .tsv nor .jsonl: statements are read from one of these.")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:  # some tools write a byte order mark
            text = file.read()
    except FileNotFoundError as error:
        raise MissingInputError(f'No file "{path}": give a CSV or JSONL of statements and labels.') from error
    except (OSError, UnicodeDecodeError) as error:
        raise DamagedFileError(f"{path} cannot be read as UTF-8 text: {error}.") from error
    if not text.strip():
        raise UsageError(f"{path} is empty: a line for each statement was expected.")
    return readers[path.suffix.lower()](path, text)


def _csv(path: Path, text: str, delimiter: str = ",") -> Rows:
    """RFC 4180: quoted fields may hold commas, line breaks and doubled quotes."""
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, strict=True)
    rows, short = [], []
    try:
        header = [name.strip() for name in next(reader)]
        if twice := sorted({name for name in header if header.count(name) > 1}):
            raise UsageError(f'{path} names the column "{twice[0]}" twice: give each column a name of its own.')
        for number, fields in enumerate((fields for fields in reader if fields), 1):
            if len(fields) == len(header):
                rows.append((number, dict(zip(header, fields, strict=True))))
            else:
                short.append(number)
    except csv.Error as error:
        raise DamagedFileError(f"{path}, line {reader.line_num}, is not CSV: {error}.") from error
    problems = left_out(f"{listed(short)} without the header's {len(header)} fields") if short else ()
    return Rows(path.stem, tuple(rows), tuple(header), problems)


def _tsv(path: Path, text: str) -> Rows:
    return _csv(path, text, "\t")


def _jsonl(path: Path, text: str) -> Rows:
    rows, bad = [], []
    for number, line in enumerate((line for line in text.splitlines() if line.strip()), 1):
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            row = None
        if isinstance(row, dict):
            rows.append((number, row))
        else:
            bad.append(number)
    problems = left_out(f"{listed(bad)}, which hold no JSON object") if bad else ()
    return _numbered(path.stem, rows, problems)


def _hugging_face(name: str, split: str) -> Rows:
    import datasets

    try:
        found = datasets.load_dataset(name, split=split)
    except Exception as error:  # the client raises a dozen kinds; what a user can do is the same for all
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise MissingInputError(f'No split "{split}" of the data set "{name}" could be had: {reason}') from error
    return _numbered(name.rpartition("/")[2], enumerate((dict(row) for row in found), 1))


def _numbered(name: str, rows: Iterable[tuple[int, Mapping[str, Any]]], problems: tuple[Problem, ...] = ()) -> Rows:
    taken = tuple(rows)
    columns = dict.fromkeys(key for _, row in taken for key in row)
    return Rows(name, taken, tuple(columns), problems)


def check_columns(found: Rows, wanted: Iterable[str]) -> None:
    """`UsageError` naming the first column that is missing, and those that are there."""
    for name in wanted:
        if name not in found.columns:
            present = ", ".join(found.columns) or "none"
            raise UsageError(
                f'{found.name} has no column "{name}"{nearest(name, found.columns)}. Its columns: {present}.'
            )
