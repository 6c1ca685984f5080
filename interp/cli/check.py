"""One line of what `interp doctor` found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Check:
    """`missing` is something one can do without, `broken` is not; `remedy` says how to mend it."""

    name: str
    state: Literal["ok", "missing", "broken"]
    found: str
    remedy: str = ""
