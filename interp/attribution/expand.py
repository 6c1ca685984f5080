"""One round of the path tree: many nodes expanded at once.

All children of a node share one vector w, the node's covector carried back to the residual stream:

    child (c, s) of a head at t:    value = pattern[t, s] / s_norm(s) · write(c)_s · w,    w = W_V' W_O u
    child (c, t) of an MLP at t:    value = write(c)_t · w,    w = W_in' (multiplier ⊙ W_out u) / s_norm(t)

so a round is a few matrix products over every writer at every position, and a child need only remember its parent and
the factor in front. Nodes are taken in the order of their layers, because what a layer sees is a prefix of the writers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp.attribution.linearised import Linear, start_of

if TYPE_CHECKING:
    from interp.attribution.components import Layout
    from interp.attribution.frozen import Frozen
    from interp.attribution.head_batch import HeadBatch

WHOLE = -1
"""The position of a node that is a component at all positions."""

LOT_NODES, LOT_VALUES = 64, 2**24
"""Nodes taken back at once: enough for a matrix product to run at speed; values of their children: bounds memory."""


@dataclass(frozen=True)
class Nodes:
    """Nodes to expand: row in the tree, component, position and covector.

    Covectors are (n, d_model) for nodes at one position, (n, n_token, d_model) for whole components.
    """

    rows: Int[np.ndarray, " n"]
    components: Int[np.ndarray, " n"]
    positions: Int[np.ndarray, " n"]
    covectors: Tensor

    def take(self, chosen: np.ndarray) -> Nodes:
        """Return some of the nodes."""
        index = torch.from_numpy(chosen).to(self.covectors.device)
        return Nodes(self.rows[chosen], self.components[chosen], self.positions[chosen], self.covectors[index])

    def run(self, rows: slice) -> Nodes:
        """Return consecutive nodes, as views."""
        return Nodes(self.rows[rows], self.components[rows], self.positions[rows], self.covectors[rows])


@dataclass(frozen=True)
class Children:
    """Children of some nodes, for each place (a position) and component.

    These are the first ones, or those from `first` on, which is given for each parent. `vectors` are what the children
    share, from which `Expander.carry` makes their covectors. `constants` are the parents' own biases.
    """

    parents: Int[np.ndarray, " n"]
    values: Float[Tensor, "place n n_seen"]
    factors: Float[Tensor, "place n"]
    positions: Int[np.ndarray, "place n"]
    vectors: Tensor
    constants: Float[Tensor, " n"]
    first: Int[np.ndarray, " n"] | None = None


class Expander(Protocol):
    """Protocol of what expands nodes.

    `names` are those of the tree's components, `reads` whether each can be expanded, and `turns` when a sweep from the
    last layer to the first comes to it: a node's children have lower turns than the node.
    """

    names: tuple[str, ...]
    reads: Bool[np.ndarray, " n_component"]
    turns: Int[np.ndarray, " n_component"]

    def target(self) -> Children:
        """Return the children of the target, whose row is 0."""
        ...

    def round(self, nodes: Nodes) -> Iterator[Children]:
        """Yield the children of some nodes, in lots that fit in memory."""
        ...

    def batch(self) -> HeadBatch | None:
        """Return what collects the heads of a sweep; None if `round` is to expand them."""
        ...

    def carry(self, nodes: Nodes, parents: Nodes) -> Tensor:
        """Return covectors on what nodes write.

        From their factors (`nodes.covectors`) and their parents' vectors.
        """
        ...

    def identify(self, components: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """Return indices into `names` of nodes' components.

        They may differ by position; negative ones stay.
        """
        ...


def scaled(nodes: Nodes, parents: Nodes) -> Tensor:
    """Return each parent's vector times its child's factor."""
    return parents.covectors * nodes.covectors.reshape(-1, *[1] * (parents.covectors.ndim - 1))


def unchanged(components: np.ndarray, positions: np.ndarray) -> np.ndarray:  # noqa: ARG001
    """Return components that are the same at every position."""
    return components


def hide(values: Tensor, runs: list[tuple[int, slice, int]]) -> Tensor:
    """Set to 0, in place, what a node cannot see."""
    for _, rows, seen in runs:
        values[:, rows, seen:] = 0
    return values


class ByPosition:
    """A node is a component at one position."""

    def __init__(self, frozen: Frozen, linear: Linear):
        self.frozen, self.linear, self.pull = frozen, linear, frozen.pull
        self.names, self.reads = frozen.layout.names, frozen.layout.reads
        self.writes = frozen.writes.transpose(0, 1)
        self.layers, self.seen, self.turns = reading_order(frozen.layout)
        self.heads = np.array([component.head for component in frozen.layout.components])
        self.experts = np.array([component.expert for component in frozen.layout.components])

    def target(self) -> Children:
        """Return what writes at the target's position, before the target reads."""
        linear = self.linear
        values = self.writes[linear.position, : linear.visible] @ linear.covector
        return Children(
            parents=np.array([0]),
            values=self.hidden(values[None, None], [(0, slice(None), linear.visible)]),
            factors=values.new_ones(1, 1),
            positions=np.array([[linear.position]]),
            vectors=linear.covector[None],
            constants=values.new_tensor([linear.constant]),
        )

    carry = staticmethod(scaled)
    identify = staticmethod(unchanged)
    hidden = staticmethod(hide)

    def batch(self) -> HeadBatch | None:
        """Return an empty batch."""
        from interp.attribution.head_batch import HeadBatch

        return HeadBatch(self)

    def here(self, layer: int, nodes: Nodes) -> tuple[Tensor, Tensor]:
        """Take nodes back that read their own position alone: (covectors, constants).

        They are of one layer.
        """
        experts, positions = (torch.from_numpy(x) for x in (self.experts[nodes.components], nodes.positions))
        return self.pull.component_at(layer, experts, positions, nodes.covectors)

    def round(self, nodes: Nodes) -> Iterator[Children]:
        """Yield children: heads reach positions before theirs, MLPs only their own."""
        is_head = self.heads[nodes.components] >= 0
        capacity = LOT_VALUES // (self.frozen.n_token * len(self.frozen.layout.components))
        for lot in lots(nodes, is_head, min(LOT_NODES, max(1, capacity))):
            yield self._heads(lot)
        for lot in lots(nodes, ~is_head, len(is_head)):
            yield self._mlps(lot)

    def heads_back(self, nodes: Nodes) -> tuple[Tensor, Tensor, Tensor]:
        """Take heads back: (vectors, constants, factors of their children at every position)."""
        frozen = self.frozen
        vectors = torch.empty_like(nodes.covectors)
        constants, factors = vectors.new_empty(len(vectors)), vectors.new_empty(len(vectors), frozen.n_token)
        heads, positions = torch.from_numpy(self.heads[nodes.components]), torch.from_numpy(nodes.positions)
        for layer, rows, _ in runs(self.layers, self.seen, nodes.components):
            here, at, block = heads[rows], positions[rows], frozen.blocks[layer]
            vectors[rows], constants[rows] = self.pull.heads_at(layer, here, at, nodes.covectors[rows])
            factors[rows] = block.pattern[here, at] / block.attn_scale
        return vectors, constants, factors

    def _heads(self, nodes: Nodes) -> Children:
        last, spans = int(nodes.positions.max()) + 1, runs(self.layers, self.seen, nodes.components)
        vectors, constants, factors = self.heads_back(nodes)
        factors = factors[:, :last].T
        values = torch.bmm(vectors.expand(last, *vectors.shape), self.writes[:last, : spans[0][2]].transpose(1, 2))
        values *= factors[:, :, None]
        return Children(
            parents=nodes.rows,
            values=self.hidden(values, spans),
            factors=factors,
            positions=np.broadcast_to(np.arange(last)[:, None], factors.shape),
            vectors=vectors,
            constants=constants,
        )

    def _mlps(self, nodes: Nodes) -> Children:
        vectors = torch.empty_like(nodes.covectors)
        constants = vectors.new_empty(len(vectors))
        spans = runs(self.layers, self.seen, nodes.components)
        for layer, rows, _ in spans:
            vectors[rows], constants[rows] = self.here(layer, nodes.run(rows))
        values = self.hidden(self._products(nodes.positions, vectors, max(seen for _, _, seen in spans)), spans)
        return on_the_spot(nodes.rows, values, nodes.positions, vectors, constants)

    def _products(
        self, positions: Int[np.ndarray, " n"], vectors: Float[Tensor, "n d_model"], seen: int
    ) -> Float[Tensor, "1 n n_seen"]:
        """Return the products of each vector with the writes at its position."""
        order = np.argsort(positions, kind="stable")
        at = torch.from_numpy(order).to(vectors.device)
        by_position, products = vectors[at], vectors.new_empty(len(vectors), seen)
        places, first = np.unique(positions[order], return_index=True)
        for place, a, b in zip(places.tolist(), first, [*first[1:], len(order)], strict=True):
            torch.mm(by_position[a:b], self.writes[place, :seen].T, out=products[a:b])
        values = torch.empty_like(products)
        values[at] = products
        return values[None]


