"""Scores: a number with its interval and what it was judged on, or the sentence that says why there is none.

Intervals are 95 % ones. Loads no torch.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from interp.results import Result


@dataclass(frozen=True, eq=False)
class Score(Result):
    """One measure.

    Attributes:
        name: what is measured.
        group: the part of the judgement it belongs to, such as "reconstruction".
        value: None where it could not be computed; `why` then says what was missing.
        low: end of the 95 % interval, None where there is none.
        high: likewise.
        unit: "fraction", "nats", "latents", "cosine", "ratio".
        judged_on: what and how many, such as "4,096 rows in 32 contexts".
        better: "lower", "higher", or "" where neither is.
        why: why there is no value; with a value, what must be known to read it.
    """

    name: str
    group: str
    value: float | None
    low: float | None = None
    high: float | None = None
    unit: str = "fraction"
    judged_on: str = ""
    better: str = ""
    why: str = ""

    def __str__(self) -> str:
        if self.value is None:
            return f"{self.name}: not computed ({self.why})"
        interval = "" if self.low is None or self.high is None else f" ({self.low:.4g} to {self.high:.4g})"
        return f"{self.name}: {self.value:.4g}{interval}"


def unavailable(name: str, group: str, why: str) -> Score:
    """A score that could not be computed."""
    return Score(name, group, None, why=why)


def apart(seed: int, purpose: str) -> int:
    """A seed for one purpose that shares nothing with `seed` itself.

    A random dictionary drawn with the very seed that a planted one was drawn with *is* the planted one: chance would
    look like perfection.
    """
    return int.from_bytes(hashlib.sha256(f"{purpose} {seed}".encode()).digest()[:6])
