"""Study of the faithfulness of edge rankings.

Edges are scored on some pairs of each task, and the rankings judged on others.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np

from analyses.faithful.result import Config, Faithfulness, Row
from interp import discovery, tasks
from interp.arguments import checked
from interp.discovery.curve import Curve
from interp.discovery.exact import exact_nodes
from interp.discovery.graph import Graph
from interp.errors import UsageError, nearest
from interp.model import Model
from interp.progress import Progress, advance
from interp.provenance import Stopwatch
from interp.statistics import Interval
from interp.tasks.task import Task


@checked
def run(
    model: Model,
    config: Config,
    *,
    command: str | None = None,
    seed: int | None = 0,
    progress: Progress | None = None,
) -> Faithfulness:
    """Compare scores of edges and nodes on held-out pairs.

    Args:
        model: the model.
        config: tasks, methods and number of pairs.
        command: the command that the user typed, for the provenance.
        seed: seed of the pairs and of their split.
        progress: called with (rows done, rows in all, what is done).

    Returns:
        `Faithfulness` with a row for each task and method.

    Raises:
        UsageError: a task or method that does not exist, or fewer than four pairs.

    Example:
        >>> from analyses import faithful
        >>> config = faithful.Config(("gendered_pronoun",), ("eap", "random"), pairs=6, nodes=())
        >>> [row.method for row in faithful.run(lm, config).rows]  # lm = interp.load("smollm2")
        ['eap', 'random']
    """
    _check(config)
    watch, rows = Stopwatch(), []
    n = len(config.tasks) * len(config.methods)
    for name in config.tasks:
        task = tasks.make(name, model, n=config.pairs, seed=seed or 0)
        fit, judge = task.split(1 - config.n_judged / config.pairs, seed=seed or 0, by="pair")
        accuracy = judge.score(model).accuracy
        exact = _node_effects(model, fit) if name in config.nodes else None
        compared: dict[str, tuple[Row, Curve]] = {}
        for method in config.methods:
            control = next((curve for _, curve in compared.values()), None)
            compared[method] = _row(model, fit, judge, method, exact, control)
            row = compared[method][0]
            done = f"{name}: {method}: CPR {row.cpr[0]:.3f}, CMD {row.cmd[0]:.3f}"
            advance(progress, len(rows) + len(compared), n, done)
        rows += [_compared(row, curve, compared[config.ours], accuracy) for row, curve in compared.values()]
    provenance = watch.provenance(command=command, seed=seed, **model.identity())
    return Faithfulness(config=config, provenance=provenance, rows=tuple(rows))


def _row(
    model: Model, fit: Task, judge: Task, method: str, exact: np.ndarray | None, control: Curve | None
) -> tuple[Row, Curve]:
    (name, settings), clock = parsed(method), time.process_time()
    scores = discovery.score(model, fit, name, **settings)
    seconds = time.process_time() - clock
    curve = discovery.faithfulness(model, judge, scores, control=control)
    random = curve.random_areas
    correlation = None if exact is None else float(np.corrcoef(exact, np.array(list(scores.nodes.values())))[0, 1])
    row = Row(
        task=fit.name,
        method=method,
        cpr=_triple(curve.cpr_interval),
        cmd=_triple(curve.cmd_interval),
        random=(random["cpr"], random["cmd"]),
        seconds=round(seconds, 2),
        pearson=correlation,
        accuracy=float("nan"),
    )
    return row, curve


def _compared(row: Row, curve: Curve, ours: tuple[Row, Curve], accuracy: float) -> Row:
    """Return the row with its areas less those of the first method."""
    more = {} if ours[1] is curve else curve.less(ours[1])
    return replace(row, accuracy=accuracy, cpr_more=more.get("cpr"), cmd_more=more.get("cmd"))


def parsed(method: str) -> tuple[str, dict[str, Any]]:
    """Return a method's name and its settings.

    "eap-ig-inputs steps=20" gives ("eap-ig-inputs", {"steps": 20}).

    >>> parsed("eap-ig-inputs steps=20")
    ('eap-ig-inputs', {'steps': 20})
    """
    name, *settings = method.split()
    pairs = (setting.split("=", 1) for setting in settings if "=" in setting)
    return name, {key: int(value) if value.isdigit() else value for key, value in pairs}


def _triple(interval: Interval) -> tuple[float, float, float]:
    value, low, high = interval
    return value, low, high


def _node_effects(model: Model, task: Task) -> np.ndarray:
    """Return the effect of corrupting each node alone.

    It is the mean of both directions: corrupted in the clean run, and restored in the counterfactual run.
    """
    graph = Graph.of(model.spec)
    noise, restored = (exact_nodes(model, graph, way).mean(0) for way in (task, task.flipped()))
    return (noise - restored) / 2


def _check(config: Config) -> None:
    for kind, given, known in (
        ("task", config.tasks, tasks.names()),
        ("method", [parsed(method)[0] for method in config.methods], discovery.METHODS),
    ):
        for name in given:
            if name not in known:
                raise UsageError(f'Unknown {kind} "{name}"{nearest(name, known)}; known: {", ".join(known)}.')
    if config.pairs < 4:
        raise UsageError(f"pairs={config.pairs}: give at least 4, half to score and half to judge.")
    if not 2 <= config.n_judged <= config.pairs - 2:
        raise UsageError(f"judged={config.judged}: at least 2 of the {config.pairs} pairs must judge, and 2 score.")