class ByComponent:
    """Expansion with components as nodes, each at all positions.

    A node's covector is one for each position.
    """

    def __init__(self, frozen: Frozen, linear: Linear):
        self.frozen, self.linear, self.pull = frozen, linear, frozen.pull
        self.names, self.reads = frozen.layout.names, frozen.layout.reads
        self.layers, self.seen, self.turns = reading_order(frozen.layout)

    def batch(self) -> None:
        """Return None: `round` takes all heads back, at all positions."""

    def target(self) -> Children:
        """Return everything that writes before the target reads, at any position."""
        start = start_of(self.frozen, self.linear)[None]
        constants = start.new_tensor([self.linear.constant])
        values = self._values(start, self.linear.visible)
        return on_the_spot(np.array([0]), values, np.array([WHOLE]), start, constants)

    carry = staticmethod(scaled)
    identify = staticmethod(unchanged)

    def round(self, nodes: Nodes) -> Iterator[Children]:
        """Yield the children of one component after another, all writers at once."""
        for lot in lots(nodes, np.ones(len(nodes.rows), bool), LOT_NODES):
            vectors = torch.empty_like(lot.covectors)
            constants = vectors.new_empty(len(vectors))
            for i, index in enumerate(lot.components):
                component = self.frozen.layout.components[index]
                vectors[i], constants[i] = self.pull.component(component, lot.covectors[i])
            spans = runs(self.layers, self.seen, lot.components)
            values = hide(self._values(vectors, spans[0][2]), spans)
            yield on_the_spot(lot.rows, values, lot.positions, vectors, constants)

    def _values(self, vectors: Tensor, seen: int) -> Float[Tensor, "1 n n_seen"]:
        writes = self.frozen.writes[:seen].permute(1, 2, 0)
        return torch.bmm(vectors.transpose(0, 1), writes).sum(0, keepdim=True)


