"""Result of a method: a score for every edge, pair by pair. No torch here."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int

from interp.discovery.graph import Graph
from interp.errors import UsageError
from interp.report import Shown, Table
from interp.results import Result

By = Literal["signed", "absolute"]
STABLE, ENOUGH = 0.8, 100
"""Overlap of bootstrap circuits, and number of pairs, below which a circuit is not to be relied on (2510.00845)."""


@dataclass(frozen=True, eq=False)
class EdgeScores(Shown, Result):
    """Change of the measure, in nats, when an edge alone is corrupted.

    Negative edges support the right answer. `values` (n_pair, n_edge) are in the order of `graph.edges`, with one row
    where pairs play no part; `by_position` (n_edge, T) is their mean by position, if asked for; `node_values`
    (n_writer,) are means for whole nodes. `clean` and `corrupted` (n_pair,) are the measure in the two runs,
    `templates` those of the pairs.

    >>> scores = discovery.score(model, task)
    >>> scores.values.shape, scores.total
    ((2, 190), 1.176)
    """

    method: str
    task: str
    model: str
    graph: Graph
    values: np.ndarray
    node_values: np.ndarray
    clean: np.ndarray
    corrupted: np.ndarray
    templates: tuple[str, ...]
    places: tuple[str, ...]
    by_position: np.ndarray | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0

    @cached_property
    def array(self) -> Float[np.ndarray, " n_edge"]:
        """Mean score of every edge, in the order of `graph.edges`."""
        return self.values.mean(0, dtype=np.float64)

    @cached_property
    def edges(self) -> dict[str, float]:
        """Mean score by edge, such as "L3H1 → L5H2.q"."""
        return dict(zip(self.graph.edges, self.array.tolist(), strict=True))

    @cached_property
    def nodes(self) -> dict[str, float]:
        """Score by writer.

        The sum over its edges, but measured for itself by the method "exact".
        """
        return dict(zip(self.graph.writers, self.node_values.tolist(), strict=True))

    @property
    def total(self) -> float:
        """By how much the whole counterfactual changes the measure."""
        return float(self.corrupted.mean() - self.clean.mean())

    @property
    def sign(self) -> float:
        """Sign of the whole counterfactual's effect.

        Supporting edges have it too; −1 where the counterfactual does nothing.
        """
        return float(np.sign(self.total)) or -1.0

    def cut(self, writer: str = "embed") -> float:
        """Return the sum over the edges out of one writer.

        Out of the embedding it is `total` for a complete method.

        >>> scores.cut("embed"), scores.cut("MLP0")
        (1.176, 2.193)
        """
        if writer not in self.graph.writers:
            raise UsageError(f'The graph has no writer "{writer}".')
        return float(self.array[self.graph.writer == self.graph.writers.index(writer)].sum())

    def ranking(self, by: By = "signed", rows: np.ndarray | None = None) -> Int[np.ndarray, " n_edge"]:
        """Return the edges from the most to the least important.

        "signed" begins with those that change the measure as the whole counterfactual does and ends with those that
        work against it; "absolute" goes by magnitude. `rows` weighs the pairs.

        >>> [scores.graph.edges[i] for i in scores.ranking()[:2]]
        ['L0H3 → MLP0', 'MLP0 → MLP1']
        """
        if by not in ("signed", "absolute"):
            raise UsageError(f'by="{by}": a ranking is "signed" or "absolute".')
        values = self.array if rows is None else np.average(self.values, axis=0, weights=rows)
        key = -np.abs(values) if by == "absolute" else -values * self.sign
        return np.argsort(key, kind="stable")

    def top(self, k: int, by: By = "absolute") -> tuple[tuple[str, float], ...]:
        """Return the k most important edges with their scores.

        >>> scores.top(2)
        (('L0H3 → MLP0', 1.993), ('MLP0 → MLP1', 1.170))
        """
        return tuple((self.graph.edges[i], float(self.array[i])) for i in self.ranking(by)[:k].tolist())

    def stability(self, share: float = 0.01, *, by: By = "signed", draws: int = 50, seed: int = 0) -> Stability:
        """Return how far circuits chosen from resampled pairs overlap.

        The overlap of two circuits is |A ∩ B| / |A ∪ B| (Jaccard).

        Args:
            share: of the edges in a circuit.
            by: "signed" or "absolute".
            draws: bootstrap circuits.
            seed: of the bootstrap.

        Returns:
            The mean overlap of consecutive bootstrap circuits, with a warning below 0.8 or for fewer than 100 pairs.

        >>> scores.stability(0.1, draws=10).mean
        0.845
        """
        n = len(self.values)
        if n < 2:
            return Stability(float("nan"), np.zeros(0), n, share)
        rng, size = np.random.default_rng(seed), max(1, round(share * self.graph.n_edge))
        chosen = [set(self.ranking(by, rng.multinomial(n, [1 / n] * n))[:size].tolist()) for _ in range(draws)]
        pairs = zip(chosen[::2], chosen[1::2], strict=False)
        overlaps = np.array([len(one & other) / len(one | other) for one, other in pairs])
        return Stability(float(overlaps.mean()), overlaps, n, share)

    def table(self) -> Table:
        """Return the fifty most important edges.

        >>> scores.table().rows[0]
        ('L0H3 → MLP0', 1.993)
        """
        caption = (
            f"{self.method} on {self.task}: change of the log odds, in nats, when the edge alone is corrupted; the "
            f"whole counterfactual changes them by {self.total:+.3f}. {self.graph.n_edge:,} edges, {len(self.clean)} "
            "pairs."
        )
        return Table(("edge", "score"), self.top(50), caption, {"score": "+.4f"})

    def __repr__(self) -> str:
        (edge, value) = self.top(1)[0]
        return f"EdgeScores({self.method} on {self.task}: {self.graph.n_edge:,} edges; largest {edge} {value:+.3f})"


@dataclass(frozen=True, eq=False)
class Stability(Result):
    """Overlap of circuits chosen from resampled pairs.

    `mean` is the mean of the `overlaps` of consecutive circuits.

    >>> stability = discovery.score(model, task).stability(0.1, draws=10)
    >>> stability.mean, stability.n_pair
    (0.845, 2)
    """

    mean: float
    overlaps: np.ndarray
    n_pair: int
    share: float

    @property
    def warning(self) -> str:
        """Reasons not to rely on the single edges; empty if none."""
        reasons = []
        if not self.mean >= STABLE:
            reasons.append(f"circuits of resampled pairs overlap by {self.mean:.2f}, less than {STABLE}")
        if self.n_pair < ENOUGH:
            reasons.append(f"{self.n_pair} pairs are fewer than {ENOUGH}")
        return f"The edges are not stable: {'; '.join(reasons)}." if reasons else ""
