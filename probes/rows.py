"""Rows of statements from files, Hugging Face datasets or memory.

A report says what could not be read.

Rows are numbered from 1; the header of a table is not counted.
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
"""Number of rows a message names; the rest are only counted."""


@dataclass(frozen=True, eq=False)
class Problem(Result):
    """Problem of a set of statements, as a kind and a text.

    Attributes:
        kind: "left-out" for rows that are not in the set. For rows that are in it: "repeated" statements,
            "contradicted" statements with both labels, or an "unbalanced" set.
        text: description with row numbers (from 1).

    Example:
        >>> print(Problem("repeated", "2 repeated statements: rows 3, 5"))
        2 repeated statements: rows 3, 5
    """

    kind: Literal["left-out", "repeated", "contradicted", "unbalanced"]
    text: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Rows:
    """Rows of a source, and the problems of reading it.

    Each row has its number and its values by column name.

    >>> Rows("mine", ((1, {"statement": "Stones sink.", "label": 1}),), ("statement", "label")).columns
    ('statement', 'label')
    """

    name: str
    rows: tuple[tuple[int, Mapping[str, Any]], ...]
    columns: tuple[str, ...]
    problems: tuple[Problem, ...] = ()


def read_rows(source: Any, split: str) -> Rows:
    """Read rows from a file, a dataset or dictionaries.

    A file is .csv, .tsv or .jsonl; a dataset is "hf:NAME".

    Raises:
        MissingInputError: the file or dataset does not exist.
        DamagedFileError: the file is not UTF-8 text.
        UsageError: another type of file, an empty one, or rows that are not dictionaries.

    Example:
        >>> read_rows([{"statement": "Stones sink.", "label": 1}], split="train").columns
        ('statement', 'label')
    """
    if isinstance(source, str) and source.startswith(HUGGING_FACE):
        return _hugging_face(source.removeprefix(HUGGING_FACE), split)
    if isinstance(source, str | Path):
        return _file(Path(source))
    if not isinstance(source, Iterable):
        raise UsageError(
            f'Statements are read from a file, "hf:NAME" or dictionaries, not from {type(source).__name__}.'
        )
    rows = list(source)
    if not all(isinstance(row, Mapping) for row in rows):
        raise UsageError('Rows in memory must be dictionaries such as {"statement": "…", "label": 1}.')
    return _numbered("rows", enumerate(rows, 1))


def label_of(value: Any) -> int | None:
    """Convert a value to a label 1 or 0, or None.

    Labels are 0, 1, true and false in any spelling; anything else gives None.

    >>> label_of("True"), label_of("0.0"), label_of("maybe")
    (1, 0, None)
    """
    return WORDS.get(str(value).strip().lower())


def listed(rows: Iterable[int]) -> str:
    """Return row numbers as text, a long list shortened.

    For example "row 3" or "rows 3, 5, 8 and 12 more".

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
    """Return the problem that some rows are not in the set.

    >>> left_out("row 3 without a label")[0].text
    'left out: row 3 without a label'
    """
    return (Problem("left-out", f"left out: {what}"),)


def _file(path: Path) -> Rows:
    readers = {".csv": _csv, ".tsv": _tsv, ".jsonl": _jsonl, ".ndjson": _jsonl}
    if path.suffix.lower() not in readers:
        raise UsageError(f"{path} is not a .csv, .tsv or .jsonl file: convert it to one of these.")
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:  # some tools write a byte order mark
            text = file.read()
    except FileNotFoundError as error:
        raise MissingInputError(
            f'There is no file "{path}": give a CSV or JSONL file of statements and labels.'
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise DamagedFileError(f"{path} cannot be read as UTF-8 text: {error}.") from error
    if not text.strip():
        raise UsageError(f"{path} is empty: one line per statement is expected.")
    return readers[path.suffix.lower()](path, text)


def _csv(path: Path, text: str, delimiter: str = ",") -> Rows:
    """Parse CSV after RFC 4180.

    Quoted fields may contain commas, line breaks and doubled quotes.
    """
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, strict=True)
    rows, short = [], []
    try:
        header = [name.strip() for name in next(reader)]
        if twice := sorted({name for name in header if header.count(name) > 1}):
            raise UsageError(f'{path} has two columns named "{twice[0]}": give each column its own name.')
        for number, fields in enumerate((fields for fields in reader if fields), 1):
            if len(fields) == len(header):
                rows.append((number, dict(zip(header, fields, strict=True))))
            else:
                short.append(number)
    except csv.Error as error:
        raise DamagedFileError(f"Line {reader.line_num} of {path} is not valid CSV: {error}.") from error
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
    problems = left_out(f"{listed(bad)} without a JSON object") if bad else ()
    return _numbered(path.stem, rows, problems)


def _hugging_face(name: str, split: str) -> Rows:
    import datasets

    try:
        dataset = datasets.load_dataset(name, split=split)
    except Exception as error:  # the client raises a dozen types, and the user can do the same about all of them
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise MissingInputError(f'The split "{split}" of the dataset "{name}" could not be loaded: {reason}') from error
    return _numbered(name.rpartition("/")[2], enumerate((dict(row) for row in dataset), 1))


def _numbered(name: str, rows: Iterable[tuple[int, Mapping[str, Any]]], problems: tuple[Problem, ...] = ()) -> Rows:
    rows = tuple(rows)
    columns = dict.fromkeys(key for _, row in rows for key in row)
    return Rows(name, rows, tuple(columns), problems)


def check_columns(table: Rows, required: Iterable[str]) -> None:
    """Raise `UsageError` if a required column is missing.

    >>> check_columns(read_rows([{"statement": "Stones sink.", "label": 1}], split="train"), ["label"])
    """
    for name in required:
        if name not in table.columns:
            present = ", ".join(table.columns) or "none"
            raise UsageError(
                f'{table.name} has no column "{name}"{nearest(name, table.columns)}. Its columns are: {present}.'
            )