def reading_order(layout: Layout) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return each component's layer, how many others it sees, and its turn: what sees more has a later one.

    All are -1 for those that do not read.
    """
    parts = [(part.layer, layout.visible(part)) if part.reads else (-1, -1) for part in layout.components]
    layers, seen = np.array(parts).T
    return layers, seen, np.unique(seen, return_inverse=True)[1].reshape(-1) - 1


def lots(nodes: Nodes, chosen: np.ndarray, size: int) -> Iterator[Nodes]:
    """Yield the chosen nodes in batches of `size`.

    Nodes that see most come first.
    """
    rows = np.flatnonzero(chosen)
    rows = rows[np.argsort(-nodes.components[rows], kind="stable")]
    for first in range(0, len(rows), size):
        yield nodes.take(rows[first : first + size])


def runs(layers: np.ndarray, seen: np.ndarray, components: np.ndarray) -> list[tuple[int, slice, int]]:
    """Return (layer, rows, number seen) for each run of components that see the same.

    `layers` and `seen` are those of all components of a tree.
    """
    sees = seen[components]
    starts = [0, *(np.flatnonzero(sees[1:] != sees[:-1]) + 1).tolist(), len(sees)]
    return [(int(layers[components[a]]), slice(a, b), int(sees[a])) for a, b in pairwise(starts) if a < b]


def on_the_spot(
    rows: np.ndarray,
    values: Tensor,
    positions: np.ndarray,
    vectors: Tensor,
    constants: Tensor | None = None,
    first: np.ndarray | None = None,
) -> Children:
    """Return children at the positions of their parents."""
    constants = values.new_zeros(len(rows)) if constants is None else constants
    return Children(rows, values, values.new_ones(values.shape[:2]), positions[None], vectors, constants, first)
