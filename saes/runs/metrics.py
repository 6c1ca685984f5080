"""Log of a run, metrics.jsonl: one JSON object per logged step.

Only "seconds", the training time so far, depends on the clock. Every metric is in the checkpoint as well, so that the
log of a resumed run is rewritten up to the checkpoint and ends like that of an uninterrupted run.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from interp.errors import InterpError, UsageError
from interp.files import parse_json, read_text, write_atomic
from saes.config import METRICS

NAME = "metrics.jsonl"
WHOLE = ("step", "dead")


class Log:
    """Log of a run, to which training appends."""

    def __init__(self, folder: Path, every: int, last: int) -> None:
        self._file, self._every, self._last = folder / NAME, every, last

    def begin(self, history: dict[str, np.ndarray]) -> None:
        """Write the log of the steps so far.

        `history` has an array for each metric.
        """
        names = list(history)
        rows = zip(*(history[name].tolist() for name in names), strict=True)
        lines = [self._line(dict(zip(names, row, strict=True))) for row in rows]
        write_atomic(self._file, "".join(line for line in lines if line).encode())

    def add(self, metrics: dict[str, float]) -> None:
        """Append the metrics of a step if it is logged."""
        line = self._line(metrics)
        if not line:
            return
        try:
            with self._file.open("a", encoding="utf-8") as stream:
                stream.write(line)
        except OSError as error:
            raise UsageError(f"Cannot write {self._file}: {error.strerror or error}. Free some space.") from error

    def _line(self, metrics: dict[str, float]) -> str:
        step = int(metrics["step"])
        if step % self._every and step != self._last:
            return ""
        return json.dumps({name: _plain(name, value) for name, value in metrics.items()}, allow_nan=False) + "\n"


def last(folder: Path) -> dict[str, float]:
    """Return the metrics of the last logged step in a folder.

    Empty if no step was logged.

    >>> last(folder)  # folder = "out/sae", without a log
    {}
    """
    try:
        row = parse_json(read_text(folder / NAME).splitlines()[-1], folder / NAME)
    except (InterpError, IndexError):
        return {}
    numbers = isinstance(row, dict) and all(type(value) in (int, float) for value in row.values())
    return row if numbers and row.keys() >= set(METRICS) else {}


def read(folder: Path) -> dict[str, np.ndarray]:
    """Return the metrics of every logged step by name.

    Empty if there is no log or none of it can be read.

    >>> read(folder)  # folder = "out/sae", without a log
    {}
    """
    try:
        rows = [parse_json(line, folder / NAME) for line in read_text(folder / NAME).splitlines()]
    except InterpError:
        return {}
    whole = [row for row in rows if isinstance(row, dict) and row.keys() >= set(METRICS)]
    return {name: np.array([row[name] for row in whole], float) for name in METRICS} if whole else {}


def _plain(name: str, value: float) -> Any:
    return int(value) if name in WHOLE else float(value)
