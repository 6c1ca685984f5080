"""What an explanation holds. No torch here: a saved one is read and drawn without it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from interp.attribution.paths import PathTree
from interp.attribution.results import Attribution, Direct, LogitLens, Orders, Sources, Verification
from interp.provenance import Provenance
from interp.results import Result

if TYPE_CHECKING:
    from interp.report import Page


GROUPS = ("path", "token", "component")
PATTERN_TOKENS = 64


@dataclass(frozen=True, eq=False)
class Config(Result):
    """What is explained.

    `target` and `versus` are texts of exactly one token; without `versus` the logit of `target` itself is explained.
    `position` is where the prediction is read, negative from the end; `top` how many components, paths and cuts are
    shown one by one; `max_expansions` bounds the path tree (300 nodes by default, 20,000 with `certify`, which goes on
    until the paths shown are certain to be the largest there are). `group` says how its paths are listed: one by one
    ("path"), summed by the token they begin at ("token"), or by their components whatever the positions ("component").
    """

    prompt: str
    target: str
    versus: str | None = None
    position: int = -1
    top: int = 10
    max_expansions: int | None = None
    certify: bool = False
    group: str = "path"


@dataclass(frozen=True, eq=False)
class HeadView(Result):
    """One head: where it looks and what it takes from each position.

    `attention` is the row of its pattern at the explained position (fractions); `pattern` the whole, query by key,
    or None for a prompt of more than `PATTERN_TOKENS`, whose picture no page could hold.
    """

    name: str
    contribution: float
    attention: np.ndarray
    pattern: np.ndarray | None
    by_source: Attribution


@dataclass(frozen=True, eq=False)
class Hop(Result):
    """A step of a listed path through one head: why it looks from `query` to `key`.

    `attention` is the query's row of the pattern; `score` the pre-softmax score, `top_pairs` its largest terms as
    (query writer, key writer, value), and `error` the relative error of their sum.
    """

    head: str
    query: int
    key: int
    attention: np.ndarray
    score: float
    top_pairs: tuple[tuple[str, str, float], ...]
    error: float


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
    sources: Sources
    orders: Orders
    tree: PathTree
    hops: tuple[Hop, ...]
    verification: Verification | None

    @property
    def total(self) -> float:
        """The explained logit or logit difference, as the sum of its direct contributions."""
        return self.direct.total

    @property
    def error(self) -> float:
        """The largest relative error of any decomposition in this explanation."""
        whole = (self.logit_error, self.direct.error, self.lens.error, self.sources.error, self.orders.error)
        parts = (*(head.by_source.error for head in self.heads), *(hop.error for hop in self.hops))
        return max(*whole, self.tree.error, *parts)

    def summary(self) -> str:
        """The finding in a few lines of text."""
        from analyses.explain.page import finding

        largest = "\n".join(f"  {name:<8} {value:+.3f}" for name, value in self.direct.top(self.config.top))
        sums = f"sum of all {len(self.direct.labels)} direct contributions {self.total:+.6f}"
        paths = "\n".join(f"  {path}" for path in self.tree.paths(self.config.top))
        return (
            f"{finding(self)}\n"
            f"Largest direct contributions, in logits:\n{largest}\n"
            f"{sums}, the model's own {self.direct.value:+.6f}, relative error {self.direct.error:.1e}\n"
            f"Largest complete paths found, in logits ({self.tree.standing(self.config.top)}):\n{paths}"
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
            "certified_paths": self.tree.certified(self.config.top),
            "paths": {" <- ".join(path.components): path.value for path in self.tree.paths(self.config.top)},
        }

    def page(self) -> Page:
        """The report."""
        from analyses.explain.page import page

        return page(self)
