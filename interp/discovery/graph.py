"""Graph of a model: an edge from every writer to every later reader. No torch here.

Writers are the embedding, every head and every MLP, in the order they write: a reader sees a prefix of them. Readers
are the query, key and value inputs of heads, the input of every MLP, and the logits. With grouped queries several heads
share one key and one value input, and `grouped` counts these once, as the model has them: SmolLM2 has 70,651 edges so,
and 123,211 where every query head gets a key and value input of its own, as the MIB benchmark counts (2504.13151).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Int

from interp.errors import UsageError, nearest
from interp.results import Result

if TYPE_CHECKING:
    from interp.model import Spec

ARROW = " → "
BRANCHES = ("q", "k", "v")


@dataclass(frozen=True, eq=False)
class Graph(Result):
    """Nodes and edges of one architecture.

    Edges lie reader by reader, each reader's writers in order.

    >>> graph = discovery.Graph.of(model.spec)
    >>> graph.n_edge, graph.edges[:2]
    (190, ('embed → L0H0.q', 'embed → L0H1.q'))
    """

    n_layer: int
    n_head: int
    n_kv_head: int
    parallel: bool
    grouped: bool = True

    @classmethod
    def of(cls, spec: Spec, *, grouped: bool = True) -> Graph:
        """Return the graph of a model with these facts.

        The experts of a layer are one MLP.

        >>> discovery.Graph.of(model.spec, grouped=False).n_edge
        262
        """
        return cls(spec.n_layer, spec.n_head, spec.n_kv_head, spec.parallel, grouped)

    @property
    def n_key(self) -> int:
        """Key inputs in a layer, and as many value inputs."""
        return self.n_kv_head if self.grouped else self.n_head

    @property
    def share(self) -> int:
        """Query heads that read one key input."""
        return self.n_head // self.n_key

    @cached_property
    def writers(self) -> tuple[str, ...]:
        """Names of the writers, such as "embed", "L5H2", "MLP5"."""
        layers = range(self.n_layer)
        return ("embed", *(n for at in layers for n in (*(f"L{at}H{h}" for h in range(self.n_head)), f"MLP{at}")))

    @cached_property
    def readers(self) -> tuple[str, ...]:
        """Names of the readers: "L5H2.q", "L5KV0.k" (shared) or "L5H2.k", "MLP5", "logits"."""
        key = "KV" if self.share > 1 else "H"
        names = []
        for at in range(self.n_layer):
            names += [f"L{at}H{head}.q" for head in range(self.n_head)]
            names += [f"L{at}{key}{head}.{branch}" for branch in "kv" for head in range(self.n_key)]
            names.append(f"MLP{at}")
        return (*names, "logits")

    @property
    def per_layer(self) -> int:
        """Readers in a layer."""
        return self.n_head + 2 * self.n_key + 1

    def attention(self, layer: int) -> slice:
        """Return the readers of a layer's attention: queries, keys, values.

        >>> graph.readers[graph.attention(0)]
        ('L0H0.q', 'L0H1.q', 'L0H2.q', 'L0H3.q', 'L0KV0.k', 'L0KV1.k', 'L0KV0.v', 'L0KV1.v')
        """
        return slice(layer * self.per_layer, (layer + 1) * self.per_layer - 1)

    def mlp(self, layer: int) -> slice:
        """Return the reader of a layer's MLP.

        >>> graph.readers[graph.mlp(0)]
        ('MLP0',)
        """
        at = (layer + 1) * self.per_layer - 1
        return slice(at, at + 1)

    @property
    def logits(self) -> slice:
        """The last reader."""
        return slice(self.n_layer * self.per_layer, self.n_layer * self.per_layer + 1)

    def heads(self, layer: int) -> slice:
        """Return the writers of a layer's attention.

        >>> graph.writers[graph.heads(1)]
        ('L1H0', 'L1H1', 'L1H2', 'L1H3')
        """
        start = 1 + layer * (self.n_head + 1)
        return slice(start, start + self.n_head)

    def mlps(self, layer: int) -> slice:
        """Return the writer of a layer's MLP.

        >>> graph.writers[graph.mlps(1)]
        ('MLP1',)
        """
        end = 1 + (layer + 1) * (self.n_head + 1)
        return slice(end - 1, end)

    @cached_property
    def visible(self) -> Int[np.ndarray, " n_reader"]:
        """How many writers each reader sees."""
        counts = []
        for layer in range(self.n_layer):
            before, with_heads = self.heads(layer).start, self.heads(layer).stop
            counts += [before] * (self.per_layer - 1) + [before if self.parallel else with_heads]
        return np.array([*counts, len(self.writers)])

    @cached_property
    def offsets(self) -> Int[np.ndarray, " n_reader_and_end"]:
        """Where each reader's edges begin, and the number of edges."""
        return np.concatenate([[0], np.cumsum(self.visible)])

    @property
    def n_edge(self) -> int:
        """Number of edges."""
        return int(self.offsets[-1])

    @cached_property
    def reader(self) -> Int[np.ndarray, " n_edge"]:
        """The reader of every edge."""
        return np.repeat(np.arange(len(self.visible)), self.visible)

    @cached_property
    def writer(self) -> Int[np.ndarray, " n_edge"]:
        """The writer of every edge."""
        return np.arange(self.n_edge) - self.offsets[self.reader]

    @cached_property
    def weight(self) -> Int[np.ndarray, " n_edge"]:
        """Number of edges that each edge stands for.

        It is counted as in a graph where no head shares keys or values.
        """
        shared = np.array([name.endswith((".k", ".v")) for name in self.readers])
        return np.where(shared, self.n_head // self.n_key if self.grouped else 1, 1)[self.reader]

    @cached_property
    def edges(self) -> tuple[str, ...]:
        """Names of the edges, such as "L3H1 → L5H2.q"."""
        ends = zip(self.writer.tolist(), self.reader.tolist(), strict=True)
        return tuple(f"{self.writers[writer]}{ARROW}{self.readers[reader]}" for writer, reader in ends)

    @cached_property
    def owners(self) -> tuple[tuple[int, ...], ...]:
        """Writers that each reader is an input of.

        A query's is its head, a key's all heads that share it, and the logits have none.
        """
        owning: list[tuple[int, ...]] = []
        for layer in range(self.n_layer):
            first = self.heads(layer).start
            groups = [tuple(first + k * self.share + i for i in range(self.share)) for k in range(self.n_key)]
            owning += [(first + head,) for head in range(self.n_head)] + groups + groups
            owning.append((self.mlps(layer).start,))
        return (*owning, ())

    def index(self, edge: str) -> int:
        """Return the index of an edge by its name.

        Raises `UsageError` for one that does not exist.

        >>> graph.index(graph.edges[7])
        7
        """
        writer, _, reader = edge.partition(ARROW)
        for name, known in ((writer, self.writers), (reader, self.readers)):
            if name not in known:
                raise UsageError(f'The graph has no edge "{edge}": "{name}" is unknown{nearest(name, known)}.')
        at, by = self.readers.index(reader), self.writers.index(writer)
        if by >= self.visible[at]:
            raise UsageError(f'The graph has no edge "{edge}": {writer} writes after {reader} reads.')
        return int(self.offsets[at]) + by

    def of_reader(self, reader: int) -> slice:
        """Return the edges of one reader.

        >>> graph.edges[graph.of_reader(graph.readers.index("MLP0"))]
        ('embed → MLP0', 'L0H0 → MLP0', 'L0H1 → MLP0', 'L0H2 → MLP0', 'L0H3 → MLP0')
        """
        return slice(int(self.offsets[reader]), int(self.offsets[reader + 1]))

    def matrix(self, values: np.ndarray, readers: slice) -> np.ndarray:
        """Return edge values as a matrix of readers by writers.

        The result is (n_reader, n_visible, ...); all readers must have the same writers.

        >>> graph.matrix(np.arange(graph.n_edge), graph.mlp(0))
        array([[ 8,  9, 10, 11, 12]])
        """
        start, stop = self.offsets[readers.start], self.offsets[readers.stop]
        return values[start:stop].reshape(readers.stop - readers.start, -1, *values.shape[1:])

    def connected(self, edges: Bool[np.ndarray, " n_edge"]) -> Bool[np.ndarray, " n_edge"]:
        """Return the edges on a path from embedding to logits.

        All edges of the path must be in the set. A head that reads through any of its inputs counts as reached; an
        input shared by heads leads to all of them.

        >>> every, none = np.ones(graph.n_edge, bool), np.zeros(graph.n_edge, bool)
        >>> int(graph.connected(every).sum()), int(graph.connected(none).sum())
        (190, 0)
        """
        current = edges.copy()
        while True:
            reached = self._reached(current)
            used = self._used(current)
            remaining = current & reached[self.writer] & used[self.reader]
            if (remaining == current).all():
                return current
            current = remaining

    def _reached(self, edges: np.ndarray) -> np.ndarray:
        """Return which writers something flows into; the embedding always."""
        reached = np.zeros(len(self.writers), bool)
        reached[0] = True
        for reader in np.unique(self.reader[edges]):
            reached[list(self.owners[reader])] = True
        return reached

    def _used(self, edges: np.ndarray) -> np.ndarray:
        """Return which readers lead somewhere; the logits always."""
        writes = np.zeros(len(self.writers), bool)
        writes[self.writer[edges]] = True
        return np.array([not owners or bool(writes[list(owners)].any()) for owners in self.owners])
