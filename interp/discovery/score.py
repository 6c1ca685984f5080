"""`interp.discovery.score`: scores of every edge of a model on a task."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interp.discovery import gradients
from interp.discovery.exact import exact_edges, exact_nodes
from interp.discovery.forward import Rules
from interp.discovery.graph import Graph
from interp.discovery.masks import evaluate
from interp.discovery.pairs import LIMIT, PairRuns, batches, checked, numbers
from interp.discovery.scores import EdgeScores
from interp.discovery.secant import secant_edges, secant_ends
from interp.errors import CheckFailedError, UsageError, nearest, require, whole
from interp.model import Model
from interp.progress import Progress, advance
from interp.tasks.pairs import Pairs
from interp.tasks.task import Task

COPIES, SECANT_COPIES = 16, 6
"""How many times its writes a pair takes in memory: with gradients, readers' inputs and what autograd holds; with
secants, these, covectors of all readers and the differences of writes."""


@dataclass(frozen=True)
class Options:
    """Settings of single methods, and of the run; `score` describes them."""

    direction: str = "noise"
    at: str = "clean"
    steps: int = 5
    rule: str = "left"
    grad_drop: bool = False
    segments: int = 1
    seed: int = 0
    folder: str | Path | None = None
    limit: int = LIMIT

    def used(self, method: str) -> dict[str, str | int | bool]:
        """Return the settings that a method looks at."""
        if method.startswith("eap-ig"):
            return {"steps": self.steps, "rule": self.rule}
        names = {"exact": "direction", "eap": "at", "atp": "grad_drop", "random": "seed", "secant": "segments"}
        return {names[method]: getattr(self, names[method])} if method in names else {}


@dataclass(frozen=True)
class Method:
    """Method that scores a batch of pairs.

    `run` returns (batch, n_edge), or (batch, n_edge, n_token) by position.
    `ends` gives the measure in both runs from what the method has run. `rules` are what its gradients hold constant;
    with `whole` it runs all positions, not only those that differ. `copies` is its memory, in times a pair's writes, of
    each segment if it has `segments`.
    """

    run: Callable[[PairRuns, Options, bool], Tensor]
    ends: Callable[[PairRuns], Tensor] = lambda runs: runs.ends
    rules: Rules = field(default_factory=Rules)
    whole: bool = False
    copies: int = COPIES
    segments: bool = False


_FROZEN, _RELP = (Rules(attention=True, norms=True, gates=True, halves=halves) for halves in (False, True))
GRADIENTS = {
    "secant": Method(lambda runs, _, by: secant_edges(runs, by), secant_ends, copies=SECANT_COPIES, segments=True),
    "eap": Method(lambda runs, o, by: gradients.attribution(runs, by, o.at)),
    "eap-ig-inputs": Method(lambda runs, o, by: gradients.integrated_inputs(runs, o.steps, o.rule, by)),
    "eap-ig-activations": Method(lambda runs, o, by: gradients.integrated_activations(runs, o.steps, o.rule, by)),
    "atp": Method(lambda runs, o, by: gradients.attribution_star(runs, o.grad_drop, by)),
    "relp": Method(lambda runs, _, by: gradients.attribution(runs, by), rules=_RELP),
    "frozen": Method(lambda runs, _, by: gradients.frozen_flow(runs, by), rules=_FROZEN, whole=True),
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
    progress: Progress | None = None,
    **options: Any,
) -> EdgeScores:
    """Score every edge by the measure's change when it alone is corrupted.

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
        by_position: return the mean score of each edge at each position too, except of the methods exact and random.
        progress: called with (done, total, what).
        **options: direction of the method exact: "noise" (the default) corrupts an edge of the clean run; "denoise"
            restores it in the counterfactual run, with the sign of corrupting it, and finds edges of which any one
            suffices; "both" is the mean of the two. folder: there the method exact writes finished parts, and a stopped
            run goes on from them. at: where the method eap takes its gradient, in the "clean" run (the default), in the
            "counterfactual", or the mean of "both". steps and rule: how many gradients an integrated method averages
            (5), taken "left" (from the counterfactual on, as the published code; the default), "middle" or "right".
            grad_drop: with True, magnitudes of the method atp are means over passes with one layer's gradient dropped.
            segments: of the method secant, into how many pieces the line between the two embeddings is cut (1, a
            contrast of the two runs); its time grows with them.
            seed: of the method random. limit: bytes of writes in memory, within which pairs are streamed.

    Returns:
        The score of every edge for every pair.

    Raises:
        UsageError: an unknown method or setting, or a dtype in which differences mean nothing.
        CheckFailedError: a score that is not a number.

    >>> scores = discovery.score(model, task, "secant")
    >>> scores.top(2), scores.total
    ((('L0H3 → MLP0', 1.993), ('MLP0 → MLP1', 1.170)), 1.176)
    """
    settings = _checked_options(method, options)
    task, graph, clock = checked(model, task), Graph.of(model.spec, grouped=grouped), time.perf_counter()
    where, nodes = None, None
    if method in GRADIENTS:
        values, ends, where = _streamed(model, graph, task, GRADIENTS[method], settings, by_position, progress)
    else:
        ends = evaluate(model, graph, task, [np.zeros(graph.n_edge), np.ones(graph.n_edge)], limit=settings.limit)
        values = np.random.default_rng(settings.seed).standard_normal((1, graph.n_edge))
    if method == "exact":
        values = _exact(model, graph, task, settings, progress)
        nodes = exact_nodes(model, graph, task, limit=settings.limit).mean(0)
    if not np.isfinite(values).all():
        raise CheckFailedError(f"The method {method} gave scores that are not numbers: is there a NaN in the weights?")
    return EdgeScores(
        method=method,
        task=task.name,
        model=model.name,
        graph=graph,
        values=values.astype(np.float32 if model.dtype == torch.float32 else np.float64),
        node_values=np.bincount(graph.writer, values.mean(0), len(graph.writers)) if nodes is None else nodes,
        clean=ends[0],
        corrupted=ends[1],
        templates=task.templates,
        places=task.places,
        by_position=where,
        settings=settings.used(method),
        seconds=round(time.perf_counter() - clock, 3),
    )


def _checked_options(method: str, options: dict[str, Any]) -> Options:
    require(method, str, "method")
    if method not in METHODS:
        raise UsageError(f'Unknown method "{method}"{nearest(method, METHODS)}; known: {", ".join(METHODS)}.')
    known = [part.name for part in fields(Options)]
    for name in options:
        if name not in known:
            raise UsageError(f'score has no option "{name}"{nearest(name, known)}; known: {", ".join(known)}.')
    settings = Options(**options)
    whole(settings.segments, "segments", 1)
    if settings.direction not in DIRECTIONS:
        raise UsageError(f'direction="{settings.direction}": choose {", ".join(DIRECTIONS)}.')
    return settings


def _streamed(
    model: Model,
    graph: Graph,
    task: Task,
    method: Method,
    options: Options,
    by_position: bool,
    progress: Progress | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Score all pairs, a batch at a time.

    Returns the scores, the measure in both runs, and the mean of scores by position.
    """
    scored, ends, where = [], [], np.zeros((graph.n_edge, task.clean.shape[1]))
    start = 0 if method.whole else None
    how = {"copies": method.copies, "limit": options.limit, "segments": options.segments if method.segments else 1}
    for runs in batches(model, graph, task, method.rules, start=start, **how):
        scores = method.run(runs, options, by_position)
        ends.append(numbers(method.ends(runs)))
        if by_position:
            where[:, runs.start : runs.start + scores.shape[2]] += numbers(scores.sum(0)) / len(task)
            scores = scores.sum(-1)
        scored.append(numbers(scores))
        advance(progress, sum(map(len, scored)), len(task), "pairs")
    return np.concatenate(scored), np.concatenate(ends, axis=1), where if by_position else None


def _exact(
    model: Model, graph: Graph, task: Task, options: Options, progress: Progress | None
) -> Float[np.ndarray, "n_pair n_edge"]:
    """Run every edge in one direction, or average both directions."""
    ways = {"noise": [(task, 1.0)], "denoise": [(task.flipped(), -1.0)]}
    chosen = ways["noise"] + ways["denoise"] if options.direction == "both" else ways[options.direction]
    runs = [
        sign * exact_edges(model, graph, way, folder=options.folder, limit=options.limit, progress=progress)
        for way, sign in chosen
    ]
    return np.mean(runs, axis=0)
