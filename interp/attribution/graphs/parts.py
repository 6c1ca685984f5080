"""Edges taken apart: which heads carry them, and why those heads look where they do.

An edge passes through attention any number of times. Its parts are told by the head that first reads what the source
writes (in a contrast by that head's query, key or value), and what no head carries is direct:

    write(j) · J · a_i = write(j) · a_i + Σ_heads write(j) · (what the head carries on of all that lies above it)

Why a head looks from one position to another is the attention score between them, a sum over pairs of what wrote the
query and what wrote the key (`attribution.scores`), latents among both.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from interp.attribution.bilinear import scores
from interp.attribution.frozen import Frozen
from interp.attribution.graphs.result import Graph
from interp.attribution.graphs.sources import Sources
from interp.errors import UsageError, require, whole
from interp.report import Table

if TYPE_CHECKING:
    from interp.attribution.dictionaries.features import Features

PAIRS = 50
"""Pairs, and writers on either side, that are listed of one attention score."""


@dataclass(frozen=True)
class EdgeParts:
    """The edges into one node by the heads that carry them: `values` (n_source, n_reader) sum to the edges' weights.

    `readers` begin with "direct"; those that carry nothing are left out.
    """

    node: str
    sources: tuple[str, ...]
    readers: tuple[str, ...]
    values: np.ndarray

    def table(self, k: int = 20) -> Table:
        """The k largest parts."""
        order = np.argsort(-np.abs(self.values), axis=None)[: whole(k, "k", 0)]
        rows = [(self.sources[i // len(self.readers)], self.readers[i % len(self.readers)]) for i in order.tolist()]
        cells = tuple((*row, float(value)) for row, value in zip(rows, self.values.ravel()[order], strict=True))
        caption = f"What carries the edges into {self.node}: the head that first reads what a source writes."
        return Table(("source", "carried by", "part"), cells, caption, {"part": "+.4f"})


@torch.no_grad()
def edge_parts(mixed: Features, graph: Graph, node: str) -> EdgeParts:
    """Split the edges into a latent over the heads that carry them.

    Raises `UsageError` for a node that is no latent of the graph, or autoencoders beside the transcoders: what they
    take apart ends an edge.
    """
    require(graph, Graph, "graph")
    _only_transcoders(mixed)
    index = graph.index(node)
    if graph.kind[index] != "latent":
        raise UsageError(f'"{node}" is no latent: the edges into a latent are carried by heads.')
    sources = Sources(mixed)
    column = {f"{sources.name[i]}.f{sources.feature[i]}@{sources.position[i]}": i for i in range(sources.n_latent)}
    if graph.ids[index] not in column:
        raise UsageError("The graph is of another input than the one given: make both from the same prompt.")
    start, layer = _reading(mixed, sources, column[graph.ids[index]])
    into = np.flatnonzero(graph.target == index)
    writes = torch.stack([_write(mixed, sources, graph, int(graph.source[i]), column) for i in into])
    at = torch.from_numpy(graph.position[graph.source[into]])
    above = torch.from_numpy(graph.layer[graph.source[into]])
    found = {"direct": (writes * start[at]).sum(-1)}
    covectors, parallel = start, mixed.model.spec.parallel
    for below in reversed(range(layer + (not parallel))):
        names, apart, _ = mixed.pull.readers(below, covectors)
        parts = torch.einsum("em,erm->er", writes, apart[at]) * (above < below)[:, None]
        found |= dict(zip(names, parts.T, strict=True))
        covectors = covectors + apart.sum(-2)
    used = {name: part for name, part in found.items() if name == "direct" or part.any()}
    return EdgeParts(
        node=graph.ids[index],
        sources=tuple(graph.ids[graph.source[i]] for i in into),
        readers=tuple(used),
        values=torch.stack(list(used.values()), dim=1).cpu().numpy(),
    )


@torch.no_grad()
def with_queries(mixed: Features, graph: Graph, k: int = 10) -> Graph:
    """Return the graph with the attention score behind each of its k latents of most influence.

    For each, the head that writes most into it at its position, and the position from which that head takes most; the
    score between the two is split over pairs of writers. `to_neuronpedia` puts it into the field
    `qk_tracing_results` of the node.
    """
    require(graph, Graph, "graph")
    if not isinstance(mixed.base, Frozen):
        raise UsageError("The split of attention scores is added to the graph of a frozen input: see edge_parts.")
    sources = Sources(mixed)
    column = {f"{sources.name[i]}.f{sources.feature[i]}@{sources.position[i]}": i for i in range(sources.n_latent)}
    order = [i for i in np.argsort(-graph.influence, kind="stable") if graph.ids[i] in column]
    found = {}
    for i in order[: whole(k, "k", 0)]:
        start, layer = _reading(mixed, sources, column[graph.ids[i]])
        place = _head(mixed, start, layer + (not mixed.model.spec.parallel), int(graph.position[i]))
        if place is not None:
            found[graph.ids[i]] = _score(mixed, *place)
    return replace(graph, queries=found)


def _head(mixed: Features, start: Tensor, n_layer: int, t: int) -> tuple[int, int, int, int] | None:
    """(layer, head, query, key) of the head below that writes most into a covector, and of what it takes most from."""
    base, best, place = mixed.base, 0.0, None
    assert isinstance(base, Frozen)
    for layer in range(n_layer):
        first = base.layout.start(layer)
        writes = base.writes[first : first + base.model.spec.n_head, t] @ start[t]
        head = int(writes.abs().argmax())
        if float(writes[head].abs()) > best:
            best, place = float(writes[head].abs()), (layer, head)
    if place is None:
        return None
    layer, head = place
    at = torch.tensor([t])
    back, _ = base.pull.heads_at(layer, torch.tensor([head]), at, start[at])
    block, stream = base.blocks[layer], base.writes[: base.layout.start(layer)].sum(0)
    taken = block.pattern[head, t] * (stream @ back[0]) / block.attn_scale
    return layer, head, t, int(taken[: t + 1].abs().argmax())


def _score(mixed: Features, layer: int, head: int, query: int, key: int) -> dict[str, Any]:
    """The score's largest pairs and marginals, writers named as nodes of the graph."""
    found = scores(mixed, layer, head, query, key)
    names, n = [*found.writers], len(found.writers)
    order = np.argsort(-np.abs(found.array), kind="stable")[:PAIRS].tolist()
    sides = {}
    for side, values, at in (("queries", found.by_query(), query), ("keys", found.by_key(), key)):
        largest = np.argsort(-np.abs(values), kind="stable")[:PAIRS].tolist()
        sides[side] = tuple((f"{names[i]}@{at}", float(values[i])) for i in largest)
    pairs = tuple((f"{names[i // n]}@{query}", f"{names[i % n]}@{key}", float(found.array[i])) for i in order)
    return {
        "head": f"L{layer}H{head}",
        "query": query,
        "key": key,
        "score": found.value,
        "pairs": pairs,
        "rest": found.value - sum(pair[2] for pair in pairs),
        **sides,
    }


def _reading(mixed: Features, sources: Sources, column: int) -> tuple[Tensor, int]:
    """(covectors on the stream that a latent reads, its layer)."""
    layer, written = sources.stage_of(column)
    latents = sources.latents[layer, written]
    i = column - latents.first
    start = torch.zeros_like(mixed.writes[0])
    start[latents.at[i]] = latents.encoders[i]
    return start, layer


def _write(mixed: Features, sources: Sources, graph: Graph, row: int, column: dict[str, int]) -> Tensor:
    """What a node of the graph writes at its position."""
    position, kind = int(graph.position[row]), graph.kind[row]
    if kind == "token":
        return sources.embedded[position]
    if kind == "latent":
        at = column[graph.ids[row]]
        latents = sources.latents[sources.stage_of(at)]
        return latents.writes[at - latents.first]
    _, writes = sources.errors[int(graph.layer[row]), "mlp_out"]
    return writes[position - mixed.first]


def _only_transcoders(mixed: Features) -> None:
    if any(site.place.read == "write" or site.skip is not None for site in mixed.sites):
        raise UsageError("Edges are split over heads where all dictionaries are transcoders without a skip path.")
