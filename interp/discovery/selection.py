"""From scores to a circuit: which edges belong to it."""

from __future__ import annotations

import heapq
from numbers import Real
from typing import TYPE_CHECKING, Literal

import numpy as np
from jaxtyping import Bool, Float

from interp.discovery.circuit import Circuit
from interp.discovery.graph import Graph
from interp.discovery.scores import EdgeScores
from interp.errors import UsageError, require

if TYPE_CHECKING:
    from interp.model import Model
    from interp.tasks import Pairs, Task

Rule = Literal["signed", "absolute", "greedy", "acdc"]
RULES = ("signed", "absolute", "greedy", "acdc")


def circuit(  # noqa: PLR0913 (all but the first three are keyword-only)
    scores: EdgeScores,
    share: float = 0.01,
    by: Rule = "signed",
    *,
    n: int | None = None,
    by_position: bool = False,
    threshold: float = 0.01,
    model: Model | None = None,
    task: Task | Pairs | None = None,
) -> Circuit:
    """Choose a circuit of `share` of the edges.

    Edges that are cut off from the embedding or the logits are dropped.

    Args:
        scores: of the edges.
        share: fraction of all edges to choose; `n` gives their number instead.
        by: "signed" takes the edges that change the measure most as the whole counterfactual does; "absolute" the
            largest; "greedy" grows from the logits, always by the largest edge into what is there already; "acdc" goes
            from the logits to the embedding through the largest `share` of the edges (1 for all of them) and removes
            each whose corruption, on top of what was removed, changes the mean measure by less than `threshold`
            (arXiv 2304.14997; one run of the pairs for each edge).
        n: number of edges.
        by_position: choose edges at single positions, by scores made with `by_position=True`: `share` and `n` then
            count an edge at each position at which any prompts differ; "signed" or "absolute" alone.
        threshold: of acdc, as a fraction of m(clean) − m(counterfactual).
        model: of acdc.
        task: of acdc, the pairs it is run on.

    Returns:
        The circuit.

    Raises:
        UsageError: an unknown rule, a share outside (0, 1], acdc without a model and a task, or positions without
            scores by position.

    >>> chosen = circuit(discovery.score(model, task), share=0.1, by="signed")
    >>> chosen.size, chosen.edges[:2]
    (16, ('L0H3 → MLP0', 'MLP0 → MLP1'))
    """
    require(scores, EdgeScores, "scores")
    require(share, Real, "share")
    graph = scores.graph
    if by not in RULES:
        raise UsageError(f'by="{by}": choose {", ".join(RULES)}.')
    if by_position:
        return _at_positions(scores, share, n, by)
    if not 0 < share <= 1 or (n is not None and not 1 <= n <= graph.n_edge):
        raise UsageError(f"share={share}, n={n}: choose a share in (0, 1], or from 1 to {graph.n_edge} edges.")
    size = max(1, round(share * graph.n_edge)) if n is None else n
    if by == "acdc":
        if model is None or task is None:
            raise UsageError('by="acdc" runs the model for every edge: give model= and task=.')
        chosen = _acdc(model, task, graph, top(scores, size, "absolute"), threshold)
    elif by == "greedy":
        chosen = _greedy(graph, np.abs(scores.array), size)
    else:
        chosen = top(scores, size, by)
    how = {"method": scores.method, "by": by, "task": scores.task, **({"threshold": threshold} if by == "acdc" else {})}
    return Circuit(graph, graph.connected(chosen), scores.array.astype(scores.values.dtype), size, how)


def _at_positions(scores: EdgeScores, share: float, n: int | None, by: Rule) -> Circuit:
    """Choose edges at single positions."""
    where, graph = scores.by_position, scores.graph
    if where is None or by not in ("signed", "absolute"):
        raise UsageError(
            f'by="{by}": edges at single positions are chosen "signed" or "absolute", by scores made with '
            "discovery.score(..., by_position=True)."
        )
    first = int((where != 0).any(0).argmax())  # nothing differs before
    scored = where[:, first:]
    if not 0 < share <= 1 or (n is not None and not 1 <= n <= scored.size):
        raise UsageError(f"share={share}, n={n}: choose a share in (0, 1], or from 1 to {scored.size} edges.")
    size = max(1, round(share * scored.size)) if n is None else n
    key = -np.abs(scored) if by == "absolute" else -scored * scores.sign
    chosen = np.zeros(where.shape, bool)
    rows, columns = np.unravel_index(np.argsort(key, axis=None, kind="stable")[:size], scored.shape)
    chosen[rows, first + columns] = True
    included = graph.connected(np.asarray(chosen.any(1)))
    how = {"method": scores.method, "by": by, "task": scores.task, "by_position": True}
    chosen &= included[:, None]
    return Circuit(graph, included, scores.array.astype(scores.values.dtype), size, how, chosen)


def top(scores: EdgeScores, size: int, by: Literal["signed", "absolute"]) -> Bool[np.ndarray, " n_edge"]:
    """Return the `size` most important edges."""
    chosen = np.zeros(scores.graph.n_edge, bool)
    chosen[scores.ranking(by)[:size]] = True
    return chosen


def _greedy(graph: Graph, values: Float[np.ndarray, " n_edge"], size: int) -> Bool[np.ndarray, " n_edge"]:
    """Grow from the logits, always by the largest edge into what is there."""
    chosen, open_readers = np.zeros(graph.n_edge, bool), set()
    reads: dict[int, list[int]] = {}
    for reader, owners in enumerate(graph.owners):
        for owner in owners:
            reads.setdefault(owner, []).append(reader)
    waiting: list[tuple[float, int]] = []

    def add(reader: int) -> None:
        if reader not in open_readers:
            open_readers.add(reader)
            edges = graph.of_reader(reader)
            for i in range(edges.start, edges.stop):
                heapq.heappush(waiting, (-float(values[i]), i))

    add(len(graph.readers) - 1)
    for _ in range(size):
        if not waiting:
            break
        _, edge = heapq.heappop(waiting)
        chosen[edge] = True
        for reader in reads.get(int(graph.writer[edge]), []):
            add(reader)
    return chosen


def _acdc(
    model: Model, task: Task | Pairs, graph: Graph, candidates: Bool[np.ndarray, " n_edge"], threshold: float
) -> Bool[np.ndarray, " n_edge"]:
    from interp.discovery.masks import evaluate
    from interp.discovery.pairs import checked

    pairs = checked(model, task)

    def measured(edges: np.ndarray) -> float:
        return float(evaluate(model, graph, pairs, [~edges])[0].mean())

    every, none = np.ones(graph.n_edge, bool), np.zeros(graph.n_edge, bool)
    least = threshold * abs(measured(every) - measured(none))
    left = graph.connected(candidates)
    now = measured(left)
    for edge in np.flatnonzero(candidates)[::-1]:
        if not left[edge]:
            continue
        without = left.copy()
        without[edge] = False
        value = measured(without)
        if abs(value - now) < least:
            left, now = graph.connected(without), value
    return left
