"""Heads expanded during a sweep of the path tree, which meet what each layer wrote all at once.

A head at t reads every position s ≤ t, so that its children cost more than all else on a long prompt:

    child (c, s):    value = pattern[t, s] / s_norm(s) · write(c)_s · w,    w = W_V' W_O u

A sweep goes from the last layer to the first. What a layer wrote is thus multiplied with the vectors w of all heads
above it in one product, when the sweep comes to that layer, and not with those of one layer of heads after another.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float

from interp.attribution.expand import LOT_VALUES, Children, Nodes

if TYPE_CHECKING:
    from interp.attribution.expand import ByPosition

N_BINS, MIN_WIDTH = 8, 32
"""Heads are apart by their positions, so that those at early ones do not meet what was written later: into how many
bins at most, and how many positions wide at least."""


class HeadBatch:
    """Heads that are expanded, in bins of neighbouring positions.

    `bins[i]` holds children of one head a column, without values, at the positions up to the end of bin i.
    """

    def __init__(self, expander: ByPosition):
        self.expander, self.n_token = expander, expander.frozen.n_token
        self.width = max(MIN_WIDTH, -(-self.n_token // N_BINS))
        self.bins: dict[int, Children] = {}
        self.is_head = heads = expander.heads >= 0
        turns, first = np.unique(expander.turns[heads], return_index=True)
        starts = expander.seen[heads][first].tolist()
        self.layers = dict(zip(turns.tolist(), zip([0, *starts], starts, strict=False), strict=True))

    def take(self, nodes: Nodes) -> Iterator[Children]:
        """Take some heads of one layer; yield them as parents whose children have no values yet."""
        vectors, constants, factors = self.expander.heads_back(nodes)
        bins = nodes.positions // self.width
        for bin in np.unique(bins).tolist():
            chosen = np.flatnonzero(bins == bin)
            at, end = torch.from_numpy(chosen).to(vectors.device), min((bin + 1) * self.width, self.n_token)
            children = Children(
                parents=nodes.rows[chosen],
                values=vectors.new_empty(end, len(chosen), 0),
                factors=factors[at, :end].T,
                positions=np.broadcast_to(np.arange(end)[:, None], (end, len(chosen))),
                vectors=vectors[at],
                constants=constants[at],
            )
            self.bins[bin] = _joined(self.bins[bin], children) if bin in self.bins else children
            yield children

    def meet(self, turn: int) -> Iterator[Children]:
        """Yield the children that wrote between the heads of this turn and those of the next."""
        if turn not in self.layers:
            return
        first, last = self.layers[turn]
        for heads in self.bins.values():
            end, n = heads.factors.shape
            writes = self.expander.frozen.writes[first:last, :end]
            size = max(1, LOT_VALUES // (end * (last - first)))
            for lot in range(0, n, size):
                rows = slice(lot, lot + size)
                values = _products(writes, heads.vectors[rows]) * heads.factors[:, rows]
                yield replace(
                    heads,
                    parents=heads.parents[rows],
                    values=values.permute(1, 2, 0),
                    factors=heads.factors[:, rows],
                    positions=heads.positions[:, rows],
                    first=np.full(len(heads.parents[rows]), first),
                )


def _products(
    writes: Float[torch.Tensor, "component place d_model"], vectors: Float[torch.Tensor, "n d_model"]
) -> Float[torch.Tensor, "component place n"]:
    """Return the products of all writes with all vectors."""
    if writes.is_contiguous():
        return (writes.flatten(0, 1) @ vectors.T).unflatten(0, writes.shape[:2])
    return torch.bmm(writes, vectors.T.expand(len(writes), -1, -1))


def _joined(first: Children, second: Children) -> Children:
    """Return the children of two groups of parents at the same places."""
    return Children(
        parents=np.concatenate([first.parents, second.parents]),
        values=torch.cat([first.values, second.values], dim=1),
        factors=torch.cat([first.factors, second.factors], dim=1),
        positions=np.concatenate([first.positions, second.positions], axis=1),
        vectors=torch.cat([first.vectors, second.vectors]),
        constants=torch.cat([first.constants, second.constants]),
    )
