"""`interp.discovery.score`: every edge of a model scored on a task by one of ten methods."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from interp.discovery import gradients
from interp.discovery.exact import exact_edges
from interp.discovery.forward import Rules
from interp.discovery.graph import Graph
from interp.discovery.masks import evaluate
from interp.discovery.pairs import LIMIT, PairRuns, batches, checked, numbers
from interp.discovery.scores import EdgeScores
from interp.errors import UsageError, nearest
from interp.model import Model
from interp.progress import Progress, advance
from interp.tasks.encoding import Pairs
from interp.tasks.task import Task

COPIES = 16
"""How many times its writes a pair takes in memory while gradients are taken: readers' inputs and what autograd holds."""


@dataclass(frozen=True)
class Options:
    """What methods that have settings need."""

    steps: int = 5
    rule: str = "left"
    grad_drop: bool = False


@dataclass(frozen=True)
class Method:
    """How a method scores a batch of pairs: (batch, n_edge), or (batch, n_edge, n_token) by position."""

    run: Callable[[PairRuns, Options, bool], Tensor]
    rules: Rules = Rules()
    whole: bool = False


_HELD = Rules(attention=True, norms=True, gates=True)
GRADIENTS = {
    "secant": Method(lambda runs, options, by: secant_edges(runs, by), whole=True),
    "eap": Method(lambda runs, options, by: gradients.attribution(runs, by)),
    "eap-ig-inputs": Method(lambda runs, o, by: gradients.integrated_inputs(runs, o.steps, o.rule, by)),
    "eap-ig-activations": Method(lambda runs, o, by: gradients.integrated_activations(runs, o.steps, o.rule, by)),
    "atp": Method(lambda runs, o, by: gradients.attribution_star(runs, o.grad_drop, by)),
    "relp": Method(
        lambda runs, o, by: gradients.attribution(runs, by), Rules(attention=True, norms=True, gates=True, halves=True)
    ),
    "frozen": Method(lambda runs, o, by: gradients.frozen_flow(runs, by), _HELD, whole=True),
}
METHODS = ("exact", *GRADIENTS, "random")
DIRECTIONS = ("noise", "denoise", "both")


def score(
    model: Model,
    task: Task | Pairs,
    method: str = "secant",
    *,
    grouped: bool = True,
    by_position: bool = False,
    direction: str = "noise",
    steps: int = 5,
    rule: str = "left",
    grad_drop: bool = False,
    seed: int = 0,
    folder: str | Path | None = None,
    limit: int = LIMIT,
    progress: Progress | None = None,
) -> EdgeScores:
    """Score every edge: by how much, in nats, would the measure change if the edge alone were corrupted?

    With a, a' what writer u writes in the clean and in the counterfactual run, x_v what reader v reads and m the
    measure of the task:

        exact               m(clean run with x_v + a'_u − a_u) − m(clean run)      each edge run for real
        secant              (a'_u − a_u) · the secant of m between the two runs    sums to m(counterfactual) − m(clean)
        eap                 (a'_u − a_u) · ∂m/∂x_v at the clean run                arXiv 2310.10348
        eap-ig-inputs       the gradient averaged between the two embeddings       2403.17806
        eap-ig-activations  the gradient averaged between each part's two outputs
        atp                 as eap, queries and keys exact through the softmax     2403.00745
        relp                as eap, patterns, norms and gates constant             2508.21258
        frozen              −a_u · the same gradient without halving gates         needs no counterfactual
        random              normal numbers: the control

    Args:
        model: in float32 or float64.
        task: the pairs.
        method: one of `METHODS`.
        grouped: keys and values shared by query heads are one reader, as the model has them; False gives every query
            head its own, as the MIB benchmark does.
        by_position: keep the mean score of each edge at each position too.
        direction: of the method exact. "noise" corrupts an edge of the clean run; "denoise" restores it in the
            counterfactual run, with the sign of corrupting it, and finds edges of which any one suffices; "both" is the
            mean of the two.
        steps: gradients that an integrated method averages.
        rule: where these are taken: "left" (from the counterfactual on, as the published code), "middle" or "right".
        grad_drop: of the method atp; magnitudes averaged over passes with a layer's gradient dropped.
        seed: of the method random.
        folder: of the method exact; finished parts are written there, and a stopped run goes on from them.
        limit: bytes of writes in memory; pairs are streamed within it.
        progress: called with (done, total, what).

    Raises:
        UsageError: an unknown method or setting, or a dtype in which differences mean nothing.
        CheckFailedError: a score that is not a number.

    >>> scores = discovery.score(model, tasks.ioi(model, n=10), method="secant")
    >>> scores.top(3)
    """
    if method not in METHODS:
        raise UsageError(f'Unknown method "{method}"{nearest(method, METHODS)}; known: {", ".join(METHODS)}.')
    if direction not in DIRECTIONS:
        raise UsageError(f'direction="{direction}": choose {", ".join(DIRECTIONS)}.')
    task, graph, clock = checked(model, task), Graph.of(model.spec, grouped=grouped), time.perf_counter()
    where, nodes = None, None
    ends = evaluate(model, graph, task, [np.zeros(graph.n_edge), np.ones(graph.n_edge)], limit=limit)
    if method == "random":
        values = np.random.default_rng(seed).standard_normal((1, graph.n_edge))
    elif method == "exact":
        values = _exact(model, graph, task, direction, folder, limit, progress)
        nodes = (evaluate(model, graph, task, _nodes(graph), limit=limit) - ends[0]).mean(1)
    else:
        options = Options(steps, rule, grad_drop)
        values, where = _streamed(model, graph, task, GRADIENTS[method], options, by_position, limit, progress)
    _check(values, method)
    return EdgeScores(
        method=method,
        task=task.name,
        model=model.name,
        graph=graph,
        values=values.astype(np.float32 if model.dtype == torch.float32 else np.float64),
        node_values=_summed(graph, values.mean(0)) if nodes is None else nodes,
        clean=ends[0],
        corrupted=ends[1],
        templates=task.templates,
        places=task.places,
        by_position=where,
        settings=_settings(method, direction, steps, rule, grad_drop, seed),
        seconds=round(time.perf_counter() - clock, 3),
    )


