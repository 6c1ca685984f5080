"""One round of the path tree: many nodes taken back through their components at once.

All children of a node share one vector w, the node's covector carried back to the residual stream:

    child (c, s) of a head at t:    value = pattern[t, s] / s_norm(s) · write(c)_s · w,    w = W_V' W_O u
    child (c, t) of an MLP at t:    value = write(c)_t · w,    w = W_in' (multiplier ⊙ W_out u) / s_norm(t)

so a round is a few matrix products over every writer at every position, and a child need only remember its parent and
the factor in front.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.attribution.frozen import Frozen
from interp.attribution.pull import Pull, start_of
from interp.attribution.targets import Linear

WHOLE = -1
"""The position of a node that is a component at all positions."""


@dataclass(frozen=True)
class Nodes:
    """Nodes to expand: row in the tree, component, position, and covector on what they write.

    Covectors are (n, d_model) for nodes at one position, (n, n_token, d_model) for whole components.
    """

    rows: Int[np.ndarray, " n"]
    components: Int[np.ndarray, " n"]
    positions: Int[np.ndarray, " n"]
    covectors: Tensor

    def take(self, chosen: np.ndarray) -> Nodes:
        """Some of them."""
        index = torch.from_numpy(chosen).to(self.covectors.device)
        return Nodes(self.rows[chosen], self.components[chosen], self.positions[chosen], self.covectors[index])


@dataclass(frozen=True)
class Children:
    """The children of some nodes, one for each place (a position) and component.

    `vectors` are what the children share: a child's covector is its factor times its parent's vector. `constants` are
    the parents' own biases.
    """

    parents: Int[np.ndarray, " n"]
    values: Float[Tensor, "n place n_component"]
    factors: Float[Tensor, "n place"]
    positions: Int[np.ndarray, "n place"]
    vectors: Tensor
    constants: Float[Tensor, " n"]


class Expander(Protocol):
    """How nodes are taken back."""

    def target(self) -> Children:
        """The children of the target, whose row is 0."""
        ...

    def round(self, nodes: Nodes) -> Iterator[Children]:
        """The children of some nodes."""
        ...


class ByPosition:
    """A node is a component at one position."""

    def __init__(self, frozen: Frozen, linear: Linear):
        self.frozen, self.linear, self.pull = frozen, linear, Pull(frozen)
        self.writes = frozen.writes.transpose(0, 1)

    def target(self) -> Children:
        """What writes at the target's position, before the target reads."""
        values = self.writes[self.linear.position] @ self.linear.covector
        values[self.linear.visible :] = 0
        return Children(
            parents=np.array([0]),
            values=values[None, None],
            factors=values.new_ones(1, 1),
            positions=np.array([[self.linear.position]]),
            vectors=self.linear.covector[None],
            constants=values.new_tensor([self.linear.constant]),
        )

    def round(self, nodes: Nodes) -> Iterator[Children]:
        """Heads reach every position before theirs, MLPs only their own: two lots."""
        is_head = np.array([self.frozen.layout.components[c].kind == "head" for c in nodes.components])
        if is_head.any():
            yield self._heads(nodes.take(np.flatnonzero(is_head)))
        if not is_head.all():
            yield self._mlps(nodes.take(np.flatnonzero(~is_head)))

    def _heads(self, nodes: Nodes) -> Children:
        components = [self.frozen.layout.components[c] for c in nodes.components]
        vectors = torch.empty_like(nodes.covectors)
        factors = vectors.new_empty(len(components), self.frozen.n_token)
        constants = vectors.new_empty(len(components))
        layers = np.array([component.layer for component in components])
        heads = torch.tensor([component.head for component in components])
        positions = torch.from_numpy(nodes.positions)
        for layer in np.unique(layers):
            rows = torch.from_numpy(np.flatnonzero(layers == layer))
            found = self.pull.heads_at(int(layer), heads[rows], positions[rows], nodes.covectors[rows])
            vectors[rows], constants[rows] = found
            block = self.frozen.blocks[layer]
            factors[rows] = block.pattern[heads[rows], positions[rows]] / block.attn_scale
        return Children(
            parents=nodes.rows,
            values=self._values(vectors, layers) * factors[:, :, None],
            factors=factors,
            positions=np.broadcast_to(np.arange(self.frozen.n_token), factors.shape),
            vectors=vectors,
            constants=constants,
        )

    def _values(self, vectors: Tensor, layers: np.ndarray) -> Float[Tensor, "n n_token n_component"]:
        """write(c)_s · w for every writer each head can see, zero for the others: highest layers first, in lots.

        A lot computes for all what its highest layer sees, so lots of similar layers waste little.
        """
        layout = self.frozen.layout
        values = vectors.new_zeros(len(vectors), self.frozen.n_token, len(layout.components))
        for lot in np.array_split(np.argsort(layers), min(4, len(layers))):
            seen = layout.start(int(layers[lot].max()))
            rows = torch.from_numpy(lot)
            products = torch.matmul(self.writes[:, :seen], vectors[rows].T)
            values[rows, :, :seen] = products.permute(2, 0, 1)
        first_unseen = torch.tensor([layout.start(int(layer)) for layer in layers])
        hidden = torch.arange(values.shape[2]) >= first_unseen[:, None]
        return values.masked_fill_(hidden[:, None].to(values.device), 0)

    def _mlps(self, nodes: Nodes) -> Children:
        components = [self.frozen.layout.components[c] for c in nodes.components]
        vectors = torch.empty_like(nodes.covectors)
        constants = vectors.new_empty(len(components))
        layers = np.array([component.layer for component in components])
        positions = torch.from_numpy(nodes.positions)
        for layer in np.unique(layers):
            rows = torch.from_numpy(np.flatnonzero(layers == layer))
            vectors[rows], constants[rows] = self.pull.mlp_at(int(layer), positions[rows], nodes.covectors[rows])
        values = vectors.new_zeros(len(components), 1, len(self.frozen.layout.components))
        for position in np.unique(nodes.positions):
            rows = torch.from_numpy(np.flatnonzero(nodes.positions == position))
            values[rows, 0] = vectors[rows] @ self.writes[position].T
        seen = torch.tensor([self.frozen.layout.visible(component) for component in components])
        hidden = torch.arange(values.shape[2]) >= seen[:, None]
        return Children(
            parents=nodes.rows,
            values=values.masked_fill_(hidden[:, None].to(values.device), 0),
            factors=values.new_ones(len(components), 1),
            positions=nodes.positions[:, None],
            vectors=vectors,
            constants=constants,
        )


