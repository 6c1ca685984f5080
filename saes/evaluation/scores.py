"""Scores: a number with its interval and what it was judged on, or the sentence that says why there is none.

Intervals are 95 % ones. Loads no torch.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from interp.results import Result

DRAWS = 1000
"""Bootstrap samples."""


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


@dataclass(frozen=True)
class Bootstrap:
    """Intervals for ratios of sums, by drawing whole clusters (contexts, blocks of rows) with replacement.

    Rows of one context are not independent: drawing rows would give intervals that are too narrow. All ratios share
    the same draws, so that their differences can be formed draw by draw.
    """

    weights: Float[np.ndarray, "draw cluster"]

    @classmethod
    def of(cls, clusters: int, seed: int) -> Bootstrap:
        """`DRAWS` draws of so many clusters."""
        draw = np.random.default_rng(seed)
        return cls(draw.multinomial(clusters, np.full(clusters, 1 / clusters), size=DRAWS).astype(float))

    def ratio(
        self, top: Float[np.ndarray, " cluster"], bottom: Float[np.ndarray, " cluster"]
    ) -> tuple[float, float | None, float | None]:
        """Σ top / Σ bottom with its percentile interval; no interval from fewer than two clusters.

        Raises `ZeroDivisionError` when Σ bottom is 0: callers say what that means.
        """
        if bottom.sum() == 0:
            raise ZeroDivisionError
        value = float(top.sum() / bottom.sum())
        if len(top) < 2:
            return value, None, None
        below = self.weights @ bottom
        kept = below != 0
        return value, *interval((self.weights @ top)[kept] / below[kept])


def interval(draws: Float[np.ndarray, " draw"]) -> tuple[float, float]:
    """The middle 95 % of `draws`."""
    low, high = np.percentile(draws, (2.5, 97.5))
    return float(low), float(high)


def jackknife(value: float, without: Float[np.ndarray, " cluster"]) -> tuple[float | None, float | None]:
    """Value ± 1.96 standard errors from the values got by leaving out one cluster at a time, kept within 0..1."""
    count = len(without)
    if count < 2:
        return None, None
    error = float(np.sqrt((count - 1) / count * np.square(without - without.mean()).sum()))
    return max(0.0, value - 1.96 * error), min(1.0, value + 1.96 * error)
