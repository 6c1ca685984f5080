"""Parts of edges: which heads carry them, and why those heads look where they do.

An edge passes through attention, and through skip paths of transcoders, any number of times. Its parts are named by the
head (in a contrast by that head's query, key or value) or the skip path that first reads what the source writes, and
what none of them carries is direct:

    write(j) · J · a_i = write(j) · a_i + Σ_heads write(j) · (what the head carries on of all that lies above it)

Why a head looks from one position to another is the attention score between them, a sum over pairs of what wrote the
query and what wrote the key (`attribution.scores`), latents among both.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interp.attribution.bilinear import scores
from interp.attribution.dictionaries.protocol import WRITTEN
from interp.attribution.frozen import Frozen
from interp.attribution.graphs.result import Graph
from interp.attribution.graphs.sources import Sources, Stage
from interp.errors import UsageError, require, whole
from interp.report import Table
from interp.tensors import as_tensor

if TYPE_CHECKING:
    from interp.attribution.dictionaries.features import Features

RESID_PRE, ATTENTION, RESID_MID, MLP, RESID_POST = range(len(WRITTEN))
Order = tuple[int, int]
"""A place in the order of a run: the layer, and the stage of its block."""
PAIRS = 50
"""Pairs, and writers on either side, that are listed of one attention score."""


@dataclass(frozen=True)
class EdgeParts:
    """Edges into one node, split by the heads that carry them.

    `array` (n_source, n_reader) sum to the edges' weights. `readers` begin with "direct"; those that carry nothing are
    left out.

    >>> mixed = attribution.features(attribution.freeze(model, tokens), 4)
    >>> graph = attribution.graph(mixed, attribution.logit(model, " Paris"))
    >>> parts = attribution.edge_parts(mixed, graph, [node.id for node in graph.nodes if node.kind == "latent"][-1])
    """

    node: str
    sources: tuple[str, ...]
    readers: tuple[str, ...]
    array: np.ndarray

    @property
    def values(self) -> Tensor:
        """The parts as a torch tensor."""
        return as_tensor(self.array)

    def table(self, k: int = 20) -> Table:
        """Return the k largest parts.

        >>> parts.table(2).rows
        (('MLP1.f4@3', 'direct', -0.619), ('MLP1.error@3', 'direct', -0.549))
        """
        order = np.argsort(-np.abs(self.array), axis=None)[: whole(k, "k", 0)]
        rows = [(self.sources[i // len(self.readers)], self.readers[i % len(self.readers)]) for i in order.tolist()]
        cells = tuple((*row, float(value)) for row, value in zip(rows, self.array.ravel()[order], strict=True))
        caption = f"What carries the edges into {self.node}: the head that first reads what a source writes."
        return Table(("source", "carried by", "part"), cells, caption, {"part": "+.4f"})


@torch.no_grad()
def edge_parts(mixed: Features, graph: Graph, node: str) -> EdgeParts:
    """Split the edges into a latent over heads and skip paths.

    Each part is what one of them carries.

    Args:
        mixed: the input of the graph.
        graph: the graph.
        node: the id of a latent of the graph.

    Returns:
        The parts, which sum to the weights of the edges.

    Raises:
        UsageError: a node that is not a latent of the graph, or a graph of another input.

    >>> mixed = attribution.features(attribution.freeze(model, tokens), 4)
    >>> graph = attribution.graph(mixed, attribution.logit(model, " Paris"))
    >>> edge_parts(mixed, graph, [node.id for node in graph.nodes if node.kind == "latent"][-1]).readers
    ('direct', 'L2H0', 'L2H1', 'L2H2', 'L2H3', 'L1H0', 'L1H1', 'L1H2', 'L1H3', 'L0H0', 'L0H1', 'L0H2', 'L0H3')
    """
    require(graph, Graph, "graph")
    index = graph.index(node)
    if graph.kind[index] != "latent":
        raise UsageError(f'"{node}" is not a latent: heads carry the edges into a latent.')
    sources = Sources(mixed)
    column = sources.column_of
    if graph.ids[index] not in column:
        raise UsageError("The graph is of another input than the one given: make both from the same prompt.")
    into = np.flatnonzero(graph.target == index)
    pieces = [(row, *piece) for row, i in enumerate(into) for piece in _pieces(sources, graph, int(graph.source[i]))]
    rows = torch.tensor([row for row, *_ in pieces])
    orders = [order for _, order, _ in pieces]
    writes = torch.stack([write for *_, write in pieces])
    at = torch.from_numpy(graph.position[graph.source[into]])[rows]
    carried: dict[str, Tensor] = {}
    for names, reads, apart in _carriers(mixed, sources, column[graph.ids[index]]):
        seen = torch.tensor([order < reads for order in orders]).to(writes)
        values = torch.einsum("pm,prm->pr", writes, apart[at]) * seen[:, None]
        parts = values.new_zeros(len(into), len(names)).index_add_(0, rows, values)
        carried |= dict(zip(names, parts.T, strict=True))
    used = {name: part for name, part in carried.items() if name == "direct" or part.any()}
    return EdgeParts(
        node=graph.ids[index],
        sources=tuple(graph.ids[graph.source[i]] for i in into),
        readers=tuple(used),
        array=torch.stack(list(used.values()), dim=1).cpu().numpy(),
    )


def _carriers(
    mixed: Features, sources: Sources, column: int
) -> Iterator[tuple[tuple[str, ...], Order, Float[Tensor, "n_token reader d_model"]]]:
    """Yield what carries edges into a latent: (names, where they read, covectors).

    A stream that an autoencoder decomposes ends all edges, and heads whose sum it decomposes carry none.
    """
    covectors, reads, through_heads = _reading(mixed, sources, column)
    yield ("direct",), reads, torch.zeros_like(covectors)[:, None] if through_heads else covectors[:, None]
    parallel = mixed.model.spec.parallel
    for layer in reversed(range(reads[0] + 1)):
        after = covectors
        if (layer, RESID_POST) < reads and (layer, "resid_post") in sources.sites:
            return
        site = sources.sites.get((layer, "mlp_out"))
        if (layer, MLP) < reads and site is not None and site.skip is not None:
            back = site.skip.back(slice(None), after)[0]
            yield (f"{site.place.name}.skip",), (layer, ATTENTION if parallel else MLP), back[:, None]
            covectors = covectors + back
        if (layer, RESID_MID) < reads and (layer, "resid_mid") in sources.sites:
            return
        own = through_heads and layer == reads[0]
        if own or ((layer, ATTENTION) < reads and (layer, "attn_out") not in sources.sites):
            names, apart, _ = mixed.pull.readers(layer, after if parallel else covectors)
            yield tuple(names), (layer, ATTENTION), apart
            covectors = apart.sum(-2) if own else covectors + apart.sum(-2)
        if (layer, RESID_PRE) < reads and (layer, "resid_pre") in sources.sites:
            return


@torch.no_grad()
def with_queries(mixed: Features, graph: Graph, k: int = 10) -> Graph:
    """Return the graph with the attention scores behind its main latents.

    For each of the k latents of most influence: the head that writes most into it at its position, and the position
    from which that head takes most. The score between the two is split over pairs of writers. `to_neuronpedia` puts it
    into the field `qk_tracing_results` of the node.

    Args:
        mixed: the input of the graph, frozen.
        graph: the graph.
        k: how many latents.

    Returns:
        The graph with `queries`.

    Raises:
        UsageError: a graph of a contrast.

    >>> mixed = attribution.features(attribution.freeze(model, tokens), 4)
    >>> graph = attribution.graph(mixed, attribution.logit(model, " Paris"))
    >>> len(with_queries(mixed, graph, k=2).queries)
    2
    """
    require(graph, Graph, "graph")
    if not isinstance(mixed.base, Frozen):
        raise UsageError("The split of attention scores is added to the graph of a frozen input: see edge_parts.")
    sources = Sources(mixed)
    column = sources.column_of
    order = [i for i in np.argsort(-graph.influence, kind="stable") if graph.ids[i] in column]
    scores_of = {}
    for i in order[: whole(k, "k", 0)]:
        start, reads, through_heads = _reading(mixed, sources, column[graph.ids[i]])
        layers = range(reads[0] + ((reads[0], ATTENTION) < reads))
        if through_heads:
            layers = range(reads[0], reads[0] + 1)
        place = _head(mixed, start, layers, int(graph.position[i]))
        if place is not None:
            scores_of[graph.ids[i]] = _score(mixed, *place)
    return replace(graph, queries=scores_of)


def _head(mixed: Features, start: Tensor, layers: range, t: int) -> tuple[int, int, int, int] | None:
    """Return the head that writes most into a covector.

    As (layer, head, query, key).
    """
    base, best, place = mixed.base, 0.0, None
    assert isinstance(base, Frozen)
    for layer in layers:
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
    """Return the score's largest pairs and marginals, writers named as nodes."""
    parts = scores(mixed, layer, head, query, key)
    names, n = [*parts.writers], len(parts.writers)
    order = np.argsort(-np.abs(parts.array), kind="stable")[:PAIRS].tolist()
    sides = {}
    for side, values, at in (("queries", parts.by_query(), query), ("keys", parts.by_key(), key)):
        largest = np.argsort(-np.abs(values), kind="stable")[:PAIRS].tolist()
        sides[side] = tuple((f"{names[i]}@{at}", float(values[i])) for i in largest)
    pairs = tuple((f"{names[i // n]}@{query}", f"{names[i % n]}@{key}", float(parts.array[i])) for i in order)
    return {
        "head": f"L{layer}H{head}",
        "query": query,
        "key": key,
        "score": parts.value,
        "pairs": pairs,
        "rest": parts.value - sum(pair[2] for pair in pairs),
        **sides,
    }


