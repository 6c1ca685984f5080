"""A user's own pairs, read from CSV or JSONL."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from interp.errors import DamagedFileError, MissingInputError, UsageError, require
from interp.tasks.pairs import Pair, Pairs

if TYPE_CHECKING:
    from interp.model import Model
    from interp.tasks.task import Task

REQUIRED = ("clean", "counterfactual", "right", "wrong")
SEPARATOR = "|"
"""Between the answers of a set in CSV; JSONL takes a list."""


@overload
def read(path: str | Path, model: None = None) -> Pairs: ...
@overload
def read(path: str | Path, model: Model) -> Task: ...
def read(path: str | Path, model: Model | None = None) -> Pairs | Task:
    r"""Read pairs of prompts from a `.csv` or `.jsonl` file.

    Columns: clean, counterfactual, right, wrong and, optionally, template. Answers are joined to the prompts as they
    stand, so most begin with a blank (" Paris"); several right or wrong answers are separated by "|" in CSV and are a
    list in JSONL. Prompts of one pair must have equal numbers of tokens; different pairs need not.

    Args:
        path: the file.
        model: gives the tokenizer: the result is a `Task`. Without it, `Pairs` in words, to be turned into a task with
            `.encode(model)`; everything that takes a task takes them too.

    Returns:
        The task, or the pairs in words.

    Raises:
        MissingInputError: no such file.
        DamagedFileError: a missing column or cell, or a line that is not JSON, by its number.
        UsageError: another suffix; a pair whose prompts differ in length, by its number.

    >>> _ = (folder / "towers.csv").write_text("clean,counterfactual,right,wrong\na tower,a b, Paris, London\n")
    >>> read(folder / "towers.csv").pairs[0].label
    'a tower → Paris / London'
    """
    require(path, (str, PathLike), "path")
    path = Path(path)
    if path.suffix not in (".csv", ".jsonl"):
        raise UsageError(f'Pairs are read from .csv or .jsonl files, not from "{path.name}".')
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise MissingInputError(f"{path} cannot be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise DamagedFileError(f"{path} is not UTF-8 text ({error.reason}): convert it first.") from error
    rows = _csv_rows(text, path) if path.suffix == ".csv" else _json_rows(text, path)
    pairs = Pairs(path.stem, tuple(_pair(row, number, path) for number, row in rows))
    if not len(pairs):
        raise DamagedFileError(f"{path} holds no pairs.")
    return pairs if model is None else pairs.encode(model)


def _csv_rows(text: str, path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    reader = csv.DictReader(io.StringIO(text))
    missing = [name for name in REQUIRED if name not in (reader.fieldnames or ())]
    if missing:
        raise DamagedFileError(
            f"{path} has no column {', '.join(missing)}: the first line must name {', '.join(REQUIRED)}."
        )
    for row in reader:
        yield reader.line_num, row


def _json_rows(text: str, path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise DamagedFileError(f"Line {number} of {path} is not JSON: {error.msg}.") from error
        if not isinstance(row, dict):
            raise DamagedFileError(f"Line {number} of {path} is not a JSON object.")
        yield number, row


def _pair(row: dict[str, Any], number: int, path: Path) -> Pair:
    for name in ("clean", "counterfactual"):
        if not isinstance(row.get(name), str) or not row[name]:
            raise DamagedFileError(f'Line {number} of {path} has no text under "{name}".')
    right, wrong = (_answers(row.get(name), name, number, path) for name in ("right", "wrong"))
    template = row.get("template")
    return Pair(row["clean"], row["counterfactual"], right, wrong, template if isinstance(template, str) else "")


def _answers(value: Any, name: str, number: int, path: Path) -> tuple[str, ...]:
    words = value.split(SEPARATOR) if isinstance(value, str) else value
    if not isinstance(words, list) or not words or not all(isinstance(one, str) and one for one in words):
        raise DamagedFileError(f'Line {number} of {path} has no answer under "{name}": give a text or several.')
    return tuple(words)