class ByComponent:
    """A node is a component at all positions: its covector is one for each."""

    def __init__(self, frozen: Frozen, linear: Linear):
        self.frozen, self.linear, self.pull = frozen, linear, Pull(frozen)

    def target(self) -> Children:
        """Everything that writes before the target reads, at whatever position."""
        start = start_of(self.frozen, self.linear)
        constants = start.new_tensor([self.linear.constant])
        return self._children(np.array([0]), start[None], constants, [self.linear.visible])

    def round(self, nodes: Nodes) -> Iterator[Children]:
        """One component after another; their writers together."""
        components = [self.frozen.layout.components[c] for c in nodes.components]
        vectors = torch.empty_like(nodes.covectors)
        constants = vectors.new_empty(len(components))
        for i, component in enumerate(components):
            if component.kind == "head":
                found = self.pull.head(component.layer, component.head, nodes.covectors[i])
            else:
                found = self.pull.mlp(component.layer, nodes.covectors[i])
            vectors[i], constants[i] = found
        seen = [self.frozen.layout.visible(component) for component in components]
        yield self._children(nodes.rows, vectors, constants, seen)

    def _children(self, parents: np.ndarray, vectors: Tensor, constants: Tensor, seen: list[int]) -> Children:
        values = torch.einsum("ctm,ntm->nc", self.frozen.writes, vectors)
        hidden = torch.arange(values.shape[1]) >= torch.tensor(seen)[:, None]
        return Children(
            parents=parents,
            values=values.masked_fill_(hidden.to(values.device), 0)[:, None],
            factors=values.new_ones(len(parents), 1),
            positions=np.full((len(parents), 1), WHOLE),
            vectors=vectors,
            constants=constants,
        )