def _reading(mixed: Features, sources: Sources, column: int) -> tuple[Tensor, Order, bool]:
    """Return a latent's covectors and where they are read.

    (covectors on a latent's input, where it reads, whether that is the heads' sum).
    """
    layer, written = sources.stage_of(column)
    latents, i = sources.latent(column)
    place = sources.sites[layer, written].place
    start = torch.zeros_like(mixed.writes[0])
    start[latents.at[i]] = latents.encoders[i]
    if place.read == "write" and written == "attn_out":
        return start, (layer, ATTENTION), True
    if written != "mlp_out":
        return start, place.order, False
    if place.read == "write":
        start = mixed.pull.mlp(layer, start)[0]
    return start, (layer, ATTENTION if mixed.model.spec.parallel else MLP), False


def _pieces(sources: Sources, graph: Graph, row: int) -> list[tuple[Order, Tensor]]:
    """Return where and what a node of the graph writes.

    As (where, what); a cross-layer latent several times.
    """
    position, kind = int(graph.position[row]), graph.kind[row]
    if kind == "token":
        return [((-1, 0), sources.embedded[position])]
    if kind == "latent":
        latents, i = sources.latent(sources.column_of[graph.ids[row]])
        return [(_order(stage), latents.writes(stage)[i]) for stage in latents.directions]
    first = sources.features.first
    stage = next(s for s, (column, _) in sources.errors.items() if sources.name[column] == graph.name[row])
    return [(_order(stage), sources.errors[stage][1][position - first])]


def _order(stage: Stage) -> Order:
    return stage[0], WRITTEN.index(stage[1])
