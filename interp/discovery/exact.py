"""Every edge run for real: x_v ← x_v + a'_u − a_u in the clean run.

All edges into one part are rows of batches that begin where the part reads, with the keys and values of earlier
positions shared, so that an edge costs the blocks after it on the positions after the first difference, and no more.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interp.discovery.graph import Graph
from interp.discovery.pairs import LIMIT, PairRuns, numbers
from interp.errors import DamagedFileError
from interp.files import writable_folder, write_atomic
from interp.model import Model
from interp.progress import Progress, advance
from interp.tasks.task import Task, log_odds

ROW_COPIES = 24
"""Streams that a row holds at its largest, most of them the MLP's hidden units: bounds the rows run at once."""


@torch.no_grad()
def exact_edges(
    model: Model,
    graph: Graph,
    task: Task,
    *,
    folder: str | Path | None = None,
    limit: int = LIMIT,
    progress: Progress | None = None,
) -> Float[np.ndarray, "n_pair n_edge"]:
    """Return the measured change of every edge of every pair.

    With `folder`, each part of each pair is written there when it is done, and a run that was stopped goes on after the
    last one. Raises `DamagedFileError` for a file that is not of this run.
    """
    store = _Store(folder, model, graph, task)
    total, done = len(task) * (2 * graph.n_layer + 1), 0
    scores = np.zeros((len(task), graph.n_edge))
    for number, pair in enumerate(task):
        runs: PairRuns | None = None
        for readers in _parts(graph):
            start, stop = int(graph.offsets[readers.start]), int(graph.offsets[readers.stop])
            values = store.read(number, readers, stop - start)
            if values is None:
                runs = PairRuns(model, graph, pair) if runs is None else runs
                values = numbers(_Rows(runs, limit).part(readers))
                store.write(number, readers, values)
            scores[number, start:stop] = values
            done += 1
            advance(progress, done, total, f"pair {number + 1}, {graph.readers[readers.start]}")
    return scores


@torch.no_grad()
def exact_nodes(model: Model, graph: Graph, task: Task, *, limit: int = LIMIT) -> Float[np.ndarray, "n_pair n_writer"]:
    """Return what corrupting all that one writer writes changes, for every pair.

    This is node patching.

    The writers of a pair are rows of one batch, each of which begins after the part that writes.
    """
    return np.stack([numbers(_Rows(PairRuns(model, graph, pair), limit).nodes()) for pair in task])


