"""Growth of a path tree: best-first, in a few sweeps from the last layer to the first.

A best-first search expands a node only after all its ancestors, so what decides is the smallest absolute value on the
way from the target to a node: its bottleneck. The first N nodes it expands are the N of the largest bottlenecks. All
nodes above a level are expanded in one sweep, because children lie in lower layers than their parents, and each layer
carries all of its nodes back at once. The level falls from sweep to sweep until there are N nodes; of more than N,
those that the search would expand last are dropped.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from interp.attribution.expand import Children, Expander, Nodes
from interp.attribution.linearised import Linear, Linearised
from interp.attribution.paths import OWN_BIAS, TARGET, PathTree
from interp.attribution.results import Target
from interp.attribution.targets import probability
from interp.errors import CheckFailedError

FIRST, SLOPE, SURPLUS = 32, 0.45, 1.1
"""How many of the target's children the first sweep begins with; the power of the number of nodes with which
bottlenecks fall (0.4 to 0.5 for SmolLM2 at 10 to 256 tokens); and by how much the next level aims too low, so that one
more sweep is hardly ever needed. They set what a tree costs, not what it is."""

LISTED = 0.5
"""Children that are not expanded are nodes down to this share of the smallest bottleneck of an expanded node."""

ENDS = 4
"""How many times as many ends of paths are taken of a lot as will be listed: some may belong to dropped nodes."""


class Growing:
    """Tree while it grows: columns with one row for each node.

    Row 0 is the target. `limit` is the number of nodes to expand and `least` a lower bound of the smallest bottleneck
    among them, `n_ends` how many ends of paths are listed and `least_end` a lower bound of their sizes. `lots` holds
    the children without their values, where paths are to be certified.
    """

    def __init__(self, linearised: Linearised, linear: Linear, expander: Expander, limit: int, top: int = 0):
        self.linearised, self.linear, self.expander, self.limit = linearised, linear, expander, limit
        self.top, self.n_ends, self.done = top, max(limit, top), 0
        self.parent, self.component = _Column(np.int64, -1), _Column(np.int64, TARGET)
        self.position, self.turn = _Column(np.int64, linear.position), _Column(np.int64, -1)
        self.value, self.factor = _Column(np.float64, linear.value), _Column(np.float64, 1.0)
        self.bottleneck, self.remainder = _Column(np.float64, np.inf), _Column(np.float64, 0.0)
        self.expanded = _Column(np.bool_, False)
        self.vectors: dict[int, Tensor] = {}
        self.lots: list[Children] = []
        self.least = self.least_end = 0.0
        self.unranked = 0
        self.reads, self.turns = expander.reads, expander.turns
        target = expander.target()
        self.open(target)
        self.add(target)

    def grow(self, threshold: float, batch_size: int, report: Callable[[], None]) -> None:
        """Expand the first `limit` nodes of a best-first search, none smaller than the threshold."""
        while self.done < self.limit and (level := self._level(threshold)) is not None:
            self._sweep(level, batch_size)
            if self.done <= self.limit:
                self.least_end = max(self.least_end, _kth(np.abs(self.value.all[self._is_end()]), self.n_ends))
            report()
        self._settle()

    def _level(self, threshold: float) -> float | None:
        """Return the bottleneck down to which to expand next; None if no node waits that is large enough."""
        bottleneck, expanded = self.bottleneck.all, self.expanded.all
        waiting = bottleneck[~expanded & (bottleneck > 0) & (bottleneck >= threshold)]
        if not len(waiting):
            return None
        if self.done:
            level = bottleneck[expanded].min() * (self.done / (SURPLUS * self.limit)) ** SLOPE
        else:
            level = _kth(waiting, min(FIRST, self.limit, len(waiting)))
        return float(max(threshold, self.least, min(level, waiting.max())))

    def _sweep(self, level: float, batch_size: int) -> None:
        """Expand all nodes down to a bottleneck, from the last layer to the first."""
        batch = self.expander.batch()
        for turn in range(int(self.turns.max()), -1, -1):
            rows = self._due(turn, level)
            if batch is not None:
                is_head = batch.is_head[self.component[rows]]
                for nodes in self._nodes(rows[is_head], batch_size):
                    for children in batch.take(nodes):
                        self.open(children)
                for children in batch.meet(turn):
                    self.add(children)
                rows = rows[~is_head]
            for nodes in self._nodes(rows, batch_size):
                self.expand(nodes)

    def _due(self, turn: int, level: float) -> np.ndarray:
        """Return the rows whose turn it is, by component."""
        if self.unranked > self.limit // 8:
            self._raise_least(self.bottleneck.all[1:])
            self.unranked = 0
        due = (self.turn.all == turn) & (self.bottleneck.all >= max(level, self.least)) & ~self.expanded.all
        rows = np.flatnonzero(due)
        return rows[np.argsort(self.component[rows], kind="stable")]

    def _nodes(self, rows: np.ndarray, size: int) -> Iterator[Nodes]:
        """Yield rows as nodes to expand, some at a time."""
        for first in range(0, len(rows), size):
            yield self.nodes(rows[first : first + size])
            self.done += len(rows[first : first + size])

    def expand(self, nodes: Nodes) -> None:
        """Expand some nodes, with all of their children at once."""
        for children in self.expander.round(nodes):
            self.open(children)
            self.add(children)

    def nodes(self, rows: np.ndarray) -> Nodes:
        """Return rows of the tree with their covectors, ready to be expanded."""
        above = self.parent[rows]
        shared = [self.vectors[parent] for parent in above.tolist()]
        vectors = torch.stack(shared) if shared else self.linear.covector[:0]
        parents = Nodes(above, self.component[above], self.position[above], vectors)
        factors = torch.from_numpy(self.factor[rows]).to(vectors)
        nodes = Nodes(rows, self.component[rows], self.position[rows], factors)
        return replace(nodes, covectors=self.expander.carry(nodes, parents))

    def open(self, children: Children) -> None:
        """Note that the parents of some children are expanded, with their vectors and own biases."""
        parents = children.parents
        self.expanded[parents] = True
        self.vectors.update(zip(parents.tolist(), children.vectors, strict=True))
        if self.top:
            self.lots.append(replace(children, values=children.values.new_empty(0)))
        constants = children.constants.double().cpu().numpy()
        own = np.flatnonzero(constants)
        if len(own):
            component, ones = np.full(len(own), OWN_BIAS), np.ones(len(own))
            self._append(parents[own], component, self.position[parents[own]], constants[own], ones)

    def add(self, children: Children) -> None:
        """Make nodes of the children that are large enough; the others are added to the remainders."""
        values, parents = children.values, children.parents
        first = np.zeros(len(parents), np.int64) if children.first is None else children.first
        sums = values.sum(2).double().sum(0).cpu().numpy()
        ends = np.flatnonzero(~self.reads[first[0] : first[0] + values.shape[2]])
        place, row, component, chosen = self._large(values, ends, parents)
        if len(ends):
            more = self._large_ends(values, ends)
            place, row, component, chosen = map(np.concatenate, zip((place, row, component, chosen), more, strict=True))
        self.remainder[parents] += sums - np.bincount(row, chosen, len(parents))
        factors = children.factors.cpu().numpy()[place, row]
        self._append(parents[row], first[row] + component, children.positions[place, row], chosen, factors)

    def _large(self, values: Tensor, ends: np.ndarray, parents: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return (place, row, component, value) of the children that may be expanded or listed."""
        # Most rows have no child that is large enough: only the others are looked through.
        peak = torch.maximum(values.amax(2), -values.amin(2)).cpu().numpy()
        place, row = np.nonzero(peak >= LISTED * self.least)
        some = values[torch.from_numpy(place), torch.from_numpy(row)].cpu().numpy()
        some[:, ends] = 0
        size = np.abs(some)
        at, component = np.nonzero((size >= LISTED * self.least) & (size > 0))
        if len(at) > self.limit:
            self._raise_least(np.minimum(size[at, component], self.bottleneck[parents[row[at]]]))
            large = size[at, component] >= LISTED * self.least
            at, component = at[large], component[large]
        return place[at], row[at], component, some[at, component].astype(np.float64)

    def _large_ends(self, values: Tensor, ends: np.ndarray) -> tuple[np.ndarray, ...]:
        """Return (place, row, component, value) of the children that end a path and may be listed."""
        some = values[:, :, torch.from_numpy(ends)].cpu().numpy()
        size = np.abs(some)
        place, row, end = np.nonzero((size >= self.least_end) & (size > 0))
        if len(place) > ENDS * self.n_ends:
            largest = np.argpartition(size[place, row, end], -ENDS * self.n_ends)[-ENDS * self.n_ends :]
            place, row, end = place[largest], row[largest], end[largest]
        return place, row, ends[end], some[place, row, end].astype(np.float64)

    def _raise_least(self, bottlenecks: np.ndarray) -> None:
        """Raise the lower bound to the smallest bottleneck of the `limit` largest, if there are as many."""
        self.least = max(self.least, _kth(bottlenecks, self.limit))

    def _is_end(self) -> np.ndarray:
        """Return whether each node ends a path, other than by a component's own bias."""
        component = self.component.all
        return (component >= 0) & ~self.reads[np.maximum(component, 0)]

    def _settle(self) -> None:
        """Keep the `limit` nodes that a best-first search expands first, and their largest children."""
        parent, size, expanded = self.parent.all, np.abs(self.value.all), self.expanded.all
        if self.done > self.limit:
            bottleneck = self.bottleneck.all
            last = _kth(bottleneck[expanded][1:], self.limit)
            equal = np.flatnonzero(expanded & (bottleneck == last))
            expanded &= bottleneck > last
            expanded[first_popped(parent, size, equal, self.limit + 1 - int(expanded.sum()))] = True
            self.done = self.limit
        ends, listed = self._is_end(), expanded[parent] | (parent < 0)
        least_end = _kth(size[ends & listed], self.n_ends)
        smallest = self.bottleneck.all[expanded].min() if self.done else 0.0
        large = expanded | (self.component.all == OWN_BIAS) | (size >= np.where(ends, least_end, LISTED * smallest))
        small = np.flatnonzero(listed & ~large)
        self.remainder.all[~expanded] = 0
        np.add.at(self.remainder.all, parent[small], self.value.all[small])
        self._retain(listed & large)
        self.least = np.inf

    def _retain(self, rows: np.ndarray) -> None:
        """Retain some rows of the tree, which are numbered anew."""
        index = np.where(rows, np.cumsum(rows) - 1, -1)
        expanded = self.expanded.all.copy()
        for column in self._columns:
            column.retain(rows)
        self.parent.all[1:] = index[self.parent.all[1:]]
        self.vectors = {int(index[row]): vector for row, vector in self.vectors.items() if expanded[row]}
        lots = [(lot, expanded[lot.parents]) for lot in self.lots]
        self.lots = [_some(lot, kept, index) for lot, kept in lots if kept.any()]

    def hold(self, children: Children, place: np.ndarray, parent: np.ndarray, component: np.ndarray) -> None:
        """Make nodes of children that belong to their parents' remainders so far.

        `parent` counts within the lot.
        """
        rows, positions = children.parents[parent], children.positions[place, parent]
        at = torch.from_numpy(parent), torch.from_numpy(component), torch.from_numpy(positions)
        factors = children.factors[torch.from_numpy(place), at[0]]
        values = (self.linearised.writes[at[1], at[2]] * children.vectors[at[0]]).sum(-1) * factors
        values = values.double().cpu().numpy()
        np.subtract.at(self.remainder.all, rows, values)
        self._append(rows, component, positions, values, factors.double().cpu().numpy())

    def complete_values(self) -> np.ndarray:
        """Return the values of all complete paths so far."""
        return self.value.all[self._is_end() | (self.component.all == OWN_BIAS)]

    def finish(self, target: Target, nodes: str, unlisted: float = np.inf) -> PathTree:
        """Return the tree as a result, its conservation checked against its mass."""
        value, parent, expanded = (column.all.copy() for column in (self.value, self.parent, self.expanded))
        remainder = np.where(expanded, self.remainder.all, np.nan)
        below = np.bincount(parent[1:], value[1:], len(value)) + self.remainder.all
        gap = float(np.abs(value - below)[expanded].max())
        mass = float(np.abs(value[~expanded]).sum() + np.abs(remainder[expanded]).sum())
        scale = max(mass, self.linear.scale)
        error = gap / scale if scale else gap
        if not error <= self.linearised.tolerance:
            raise CheckFailedError(
                f"A node of the path tree misses the sum of its children by {gap:.2e}, {error:.1e} of the tree's "
                f"absolute mass; tolerance {self.linearised.tolerance:.0e}."
            )
        return PathTree(
            target=self.linear.name,
            unit=self.linear.unit,
            definition=target,
            nodes=nodes,
            tokens=self.linearised.labels,
            token_ids=self.linearised.tokens.cpu().numpy(),
            components=self.expander.names,
            parent=parent,
            component=self.expander.identify(self.component.all, self.position.all),
            position=self.position.all.copy(),
            value=value,
            remainder=remainder,
            error=error,
            unlisted=unlisted,
            probability=probability(self.linearised, target),
        )

    def _append(
        self, parent: np.ndarray, component: np.ndarray, position: np.ndarray, value: np.ndarray, factor: np.ndarray
    ) -> None:
        reads = (component >= 0) & self.reads[component]
        bottleneck = np.where(reads, np.minimum(np.abs(value), self.bottleneck[parent]), 0.0)
        self.unranked += int(reads.sum())
        turn = np.where(reads, self.turns[component], -1)
        zeros = np.zeros(len(parent))
        rows = (parent, component, position, turn, value, factor, bottleneck, zeros, zeros)
        for column, more in zip(self._columns, rows, strict=True):
            column.extend(more)

    @property
    def _columns(self) -> tuple[_Column, ...]:
        ours = self.parent, self.component, self.position, self.turn, self.value, self.factor, self.bottleneck
        return *ours, self.remainder, self.expanded


