"""Study of a circuit.

It measures the model's ability, scores edges, chooses a circuit and evaluates it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from analyses.discovery.result import Config, Discovery, EdgeCheck, HeadView
from interp import discovery, tasks
from interp.arguments import checked
from interp.discovery.circuit import Circuit
from interp.discovery.graph import Graph
from interp.discovery.masks import evaluate
from interp.discovery.pairs import PairRuns
from interp.discovery.scores import EdgeScores
from interp.model import Model
from interp.progress import Progress, stages
from interp.provenance import Stopwatch
from interp.tasks import Task

STEPS = ("can the model do it?", "scoring edges", "faithfulness by size", "choosing", "judging", "done")
HEADS = 6
"""Largest number of heads whose attention is drawn."""
CHECKED = 20
"""Largest number of edges, or nodes, that are tested by running the model."""
SUFFIXES = (".csv", ".jsonl")


@checked
def run(
    model: Model,
    config: Config | None = None,
    *,
    command: str | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Discovery:
    """Find and judge the circuit of a task.

    Args:
        model: the model.
        config: settings of the study; `Config()` by default.
        command: the command that the user typed, for the provenance.
        seed: seed of the pairs, of their split and of the random circuits.
        progress: called with (steps done, steps in all, what is done).

    Returns:
        `Discovery` with the circuit and its faithfulness f (a fraction) on pairs that were not scored.

    Raises:
        UsageError: an unknown task or method, or pairs that cannot be split.

    Example:
        >>> from analyses import discovery
        >>> config = discovery.Config("gendered_pronoun", pairs=8, methods=("eap",), share=0.3, n_controls=2)
        >>> discovery.run(lm, config).circuit  # lm = interp.load("smollm2")
        Circuit(2 of 13 edges, 2 nodes, {'method': 'eap', 'by': 'signed', 'task': 'gendered_pronoun'})
    """
    config = Config() if config is None else config
    watch, step = Stopwatch(), stages(progress, STEPS)
    step(0)
    task = _task(model, config, seed)
    ability = task.score(model, seed=seed)
    first, second = task.split(seed=seed)
    step(1)
    scores = [
        discovery.score(model, first, method, by_position=i == 0, progress=progress)
        for i, method in enumerate(config.methods)
    ]
    step(2)
    curves = tuple(discovery.faithfulness(model, second, each, seed=seed) for each in scores)
    step(3)
    chosen = _chosen(model, first, scores[0], config.share)
    step(4)
    verdict = discovery.judge(model, second, chosen, scores=scores[0], n_controls=config.n_controls, seed=seed)
    heads = _heads(model, second, chosen)
    step(5)
    where = scores[0].by_position
    return Discovery(
        config=config,
        provenance=watch.provenance(command=command, seed=seed, **model.identity()),
        ability=ability,
        curves=curves,
        circuit=chosen,
        check=_check(model, first, scores[0]),
        by_position=np.zeros((chosen.size, 0)) if where is None else where[chosen.included].astype(np.float32),
        places=scores[0].places,
        heads=heads,
        verdict=verdict,
        example=task.labels[0],
        nodes=_check_nodes(model, first, scores[0]),
    )


def _task(model: Model, config: Config, seed: int) -> Task:
    """Return a task by name, or the pairs of a file."""
    if Path(config.task).suffix in SUFFIXES:
        return tasks.read(config.task, model)
    return tasks.make(config.task, model, n=config.pairs, seed=seed)


def _chosen(model: Model, task: Task, scores: EdgeScores, share: float) -> Circuit:
    return discovery.circuit(scores, share) if share else discovery.smallest(model, task, scores)


def _check(model: Model, task: Task, scores: EdgeScores) -> EdgeCheck:
    """Test the strongest edges by running the model in both directions."""
    best = scores.ranking("absolute")[:CHECKED]
    masks = [np.arange(scores.graph.n_edge) == edge for edge in best]
    names = tuple(scores.graph.edges[edge] for edge in best.tolist())
    return EdgeCheck(scores.method, names, scores.array[best], *_measured(model, task, scores.graph, masks))


def _check_nodes(model: Model, task: Task, scores: EdgeScores) -> EdgeCheck:
    """Test the strongest nodes by running the model in both directions.

    A test of a node is of all edges out of it at once.
    """
    best = np.argsort(-np.abs(scores.node_values), kind="stable")[:CHECKED]
    masks = [scores.graph.writer == node for node in best]
    names = tuple(scores.graph.writers[node] for node in best.tolist())
    values = scores.node_values[best]
    return EdgeCheck(scores.method, names, values, *_measured(model, task, scores.graph, masks), what="nodes")


def _measured(model: Model, task: Task, graph: Graph, masks: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return the effects of each mask in both runs.

    The first is its change of the clean run, the second minus its change of the counterfactual run.
    """
    alone = [np.zeros(graph.n_edge), *(mask.astype(float) for mask in masks)]
    noise, denoise = (evaluate(model, graph, way, alone).mean(1) for way in (task, task.flipped()))
    return noise[1:] - noise[0], denoise[0] - denoise[1:]


@torch.no_grad()
def _heads(model: Model, task: Task, chosen: Circuit) -> tuple[HeadView, ...]:
    """Return where the circuit's strongest heads look from the end.

    Attention is the mean over the pairs.
    """
    graph = chosen.graph
    strength = np.bincount(graph.writer, np.where(chosen.included, chosen.scores, 0.0), len(graph.writers))
    order = [i for i in np.argsort(-np.abs(strength), kind="stable").tolist() if "H" in graph.writers[i]][:HEADS]
    runs = PairRuns(model, Graph.of(model.spec), task, start=0)
    views = []
    for writer in order:
        if strength[writer] == 0:
            continue
        layer, head = (int(part) for part in graph.writers[writer][1:].split("H"))
        stream = runs.clean.writes[:, : graph.heads(layer).start].sum(1)
        query, key, _ = runs.forward.project(layer, stream[:, None])
        pattern = runs.forward.pattern(layer, query, key)[torch.arange(len(task)), head, runs.end].mean(0)
        views.append(HeadView(graph.writers[writer], float(strength[writer]), pattern.float().cpu().numpy()))
    return tuple(views)