def _settings(method: str, direction: str, steps: int, rule: str, drop: bool, seed: int) -> dict[str, str | int | bool]:
    """The settings that the method used."""
    used: dict[str, dict[str, str | int | bool]] = {
        "exact": {"direction": direction},
        "atp": {"grad_drop": drop},
        "random": {"seed": seed},
    }
    return {"steps": steps, "rule": rule} if method.startswith("eap-ig") else used.get(method, {})


def _streamed(
    model: Model,
    graph: Graph,
    task: Task,
    method: Method,
    options: Options,
    by_position: bool,
    limit: int,
    progress: Progress | None,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Scores of all pairs, a batch at a time, and their mean by position."""
    found, where = [], np.zeros((graph.n_edge, task.clean.shape[1]))
    start = 0 if method.whole else None
    for runs in batches(model, graph, task, method.rules, start=start, copies=COPIES, limit=limit):
        scores = method.run(runs, options, by_position)
        if by_position:
            where[:, runs.start : runs.start + scores.shape[2]] += numbers(scores.sum(0)) / len(task)
            scores = scores.sum(-1)
        found.append(numbers(scores))
        advance(progress, sum(map(len, found)), len(task), "pairs")
    return np.concatenate(found), where if by_position else None


def _exact(
    model: Model,
    graph: Graph,
    task: Task,
    direction: str,
    folder: str | Path | None,
    limit: int,
    progress: Progress | None,
) -> np.ndarray:
    one_way = {"noise": [(task, 1.0)], "denoise": [(task.flipped(), -1.0)]}
    runs = one_way["noise"] + one_way["denoise"] if direction == "both" else one_way[direction]
    found = [
        sign * exact_edges(model, graph, way, folder=folder, limit=limit, progress=progress) for way, sign in runs
    ]
    return np.mean(found, axis=0)


def secant_edges(runs: PairRuns, by_position: bool = False) -> Tensor:
    """Edges by the exact secant of the measure between the two runs; see `interp.attribution.contrast`."""
    raise NotImplementedError


def _nodes(graph: Graph) -> list[np.ndarray]:
    """For each writer the mask that corrupts all its edges."""
    return [(graph.writer == writer).astype(float) for writer in range(len(graph.writers))]


def _summed(graph: Graph, values: np.ndarray) -> np.ndarray:
    return np.bincount(graph.writer, values, len(graph.writers))


def _check(values: np.ndarray, method: str) -> None:
    from interp.errors import CheckFailedError

    if not np.isfinite(values).all():
        raise CheckFailedError(f"The method {method} gave scores that are not numbers: is there a NaN in the weights?")