class _Rows:
    """The edges of one pair, part by part, and its nodes."""

    def __init__(self, runs: PairRuns, limit: int):
        self.runs, self.graph, self.forward = runs, runs.graph, runs.forward
        self.n_token, width = runs.embedded.shape[2:]
        wide = max(width * ROW_COPIES, 4 * runs.model.spec.d_mlp)
        self.lot = max(1, limit // (self.n_token * wide * runs.embedded.element_size()))

    def part(self, readers: slice) -> Float[Tensor, " n_edge"]:
        """Return the measure's change by each edge into some readers.

        In the order of the graph.
        """
        graph = self.graph
        changes = self.runs.difference[0, : int(graph.visible[readers.start])]
        if readers == graph.logits:
            return self._measured(self.stream(graph.n_layer) + changes)
        layer = readers.start // graph.per_layer
        rows = self._mlp(layer, changes) if readers == graph.mlp(layer) else self._attention(layer, changes)
        return torch.cat([self._measured(self.forward.run(lot, layer=layer + 1)) for lot in rows])

    def nodes(self) -> Float[Tensor, " n_writer"]:
        """Return the measure's change by each writer.

        In the order of the graph.
        """
        graph, forward, writes, changes = self.graph, self.forward, self.runs.clean.writes, self.runs.difference[0]
        x = self.stream(0) + changes[:1]
        for layer in range(graph.n_layer):
            earlier = [forward.block(layer, lot) for lot in x.split(self.lot)]
            middle = writes[:, : graph.heads(layer).stop].sum(1) + changes[graph.heads(layer)]
            heads = middle + forward.mlp(layer, self.stream(layer) if graph.parallel else middle)
            x = torch.cat([*earlier, heads, self.stream(layer + 1) + changes[graph.mlps(layer)]])
        return self._measured(x)

    def stream(self, layer: int) -> Float[Tensor, "1 n_token d_model"]:
        """Return the clean stream that enters a block.

        After the last one for `n_layer`.
        """
        stop = self.graph.heads(layer).start if layer < self.graph.n_layer else len(self.graph.writers)
        return self.runs.clean.writes[:, :stop].sum(1)

    def _mlp(self, layer: int, changes: Tensor) -> Iterator[Float[Tensor, "row n_token d_model"]]:
        """Return streams after the block when its MLP's input is changed."""
        middle = self.runs.clean.writes[:, : self.graph.heads(layer).stop].sum(1)
        read = self.stream(layer) if self.graph.parallel else middle
        return (middle + self.forward.mlp(layer, read + lot) for lot in changes.split(self.lot))

    def _attention(self, layer: int, changes: Tensor) -> Iterator[Float[Tensor, "row n_token d_model"]]:
        """Return streams after the block when attention's inputs are changed.

        One input at a time, all inputs in turn.
        """
        stream = self.stream(layer)
        waiting: list[Tensor] = []
        for at in range(self.graph.per_layer - 1):
            waiting += [self._heads(layer, at, stream, lot) for lot in changes.split(self.lot)]
            if sum(map(len, waiting)) >= self.lot or at == self.graph.per_layer - 2:
                middle = stream + torch.cat(waiting)
                for rows in middle.split(self.lot):
                    yield rows + self.forward.mlp(layer, stream if self.graph.parallel else rows)
                waiting.clear()

    def _heads(self, layer: int, at: int, stream: Tensor, changes: Tensor) -> Float[Tensor, "row n_token d_model"]:
        """Return what attention writes when one of its inputs is changed.

        Only the heads that read it change.
        """
        graph, forward = self.graph, self.forward
        group, index = divmod(at - graph.n_head, graph.n_key)
        branch, index = ("q", at) if at < graph.n_head else ("kv"[group], index)
        key = index // graph.share if branch == "q" else index
        mine = slice(index, index + 1) if branch == "q" else slice(key * graph.share, (key + 1) * graph.share)
        kv = slice(key, key + 1)
        query, keys, values = forward.project(layer, stream[:, None])
        parts = {"q": query[:, mine], "k": keys[:, kv], "v": values[:, kv]}
        parts[branch] = forward.project_head(layer, branch, index, stream + changes)
        z = forward.mix(layer, query, keys, values).repeat(len(changes), 1, 1, 1)
        z[:, mine] = forward.mix(layer, parts["q"], parts["k"], parts["v"], mine)
        return forward.total(layer, z)

    def _measured(self, rows: Float[Tensor, "row n_token d_model"]) -> Float[Tensor, " row"]:
        """Return how far the measure of final streams lies from the clean."""
        runs = self.runs
        logits = self.forward.final(rows[:, int(runs.end[0])], runs.answers.columns, runs.answers.bias)
        right, wrong = (x.expand(len(rows), *x.shape[1:]) for x in (runs.answers.right, runs.answers.wrong))
        return log_odds(logits, right, wrong) - runs.clean.measure


class _Store:
    """Finished parts on disk, one file for each part of each pair."""

    def __init__(self, folder: str | Path | None, model: Model, graph: Graph, task: Task):
        self.folder = None if folder is None else writable_folder(folder)
        if self.folder is not None:
            digest = hashlib.sha256(f"{model.weights_sha256} {graph.grouped}".encode())
            for tokens in (task.clean, task.counterfactual, task.right, task.wrong, task.end):
                digest.update(f"{tuple(tokens.shape)} {tokens.tolist()};".encode())
            self.name = digest.hexdigest()[:16]

    def read(self, pair: int, readers: slice, size: int) -> np.ndarray | None:
        """Return the values of a part that is done, else None."""
        path = self._path(pair, readers)
        if path is None or not path.is_file():
            return None
        values = np.frombuffer(path.read_bytes(), np.float64)
        if len(values) != size:
            raise DamagedFileError(f"{path} has {len(values)} values, not {size}: remove it and run again.")
        return values

    def write(self, pair: int, readers: slice, values: np.ndarray) -> None:
        """Write a finished part, whole or not at all."""
        path = self._path(pair, readers)
        if path is not None:
            write_atomic(path, np.ascontiguousarray(values, np.float64).tobytes())

    def _path(self, pair: int, readers: slice) -> Path | None:
        return None if self.folder is None else self.folder / f"exact-{self.name}-{pair}-{readers.start}.f64"


def _parts(graph: Graph) -> Iterator[slice]:
    for layer in range(graph.n_layer):
        yield graph.attention(layer)
        yield graph.mlp(layer)
    yield graph.logits
