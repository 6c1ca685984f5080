"""What an explanation holds. No torch here: a saved one is read and drawn without it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from interp.attribution.results import Attribution, Direct, LogitLens
from interp.provenance import Provenance
from interp.results import Result

if TYPE_CHECKING:
    from interp.report import Page


@dataclass(frozen=True, eq=False)
class Config(Result):
    """What is explained.

    `target` and `versus` are texts of exactly one token; without `versus` the logit of `target` itself is explained.
    `position` is where the prediction is read, negative from the end; `top` how many components are shown one by one.
    """

    prompt: str
    target: str
    versus: str | None = None
    position: int = -1
    top: int = 10


@dataclass(frozen=True, eq=False)
class HeadView(Result):
    """One head: where it looks (`pattern`, query by key, fractions) and what it takes from each position."""

    name: str
    contribution: float
    pattern: np.ndarray
    by_source: Attribution


@dataclass(frozen=True, eq=False)
class Explanation(Result):
    """Everything the report says about one prediction.

    `next_tokens` and `next_probabilities` are the likeliest continuations at `position` (counted from the start);
    `logit_error` is how far the frozen map lies from the model's logits, relative to the largest.
    """

    config: Config
    provenance: Provenance
    tokens: tuple[str, ...]
    position: int
    next_tokens: tuple[str, ...]
    next_probabilities: tuple[float, ...]
    logit_error: float
    direct: Direct
    lens: LogitLens
    heads: tuple[HeadView, ...]

    @property
    def total(self) -> float:
        """The explained logit or logit difference, as the sum of its direct contributions."""
        return self.direct.total

    @property
    def error(self) -> float:
        """The largest relative error of any decomposition in this explanation."""
        return max(self.logit_error, self.direct.error, self.lens.error, *(head.by_source.error for head in self.heads))

    def summary(self) -> str:
        """The finding in a few lines of text."""
        from analyses.explain.page import finding

        largest = "\n".join(f"  {name:<8} {value:+.3f}" for name, value in self.direct.top(self.config.top))
        sums = f"sum of all {len(self.direct.labels)} direct contributions {self.total:+.6f}"
        return (
            f"{finding(self)}\n"
            f"Largest direct contributions, in logits:\n{largest}\n"
            f"{sums}, the model's own {self.direct.value:+.6f}, relative error {self.direct.error:.1e}"
        )

    def to_dict(self) -> dict[str, Any]:
        """The finding as plain values, for `--json`."""
        from analyses.explain.page import finding

        return {
            "finding": finding(self),
            "target": self.direct.target,
            "total": self.total,
            "model_value": self.direct.value,
            "error": self.error,
            "contributions": dict(self.direct.top(self.config.top)),
        }

    def page(self) -> Page:
        """The report."""
        from analyses.explain.page import page

        return page(self)