def first_popped(parent: np.ndarray, size: np.ndarray, rows: np.ndarray, n: int) -> list[int]:
    """Return the first n of some rows of a tree that a best-first search takes.

    It always takes the largest row whose parent is not among those left, of equal ones the lowest.

    >>> first_popped(np.array([-1, 0, 0, 1, 2]), np.array([9.0, 1.0, 2.0, 5.0, 0.5]), np.arange(1, 5), 3)
    [2, 1, 3]
    """
    children: dict[int, list[tuple[float, int]]] = {}
    for row, above in zip(rows.tolist(), parent[rows].tolist(), strict=True):
        children.setdefault(above, []).append((-float(size[row]), row))
    inside = set(rows.tolist())
    waiting = [child for above, group in children.items() if above not in inside for child in group]
    heapq.heapify(waiting)
    popped: list[int] = []
    while waiting and len(popped) < n:
        popped.append(heapq.heappop(waiting)[1])
        for child in children.get(popped[-1], ()):
            heapq.heappush(waiting, child)
    return popped


def _kth(values: np.ndarray, k: int) -> float:
    """Return the k-th largest of some values; 0 if there are fewer."""
    return float(np.partition(values, -k)[-k]) if len(values) >= k else 0.0


def _some(lot: Children, chosen: np.ndarray, index: np.ndarray) -> Children:
    """Return a lot's children of some parents, whose rows are numbered anew."""
    rows = torch.from_numpy(np.flatnonzero(chosen)).to(lot.vectors.device)
    return replace(
        lot,
        parents=index[lot.parents[chosen]],
        factors=lot.factors[:, rows],
        positions=lot.positions[:, chosen],
        vectors=lot.vectors[rows],
        constants=lot.constants[rows],
        first=None if lot.first is None else lot.first[chosen],
    )


class _Column:
    """Numpy array that grows, its capacity doubled when it is full."""

    def __init__(self, dtype: type, first: float):
        self._buffer = np.array([first], dtype)
        self._length = 1

    def extend(self, values: np.ndarray) -> None:
        needed = self._length + len(values)
        if needed > len(self._buffer):
            self._buffer = np.concatenate([self._buffer, np.empty(needed, self._buffer.dtype)])
        self._buffer[self._length : needed] = values
        self._length = needed

    def retain(self, rows: np.ndarray) -> None:
        self._buffer = self.all[rows]
        self._length = len(self._buffer)

    @property
    def all(self) -> np.ndarray:
        """All values so far, as a view."""
        return self._buffer[: self._length]

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        return self._buffer[rows]

    def __setitem__(self, rows: np.ndarray, values: np.ndarray | bool) -> None:
        self._buffer[rows] = values
