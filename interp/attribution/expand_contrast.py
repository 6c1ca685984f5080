"""One round of a contrast's path tree, with queries, keys and values apart.

A head's node splits into three branches, whose values sum to its own; a branch's children are what wrote, at the
positions it reads, what differs:

    value at t    child (c, s):  p̄[t, s] · write(c)_s · Nₛᵀ w,    w = W_V W_O u
    key at t      child (c, s):  c_s[t, s] · write(c)_s · Nₛᵀ W_K K_sᵀ R_sᵀ q̄_t
    query at t    child (c, t):  write(c)_t · Nₜᵀ W_Q Q_tᵀ R_tᵀ Σ_s c_s[t, s] k̄_s

with N, Q and K the secants of the block's norm and of query and key norms, R rotations, u the covector on the head's
write and c_s that on its scores (`secant_pull`). An MLP's children are at its own position.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interp.attribution.expand import (
    LOT_NODES,
    LOT_VALUES,
    WHOLE,
    Children,
    Nodes,
    hide,
    lots,
    on_the_spot,
    runs,
    scaled,
    unchanged,
)
from interp.attribution.head_places import HeadPlaces
from interp.attribution.linearised import Linear, start_of
from interp.attribution.secant_pull import BRANCHES, through

if TYPE_CHECKING:
    from interp.attribution.contrast import Contrast


QUERY, KEY, VALUE = range(len(BRANCHES))


class BranchTable:
    """Components of a contrast's tree, and each head's query, key and value.

    `names`, `layers`, `heads`, `experts` and `branches` (−1 for what is none), `reads`, `seen`, how many components
    write before each, and `turns`, in which heads come after their branches, are columns over all of them.
    """

    def __init__(self, contrast: Contrast):
        layout = contrast.layout
        heads = [part for part in layout.components if part.kind == "head"]
        parts = [*layout.components, *(part for part in heads for _ in BRANCHES)]
        split = [f"{part.name}.{branch}" for part in heads for branch in BRANCHES]
        self.n_layout = len(layout.components)
        self.names = (*layout.names, *split)
        self.layers = np.array([part.layer for part in parts])
        self.heads = np.array([part.head for part in parts])
        self.experts = np.array([part.expert for part in parts])
        self.branches = np.array([-1] * self.n_layout + [*range(len(BRANCHES))] * len(heads))
        self.reads = np.array([part.reads for part in parts])
        self.seen = np.array([layout.visible(part) for part in parts])
        whole_head = (self.heads >= 0) & (self.branches < 0)
        self.turns = np.unique(2 * self.seen + whole_head, return_inverse=True)[1].reshape(-1)
        self.n_head = contrast.model.spec.n_head

    def first_branch(self, components: np.ndarray) -> np.ndarray:
        """Return where the branches of some heads begin."""
        return self.n_layout + len(BRANCHES) * (self.n_head * self.layers[components] + self.heads[components])

    def runs(self, components: np.ndarray) -> list[tuple[int, slice, int]]:
        """Return (layer, rows, number seen) for runs that see the same."""
        return runs(self.layers, self.seen, components)


class SecantsByPosition:
    """Expansion with components, or branches of heads, at one position each."""

    def __init__(self, contrast: Contrast, linear: Linear):
        self.contrast, self.linear, self.pull = contrast, linear, contrast.pull
        self.table = BranchTable(contrast)
        self.names, self.reads, self.turns = self.table.names, self.table.reads, self.table.turns
        self.writes = contrast.writes.transpose(0, 1)
        self.places = HeadPlaces(contrast)

    identify = staticmethod(unchanged)
    hidden = staticmethod(hide)

    def batch(self) -> None:
        """Return None: `round` expands all nodes."""

    def here(self, layer: int, nodes: Nodes) -> tuple[Tensor, Tensor]:
        """Take nodes of one layer back that read their own position alone.

        They are not heads. Returns covectors and constants.
        """
        experts = torch.from_numpy(self.table.experts[nodes.components])
        if int(experts[0]) >= 0:
            return self.pull.expert_at(layer, experts, torch.from_numpy(nodes.positions), nodes.covectors)
        return self.pull.mlp_at(layer, torch.from_numpy(nodes.positions), nodes.covectors)

    def target(self) -> Children:
        """Return what writes at the target's position, before the target reads."""
        linear = self.linear
        values = self.writes[linear.position, : linear.visible] @ linear.covector
        values = self.hidden(values[None, None], [(0, slice(None), linear.visible)])
        return on_the_spot(np.array([0]), values, np.array([linear.position]), linear.covector[None])

    def carry(self, nodes: Nodes, parents: Nodes) -> Tensor:
        """Return covectors of children.

        Those of a value or a key read through norms of their own positions, all others what their parent says.
        """
        carried = scaled(nodes, parents)
        branches = self.table.branches[parents.components]
        branches[parents.components < 0] = -1
        for branch in (KEY, VALUE):
            rows = np.flatnonzero(branches == branch)
            rows = rows[np.argsort(-parents.components[rows], kind="stable")]
            lot, places = parents.take(rows), torch.from_numpy(nodes.positions[rows])
            for layer, run, _ in self.table.runs(lot.components):
                back = self._back(branch, layer, lot.run(run), places[None, run])[0]
                index = torch.from_numpy(rows[run])
                carried[index] = back * nodes.covectors[index, None]
        return carried

    def round(self, nodes: Nodes) -> Iterator[Children]:
        """Yield children: heads split, values and keys reach earlier positions.

        Queries and MLPs reach only their own.
        """
        branches, heads = self.table.branches[nodes.components], self.table.heads[nodes.components] >= 0
        capacity = max(1, LOT_VALUES // (self.contrast.n_token * self.table.n_layout))
        for lot in lots(nodes, heads & (branches < 0), LOT_NODES):
            yield self._split(lot)
        for branch in (KEY, VALUE):
            for lot in lots(nodes, branches == branch, min(LOT_NODES, capacity)):
                yield self._spread(lot, branch)
        for chosen in (branches == QUERY, ~heads):
            for lot in lots(nodes, chosen, LOT_NODES):
                yield self._here(lot)

    def _split(self, nodes: Nodes) -> Children:
        values = nodes.covectors.new_empty(1, len(nodes.rows), len(BRANCHES))
        for layer, rows, _ in self.table.runs(nodes.components):
            heads, at = self._where(nodes, rows)
            values[0, rows] = self.places.split(layer, heads, at, nodes.covectors[rows])
        first = self.table.first_branch(nodes.components)
        return on_the_spot(nodes.rows, values, nodes.positions, nodes.covectors, first=first)

    def _spread(self, nodes: Nodes, branch: int) -> Children:
        last, runs = int(nodes.positions.max()) + 1, self.table.runs(nodes.components)
        places = torch.arange(last)[:, None]
        vectors = torch.empty_like(nodes.covectors)
        factors = vectors.new_empty(len(vectors), last)
        back = vectors.new_empty(last, *vectors.shape)
        for layer, rows, _ in runs:
            heads, at = self._where(nodes, rows)
            z = self.places.z(layer, heads, at, nodes.covectors[rows])
            if branch == VALUE:
                factors[rows] = self.contrast.blocks[layer].pattern[heads, at, :last]
                vectors[rows] = self.places.value(layer, heads, z)
            else:
                factors[rows] = self.places.on_scores(layer, heads, at, z)[:, :last]
                vectors[rows] = nodes.covectors[rows]
            here = Nodes(nodes.rows[rows], nodes.components[rows], nodes.positions[rows], vectors[rows])
            back[:, rows] = self._back(branch, layer, here, places)
        values = torch.bmm(back, self.writes[:last, : runs[0][2]].transpose(1, 2)) * factors.T[:, :, None]
        positions = np.broadcast_to(np.arange(last)[:, None], factors.T.shape)
        none = vectors.new_zeros(len(vectors))
        return Children(nodes.rows, self.hidden(values, runs), factors.T, positions, vectors, none)

    def _here(self, nodes: Nodes) -> Children:
        vectors, runs = torch.empty_like(nodes.covectors), self.table.runs(nodes.components)
        constants = vectors.new_zeros(len(vectors))
        for layer, rows, _ in runs:
            heads, at = self._where(nodes, rows)
            if int(heads[0]) < 0:
                vectors[rows], constants[rows] = self.here(layer, nodes.run(rows))
            else:
                vectors[rows] = self.places.query(layer, heads, at, nodes.covectors[rows])
        seen = max(seen for _, _, seen in runs)
        values = vectors.new_empty(1, len(vectors), seen)
        for position in np.unique(nodes.positions):
            index = torch.from_numpy(np.flatnonzero(nodes.positions == position))
            values[0, index] = vectors[index] @ self.writes[position, :seen].T
        return on_the_spot(nodes.rows, self.hidden(values, runs), nodes.positions, vectors, constants)

    def _back(self, branch: int, layer: int, nodes: Nodes, places: Tensor) -> Float[Tensor, "*places d_model"]:
        """Return covectors on the stream at some places, before the factors."""
        heads, at = self._where(nodes, slice(None))
        if branch == VALUE:
            return through(self.contrast.blocks[layer].ln1, nodes.covectors, places)
        return self.places.key(layer, heads, at, places)

    def _where(self, nodes: Nodes, rows: slice) -> tuple[Tensor, Tensor]:
        """Return heads and positions of some nodes."""
        return torch.from_numpy(self.table.heads[nodes.components[rows]]), torch.from_numpy(nodes.positions[rows])


class SecantsByComponent:
    """Expansion with components, or branches of heads, at all positions.

    A node's covector is one for each position.
    """

    def __init__(self, contrast: Contrast, linear: Linear):
        self.contrast, self.linear, self.pull = contrast, linear, contrast.pull
        self.table = BranchTable(contrast)
        self.names, self.reads, self.turns = self.table.names, self.table.reads, self.table.turns

    carry = staticmethod(scaled)
    identify = staticmethod(unchanged)

    def batch(self) -> None:
        """Return None: `round` expands all nodes."""

    def target(self) -> Children:
        """Return everything that writes before the target reads, at any position."""
        start = start_of(self.contrast, self.linear)[None]
        return on_the_spot(np.array([0]), self._values(start, self.linear.visible), np.array([WHOLE]), start)

    def round(self, nodes: Nodes) -> Iterator[Children]:
        """Yield children: heads split, branches and MLPs are taken back in turn."""
        heads, branches = self.table.heads[nodes.components] >= 0, self.table.branches[nodes.components]
        for lot in lots(nodes, heads & (branches < 0), LOT_NODES):
            values = torch.stack([self._split(*each) for each in zip(lot.components, lot.covectors, strict=True)])
            first = self.table.first_branch(lot.components)
            yield on_the_spot(lot.rows, values[None], lot.positions, lot.covectors, first=first)
        for chosen in (branches >= 0, ~heads):
            for lot in lots(nodes, chosen, LOT_NODES):
                taken = [self._back(*each) for each in zip(lot.components, lot.covectors, strict=True)]
                vectors, constants = (torch.stack(each) for each in zip(*taken, strict=True))
                runs = self.table.runs(lot.components)
                values = hide(self._values(vectors, runs[0][2]), runs)
                yield on_the_spot(lot.rows, values, lot.positions, vectors, constants)

    def _split(self, component: int, covectors: Tensor) -> Float[Tensor, " branch"]:
        """Return what a head passes on through its query, key and value."""
        layer, head = int(self.table.layers[component]), int(self.table.heads[component])
        block, group = self.contrast.blocks[layer], self.contrast.model.spec.kv_group
        branches = self.pull.placed(layer, covectors, slice(head, head + 1))
        deltas = block.delta_query[head], block.delta_key[head // group], block.delta_value[head // group]
        return torch.stack([(x[0] * delta).sum() for x, delta in zip(branches[:3], deltas, strict=True)])

    def _back(self, component: int, covectors: Tensor) -> tuple[Float[Tensor, "n_token d_model"], Float[Tensor, ""]]:
        table = self.table
        layer, head, branch = (int(x[component]) for x in (table.layers, table.heads, table.branches))
        if branch >= 0:
            return self.pull.branch(layer, head, BRANCHES[branch], covectors), covectors.new_zeros(())
        expert, every = int(table.experts[component]), torch.arange(len(covectors))
        if expert < 0:
            return self.pull.mlp(layer, covectors)
        back, constants = self.pull.expert_at(layer, every.new_full(every.shape, expert), every, covectors)
        return back, constants.sum()

    def _values(self, vectors: Tensor, seen: int) -> Float[Tensor, "1 n n_seen"]:
        writes = self.contrast.writes[:seen].permute(1, 2, 0)
        return torch.bmm(vectors.transpose(0, 1), writes).sum(0, keepdim=True)
