"""Evaluation of scores and circuits on held-out pairs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from interp.discovery.circuit import Circuit
from interp.discovery.curve import SIZES, Curve
from interp.discovery.graph import Graph
from interp.discovery.masks import Outside, evaluate
from interp.discovery.pairs import LIMIT, checked
from interp.discovery.scores import EdgeScores
from interp.discovery.selection import circuit as choose, top
from interp.discovery.verdict import FAITHFUL, Verdict
from interp.errors import UsageError
from interp.model import Model
from interp.progress import Progress, advance
from interp.tasks.pairs import Pairs
from interp.tasks.task import Task

N_DROPPED = 50
"""Edges that are left out one by one."""


def faithfulness(  # noqa: PLR0913 (all but the first three are keyword-only)
    model: Model,
    task: Task | Pairs,
    scores: EdgeScores,
    *,
    sizes: Sequence[float] = SIZES,
    outside: Outside = "counterfactual",
    seed: int = 0,
    limit: int = LIMIT,
    control: Curve | None = None,
) -> Curve:
    """Measure the faithfulness f of circuits of the published sizes.

    Circuits are those of the largest signed scores, of the largest magnitudes, and of random edges. Of the k best edges
    those that are cut off from the embedding or the logits are dropped; the rest carries what the clean run gives it,
    and everything outside what `outside` says. Give a task that the scores were not made on.

    Args:
        model: the model the scores are of.
        task: pairs to judge on.
        scores: of the edges.
        sizes: fractions of the edges, ascending; the last is usually 1, the whole model.
        outside: "counterfactual", "mean" (over the task) or "zero".
        seed: of the random ranking and the bootstrap.
        limit: bytes of writes in memory.
        control: a curve of the same pairs, sizes and seed, whose random ranking is used instead of running it again.

    Returns:
        The curve, with `.f`, `.cpr`, `.cmd`, their intervals and `.random`. It takes three runs of the pairs for each
            size.

    Raises:
        UsageError: sizes outside (0, 1], or another model's scores.

    >>> first, second = task.split()
    >>> curve = discovery.faithfulness(model, second, discovery.score(model, first), sizes=(0.1, 0.5, 1.0))
    >>> curve.f.round(3), curve.cpr
    (array([-0.053,  0.639,  1.   ]), 0.527)
    """
    task, graph = checked(model, task), scores.graph
    _check_graph(model, graph)
    if not sizes or not all(0 < size <= 1 for size in sizes) or list(sizes) != sorted(sizes):
        raise UsageError(f"sizes={tuple(sizes)}: fractions of the edges in (0, 1], ascending.")
    rankings = [scores.ranking("signed"), scores.ranking("absolute")]
    if control is None:
        rankings.append(np.random.default_rng(seed).permutation(graph.n_edge))
    chosen = [[_first(graph, ranking, size) for size in sizes] for ranking in rankings]
    masks = {edges.tobytes(): ~edges for row in chosen for edges in row if not edges.all()}
    every = [np.zeros(graph.n_edge), np.ones(graph.n_edge)]
    measured = evaluate(model, graph, task, [*every, *masks.values()], outside=outside, limit=limit)
    place = {key: at + 2 for at, key in enumerate(masks)}  # a circuit of every edge is the clean run
    curves = [measured[[place.get(edges.tobytes(), 0) for edges in row]] for row in chosen]
    counts = np.array([[(edges.sum(), graph.weight[edges].sum()) for edges in row] for row in chosen])
    if control is not None:
        _check_control(control, tuple(map(float, sizes)), seed, measured[0])
        curves.append(control.control)
        counts = np.concatenate([counts, control.counts[None, :, 2]])
    signed, absolute, random = curves
    return Curve(
        method=scores.method,
        task=task.name,
        sizes=tuple(map(float, sizes)),
        counts=counts.transpose(1, 0, 2),
        signed=signed,
        absolute=absolute,
        control=random,
        clean=measured[0],
        corrupted=measured[1],
        n_edge=graph.n_edge,
        outside=outside,
        seed=seed,
    )


def _check_control(control: Curve, sizes: tuple[float, ...], seed: int, clean: np.ndarray) -> None:
    if (control.sizes, control.seed) != (sizes, seed) or not np.array_equal(control.clean, clean):
        raise UsageError("control= takes a curve of the same pairs, sizes and seed.")


def smallest(
    model: Model, task: Task | Pairs, scores: EdgeScores, faithful: float = FAITHFUL, *, by: str = "signed"
) -> Circuit:
    """Return the smallest circuit with f of at least `faithful`.

    Sizes are searched by bisection: about 17 runs of the pairs. The size is one at which f passes the bound; where f is
    not monotone a smaller one may exist (Cho, CVPR 2026, does the same with thresholds).

    Args:
        model: the model the scores are of.
        task: pairs to measure f on.
        scores: of the edges.
        faithful: the least f, at most 1.
        by: "signed" or "absolute".

    Returns:
        The circuit.

    Raises:
        UsageError: another `by`, a bound above 1, or not even all edges reach it.

    >>> small = smallest(model, task, discovery.score(model, task), faithful=0.8)
    >>> small.size, small.graph.n_edge
    (34, 190)
    """
    if by not in ("signed", "absolute"):
        raise UsageError(f'by="{by}": choose "signed" or "absolute".')
    task, graph = checked(model, task), scores.graph
    _check_graph(model, graph)
    clean, floor = evaluate(model, graph, task, [np.zeros(graph.n_edge), np.ones(graph.n_edge)]).mean(1)
    low, high = 0, graph.n_edge
    if not faithful <= 1:
        raise UsageError(f"faithful={faithful}: all edges together have f = 1, and no bound above can be asked for.")
    while high - low > max(1, high // 200):
        middle = (low + high) // 2
        edges = graph.connected(top(scores, middle, by))
        value = evaluate(model, graph, task, [~edges])[0].mean()
        low, high = (low, middle) if (value - floor) / (clean - floor) >= faithful else (middle, high)
    return choose(scores, by=by, n=high)


def judge(
    model: Model,
    task: Task | Pairs,
    circuit: Circuit,
    *,
    scores: EdgeScores | None = None,
    n_controls: int = 100,
    seed: int = 0,
    progress: Progress | None = None,
) -> Verdict:
    """Evaluate a circuit by several tests on held-out pairs.

    The pairs must not have been used to choose the circuit.

    Faithfulness, pair by pair and template by template; completeness: f of everything else alone; minimality: how far f
    falls when an edge is left out; `n_controls` random circuits that end with as many edges; with `scores`, the overlap
    of circuits chosen from resampled pairs.

    Args:
        model: the model.
        task: pairs that were not used to choose the circuit.
        circuit: edges to test.
        scores: what it was chosen by.
        n_controls: random circuits.
        seed: of random circuits, of the bootstrap, and of which edges are left out where there are more than 50.
        progress: called with (done, total, what).

    Returns:
        The result of every test.

    >>> first, second = task.split()
    >>> circuit = discovery.circuit(discovery.score(model, first), share=0.2)
    >>> judge(model, second, circuit, n_controls=5).f
    0.481
    """
    task, graph, rng = checked(model, task), circuit.graph, np.random.default_rng(seed)
    _check_graph(model, graph)
    circuit.check_length(task.clean.shape[1])
    members = np.flatnonzero(circuit.included)
    drop = np.sort(rng.choice(members, min(N_DROPPED, len(members)), replace=False))
    drops = [_without(circuit.mask, edge) for edge in drop]
    randoms = [_like(circuit, _random(graph, circuit.size, rng), rng) for _ in range(n_controls)]
    every, none = np.ones(graph.n_edge, bool), np.zeros(graph.n_edge, bool)
    wanted = [every, none, circuit.mask, ~circuit.mask, *drops, *randoms]
    measured = []
    for number, part in enumerate(task.batches(8)):
        advance(progress, number * 8, len(task), "pairs judged")
        measured.append(evaluate(model, graph, part, [~edges for edges in wanted]))
    clean, corrupted, alone, rest, *others = np.concatenate(measured, axis=1)
    scale = (clean - corrupted).mean()
    f = np.array([(values - corrupted).mean() / scale for values in (alone, *others)])
    stable = None if scores is None else scores.stability(circuit.asked / graph.n_edge, seed=seed)
    return Verdict(
        how={key: str(value) for key, value in circuit.how.items()},
        task=task.name,
        size=circuit.size,
        n_edge=graph.n_edge,
        circuit=alone,
        complement=rest,
        clean=clean,
        corrupted=corrupted,
        control=f[1 + len(drops) :],
        dropped=f[0] - f[1 : 1 + len(drops)],
        dropped_edges=tuple(graph.edges[i] for i in drop.tolist()),
        templates=task.templates,
        stability=float("nan") if stable is None else stable.mean,
        warning="" if stable is None else stable.warning,
        seed=seed,
    )


def _first(graph: Graph, ranking: np.ndarray, share: float) -> np.ndarray:
    """Return the best edges of a ranking that are connected."""
    edges = np.zeros(graph.n_edge, bool)
    edges[ranking[: max(1, round(share * graph.n_edge))]] = True
    return graph.connected(edges)


def _random(graph: Graph, size: int, rng: np.random.Generator) -> np.ndarray:
    """Draw a random connected set of about `size` edges.

    It is the shortest prefix of a random order in which that many edges are connected.
    """
    order = rng.permutation(graph.n_edge)
    low, high = size, graph.n_edge
    while low < high:
        middle = (low + high) // 2
        edges = np.zeros(graph.n_edge, bool)
        edges[order[:middle]] = True
        low, high = (middle + 1, high) if graph.connected(edges).sum() < size else (low, middle)
    edges = np.zeros(graph.n_edge, bool)
    edges[order[:low]] = True
    return graph.connected(edges)


def _without(mask: np.ndarray, edge: int) -> np.ndarray:
    left = mask.copy()
    left[edge] = False
    return left


def _like(circuit: Circuit, edges: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return random edges, at the positions of the circuit's edges if it has them."""
    if circuit.by_position is None:
        return edges
    mask, rows = np.zeros_like(circuit.by_position), np.flatnonzero(edges)
    mask[rows] = circuit.by_position[rng.choice(np.flatnonzero(circuit.included), len(rows))]
    return mask


def _check_graph(model: Model, graph: Graph) -> None:
    if Graph.of(model.spec, grouped=graph.grouped) != graph:
        raise UsageError(f"The scores or the circuit are of another architecture than {model.name}.")
