"""Result of an explanation, which loads and is drawn without torch."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from analyses.explain.contrasted import Contrasted
from analyses.study import Study
from interp.attribution.lens_results import LogitLens, Patchscope
from interp.attribution.paths import PathTree
from interp.attribution.results import Attribution, Direct, Orders, Sources, Verification
from interp.provenance import Provenance
from interp.report.text import quoted
from interp.results import Result

GROUPS = ("path", "token", "component")
PATTERN_TOKENS = 64


@dataclass(frozen=True, eq=False)
class Config(Result):
    """Settings of an explanation.

    Attributes:
        prompt: text whose continuation is explained.
        target: text of exactly one token, whose logit is explained; by default the model's likeliest token.
        versus: text of exactly one token; if given, the difference of the two logits is explained.
        position: position at which the prediction is read, negative from the end.
        top: number of components, paths and cuts that are shown.
        max_expansions: largest number of nodes of the path tree that are expanded; 300 by default, 20,000 with
            `certify`.
        certify: whether nodes are expanded until the paths shown are certain to be the largest there are.
        group: how paths are listed: each path ("path"), sums by the token they begin at ("token"), or sums by their
            components whatever the positions ("component").
        counterfactual: prompt with the same number of tokens, whose difference is explained too.
        lens: tuned lens with which the layers are read too, as a file or the folder that `interp lens` wrote.

    Example:
        >>> Config("The Eiffel Tower is located in the city of", " Paris", versus=" London").top
        10
    """

    prompt: str
    target: str | None = None
    versus: str | None = None
    position: int = -1
    top: int = 10
    max_expansions: int | None = None
    certify: bool = False
    group: str = "path"
    counterfactual: str | None = None
    lens: str | None = None


@dataclass(frozen=True, eq=False)
class HeadView(Result):
    """View of one head: where it looks and what it takes.

    `attention` is the row of its pattern at the explained position (fractions); `pattern` the whole, query by key,
    or None for a prompt of more than `PATTERN_TOKENS`, which would be too large for a page. `by_source` is what the
    head takes from each position.

    >>> study.heads[0].name, round(study.heads[0].contribution, 2)  # study = explain.run(model, config)
    ('L1H1', 1.05)
    """

    name: str
    contribution: float
    attention: np.ndarray
    pattern: np.ndarray | None
    by_source: Attribution


@dataclass(frozen=True, eq=False)
class Hop(Result):
    """Step of a path through one head, from `query` to `key`.

    `attention` is the query's row of the pattern; `score` the pre-softmax score, `top_pairs` its largest terms as
    (query writer, key writer, value), and `error` the relative error of their sum.

    >>> study.hops[0].head, study.hops[0].query, study.hops[0].key  # study = explain.run(model, config)
    ('L0H3', 3, 1)
    """

    head: str
    query: int
    key: int
    attention: np.ndarray
    score: float
    top_pairs: tuple[tuple[str, str, float], ...]
    error: float


@dataclass(frozen=True, eq=False)
class Explanation(Study):
    """Result of explaining one prediction.

    `next_tokens` and `next_probabilities` are the likeliest continuations at `position` (counted from the start);
    `logit_error` is how far the frozen map lies from the model's logits, relative to the largest. `tuned` is the
    reading through a tuned lens and `patchscope` that in another prompt; both are None without a lens.

    >>> study.tokens, round(study.direct.value, 2)  # study = explain.run(model, config)
    (('the', ' tower', ' is', ' in'), 3.04)
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
    contrasted: Contrasted | None = None
    tuned: LogitLens | None = None
    patchscope: Patchscope | None = None

    @property
    def total(self) -> float:
        """Explained logit or logit difference, as the sum of its direct contributions."""
        return self.direct.total

    @property
    def error(self) -> float:
        """Largest relative error of any decomposition in this explanation."""
        whole = (self.logit_error, self.direct.error, self.lens.error, self.sources.error, self.orders.error)
        parts = (*(head.by_source.error for head in self.heads), *(hop.error for hop in self.hops))
        contrasts = () if self.contrasted is None else (self.contrasted.largest_error,)
        return max(*whole, self.tree.error, *parts, *contrasts)

    def finding(self) -> str:
        """Return the finding in words.

        It gives the prediction and its size, the layer that writes most of it, and what that layer reads. Components
        are named by the sum of their layer: two heads of one layer may be large and cancel.

        >>> study.finding()  # study = explain.run(model, explain.Config("the tower is in", " Paris", " London"))
        'After this prompt llama object prefers “·Paris” to “·London” by 3.04 logits (21 to 1). Most is ...'
        """
        config, total = self.config, self.direct.value
        if config.versus:
            preferred, other = (config.target, config.versus) if total >= 0 else (config.versus, config.target)
            odds = f"{math.exp(abs(total)):,.0f}" if abs(total) < 50 else f"10^{abs(total) / math.log(10):.0f}"
            claim = f"prefers {quoted(preferred)} to {quoted(other)} by {abs(total):.2f} logits ({odds} to 1)"
        else:
            claim = f"gives {quoted(config.target)} a logit of {total:.2f}"
        return (
            f"After this prompt {self.provenance.model} {claim}. {self._main_part()}; all {len(self.direct.labels)} "
            f"contributions sum to {self.total:+.4f}, with a relative error of {self.direct.error:.0e}."
        )

    def _main_layer(self) -> tuple[str, float]:
        """Return the name and value of the layer that contributes most.

        It is the attention or the MLP of a block, or the embedding. Values are compared in the direction of the total.
        """
        names, values = self.direct.by_layer()
        most = int(np.argmax(np.sign(self.direct.value) * values))
        return names[most], float(values[most])

    def main_head(self) -> HeadView | None:
        """Return the strongest head of the attention that contributes most.

        None where an MLP contributes more.

        >>> print(study.main_head())  # an MLP contributes more
        None
        """
        kind, _, layer = self._main_layer()[0].partition(" ")
        heads = [view for view in self.heads if view.name.startswith(f"L{layer}H") and kind == "attention"]
        return max(heads, key=lambda view: np.sign(self.direct.value) * view.contribution, default=None)

    def _main_part(self) -> str:
        """Return which layer writes most of the prediction, in words.

        For attention, also the token that its strongest head takes most from.
        """
        name, value = self._main_layer()
        kind, _, layer = name.partition(" ")
        text = f"Most is written by the {kind} of block {layer}" if layer else f"Most is written by the {kind}"
        head = self.main_head()
        if head is None:
            return f"{text} ({value:+.2f})"
        taken = int(np.argmax(np.sign(self.direct.value) * head.by_source.array))
        source = quoted(self.tokens[taken])
        return f"{text} ({value:+.2f}), above all by {head.name} ({head.contribution:+.2f}), from {source}"

    def summary(self) -> str:
        r"""Return the finding in a few lines of text.

        >>> print("\n".join(study.summary().splitlines()[1:4]))  # study = explain.run(model, config)
        Largest direct contributions, in logits:
          MLP1     +3.688
          L1H1     +1.047
        """
        largest = "\n".join(f"  {name:<8} {value:+.3f}" for name, value in self.direct.top(self.config.top))
        sums = f"sum of all {len(self.direct.labels)} direct contributions {self.total:+.6f}"
        listed = {
            "path": f"Largest complete paths in the tree ({self.tree.standing(self.config.top)})",
            "token": "Paths by first token",
            "component": "Paths by components",
        }[self.config.group]
        paths = "\n".join(f"  {value:+.4f}  {name}" for name, value in self.listed())
        change = ""
        if self.contrasted is not None:
            lines = "\n".join(
                f"  {path.value:+.4f}  {' <- '.join(path.components)}"
                for path in self.contrasted.tree.paths(self.config.top)
            )
            change = f"\nAgainst the counterfactual: {self.contrasted.sources.value:+.4f} logits, by paths:\n{lines}"
        return (
            f"{self.finding()}\n"
            f"Largest direct contributions, in logits:\n{largest}\n"
            f"{sums}, the model's own {self.direct.value:+.6f}, relative error {self.direct.error:.1e}\n"
            f"{listed}, in logits:\n{paths}{change}"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the finding as plain values, for `--json`.

        >>> {name: round(value, 2) for name, value in study.to_dict()["contributions"].items()}
        {'MLP1': 3.69, 'L1H1': 1.05, 'MLP2': -0.67}
        """
        return {
            "finding": self.finding(),
            "target": self.direct.target,
            "total": self.total,
            "model_value": self.direct.value,
            "error": self.error,
            "contributions": dict(self.direct.top(self.config.top)),
            "certified_paths": self.tree.certified(self.config.top),
            "paths": dict(self.listed()),
            **self._contrasted(),
        }

    def _contrasted(self) -> dict[str, Any]:
        """Return the change against the counterfactual, for `--json`; empty without one."""
        if self.contrasted is None:
            return {}
        paths = {" <- ".join(path.components): path.value for path in self.contrasted.tree.paths(self.config.top)}
        return {
            "contrast": {
                "change": self.contrasted.sources.value,
                "total": self.contrasted.sources.total,
                "paths": paths,
            }
        }

    def listed(self) -> tuple[tuple[str, float], ...]:
        """Return (name, value) of the paths, as the configuration groups them.

        The largest come first. Sums by token or by components end in the remainder, so that they add up to the tree's
        total.

        >>> [(name, round(value, 3)) for name, value in study.listed()[:2]]  # study = explain.run(model, config)
        [('MLP1@in <- L0H3@in <- embed@tower', 0.748), ('MLP1@in <- embed@in', 0.679)]
        """
        if self.config.group == "path":
            return tuple((" <- ".join(path.components), path.value) for path in self.tree.paths(self.config.top))
        rows = self.tree.grouped("token" if self.config.group == "token" else "component")[:-1][: self.config.top]
        return (*rows, ("not listed", self.tree.total - sum(value for _, value in rows)))

    def extra_files(self) -> dict[str, bytes]:
        """Return the path tree in the form that attribution-graph viewers read.

        >>> list(study.extra_files())  # study = explain.run(model, config)
        ['graph.json']
        """
        from interp.attribution.neuronpedia import neuronpedia_graph

        model = self.provenance.model
        graph = neuronpedia_graph(self.tree, slug=f"interp-{model.rpartition('/')[2]}", scan=model)
        return {"graph.json": json.dumps(graph, ensure_ascii=False, allow_nan=False).encode()}
