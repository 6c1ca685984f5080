"""Any set of edges corrupted in one forward pass.

    x_v ← x_v + Σ_u mask[u, v] (a'_u − a_u)

with a' what writer u wrote in the counterfactual run and a what it writes in this one, which feels what was corrupted
before it (the mask of auto-circuit, UFO-101). All zeros is the clean run, all ones the counterfactual run; the gradient
with respect to the mask at zero is edge attribution patching.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interp.discovery.graph import Graph
from interp.discovery.pairs import LIMIT, PairRuns, batches, numbers
from interp.errors import UsageError
from interp.model import Model
from interp.tasks.task import Task

Outside = Literal["counterfactual", "mean", "zero"]
OUTSIDE = ("counterfactual", "mean", "zero")


def masked_run(
    runs: PairRuns,
    mask: Float[Tensor, "n_edge ..."],
    replacement: Float[Tensor, "batch n_writer n_token d_model"] | None = None,
) -> Float[Tensor, " batch"]:
    """Return each pair's measure with the edges corrupted as `mask` says.

    The mask is (n_edge,), or (n_edge, n_token).
    `replacement` stands for what is written in the counterfactual run. Differentiable in the mask.
    """
    graph, other = runs.graph, runs.other.writes if replacement is None else replacement
    changes = _Changes(other, mask.requires_grad)

    def wrote(writers: slice, values: Tensor) -> Tensor:
        changes.add(writers, other[:, writers] - values)
        return values

    def read(readers: slice, x: Tensor) -> Tensor:
        start, stop = int(graph.offsets[readers.start]), int(graph.offsets[readers.stop])
        rows = mask[start:stop].unflatten(0, (readers.stop - readers.start, -1))
        if rows.ndim == 2 and not rows.requires_grad and not rows.any():
            return x[:, None]
        return x[:, None] + _mixed(rows, changes.first(rows.shape[1]))

    return runs.measure(runs.forward.run(runs.embedded[0], read, wrote))


@torch.no_grad()
def evaluate(
    model: Model,
    graph: Graph,
    task: Task,
    corrupted: Sequence[np.ndarray],
    *,
    outside: Outside = "counterfactual",
    limit: int = LIMIT,
) -> Float[np.ndarray, "n_mask n_pair"]:
    """Return the measure of every pair under every mask, streaming pairs.

    Masks are (n_edge,) or (n_edge, T).

    Args:
        model: the model.
        graph: of the masks' edges.
        task: the pairs.
        corrupted: for each evaluation, how far each edge is corrupted: 1 (or true) wholly, 0 not at all.
        outside: what a corrupted edge carries: what the counterfactual run wrote, the mean over the task of what both
            runs wrote at that position, or zero.
        limit: bytes of writes in memory.

    Returns:
        The measure of each pair under each mask, in nats.

    Raises:
        UsageError: an unknown `outside`.

    >>> graph = discovery.Graph.of(model.spec)
    >>> evaluate(model, graph, task, [np.zeros(graph.n_edge), np.ones(graph.n_edge)]).round(3)
    array([[ 3.035, -1.183],
           [ 2.494,  1.711]])
    """
    if outside not in OUTSIDE:
        raise UsageError(f'outside="{outside}": choose {", ".join(OUTSIDE)}.')
    start = None if outside == "counterfactual" else 0
    mean = _mean_writes(model, graph, task, limit) if outside == "mean" else None
    measures = []
    for runs in batches(model, graph, task, start=start, copies=3, limit=limit):
        replacement = _replacement(runs, outside, mean)
        masks = (torch.from_numpy(np.asarray(mask, float)).to(runs.embedded) for mask in corrupted)
        cut = (mask if mask.ndim == 1 else mask[:, runs.start : runs.start + runs.embedded.shape[2]] for mask in masks)
        measures.append(torch.stack([masked_run(runs, mask, replacement) for mask in cut]))
    return numbers(torch.cat(measures, dim=1))


class _Changes:
    """What corrupting each writer would add, as far as they have written."""

    def __init__(self, like: Tensor, differentiable: bool):
        self.parts: list[Tensor] = []
        self.whole = None if differentiable else torch.empty_like(like)

    def add(self, writers: slice, values: Tensor) -> None:
        if self.whole is None:
            self.parts.append(values)
        else:
            self.whole[:, writers] = values

    def first(self, n: int) -> Tensor:
        return (torch.cat(self.parts, dim=1) if self.whole is None else self.whole)[:, :n]


def _mixed(rows: Tensor, changes: Float[Tensor, "batch n_writer n_token d_model"]) -> Tensor:
    if rows.ndim == 3:
        return torch.einsum("rut,butm->brtm", rows, changes)
    return (rows @ changes.flatten(2)).unflatten(2, changes.shape[2:])


def _replacement(runs: PairRuns, outside: Outside, mean: Tensor | None) -> Tensor | None:
    if outside == "counterfactual":
        return None
    if mean is None:
        return torch.zeros_like(runs.clean.writes)
    return mean[:, : runs.embedded.shape[2]].expand(len(runs), -1, -1, -1)


def _mean_writes(model: Model, graph: Graph, task: Task, limit: int) -> Float[Tensor, "n_writer n_token d_model"]:
    """Return the mean writes of both runs at each position.

    Over all pairs that have the position.
    """
    shape = (len(graph.writers), task.clean.shape[1], model.spec.d_model)
    total = torch.zeros(shape, dtype=model.dtype, device=model.device)
    count = torch.zeros(shape[1], dtype=model.dtype, device=model.device)
    for runs in batches(model, graph, task, start=0, limit=limit):
        n_token = runs.embedded.shape[2]
        alive = (torch.arange(n_token, device=model.device) <= runs.end[:, None]).to(model.dtype)
        both = runs.clean.writes + runs.other.writes
        total[:, :n_token] += torch.einsum("butm,bt->utm", both, alive)
        count[:n_token] += 2 * alive.sum(0)
    return total / count.clamp_min(1)[:, None]
