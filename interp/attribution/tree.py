"""Path tree: a profiler for a target, grown best-first towards the embeddings.

A node is a component at a position, and stands for every path that ends with it on the way to the target: its value is
its write times the covector carried back to it along its chain. Expanding a node pulls that covector through the
component and meets everything that wrote what it read: one child for every (component, position), and one for its own
bias. Their values sum to the node's. The largest children become nodes; the sum of the others is stored with them
as an exact remainder.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from interp.arguments import checked
from interp.attribution.bounds import path_bounds
from interp.attribution.certificate import Certificate
from interp.attribution.expand import Children, Expander, Nodes
from interp.attribution.frozen import Frozen
from interp.attribution.linearised import Linear, Linearised, NodeKind, check_linearised
from interp.attribution.paths import OWN_BIAS, TARGET, PathTree
from interp.attribution.results import Target
from interp.attribution.targets import probability
from interp.errors import CheckFailedError, UsageError
from interp.progress import Progress

EXPANSIONS, CERTIFYING = 500, 20_000
"""Nodes expanded by default, without and with `top`; with it the first `EXPANSIONS` are chosen by their value."""


@checked
@torch.no_grad()
def path_tree(  # noqa: PLR0913 (the bounds are keyword-only)
    linearised: Linearised,
    target: Target,
    max_expansions: int | None = None,
    *,
    top: int = 0,
    nodes: NodeKind = "position",
    min_value: float = 0.0,
    min_share: float = 0.0,
    batch_size: int = 512,
    max_gigabytes: float = 8.0,
    progress: Progress | None = None,
) -> PathTree:
    """Expand the largest nodes, best first, until a bound is reached.

    With `top=k`, go on by branch and bound (Land & Doig 1960) until the k largest complete paths are certain to
    be the k largest there are, or `max_expansions` is reached: expand the nodes below which a larger path than the
    k-th one is still possible. No path below a node is larger than the root of the sum of squares of all paths below
    it, which `interp.attribution.bounds` computes exactly. `PathTree.certified` says for how many paths it was enough.

    Memory: for each expanded node one vector (d_model numbers; n_token · d_model for whole components), and for a lot
    of nodes expanded together about 0.2 GB. Of a node's children, those that are too small to be expanded within
    `max_expansions` go into its remainder, and of those that end a path the `max_expansions` largest remain.

    Args:
        linearised: a frozen input, or the contrast of one pair, whose heads split into query, key and value.
        target: what is attributed.
        max_expansions: how many nodes to expand, the target not counted; 500 by default, 20,000 with `top`.
        top: how many of the largest complete paths to certify; needs nodes at positions.
        nodes: "position": a node is a component at one position. "component": at all positions at once, which gives
            shorter lists and costs n_token times as much to take back through an MLP.
        min_value: do not expand nodes whose absolute value is below this, in the target's unit.
        min_share: nor below this share of the target's absolute value.
        batch_size: largest number of nodes expanded at a time; 1 is strictly best-first. More is faster, and as a
            round takes only nodes close in value to the largest, hardly any is expanded that 1 would not expand.
        max_gigabytes: refuse a `top` whose bounds need more memory than this: 80 MB a token for SmolLM2 in float32.
        progress: called with (expansions done, expansions allowed, what is being done).

    Returns:
        The tree: every expanded node is the sum of its children and its remainder.

    Raises:
        UsageError: a bound that makes no sense, or a position outside the prompt.
        CheckFailedError: a node that misses the sum of its children and remainder by more than the input's tolerance
            of the tree's absolute mass.

    >>> tree = path_tree(attribution.freeze(model, tokens), attribution.logit(model, " Paris"), top=5)
    >>> tree.certified(5), tree.paths(1)[0].components
    (5, ('MLP1@in', 'L0H1@in', 'embed@the'))
    """
    if max_expansions is None:
        max_expansions = CERTIFYING if top else EXPANSIONS
    _check_bounds(max_expansions, batch_size, min_value, min_share, top, nodes)
    check_linearised(linearised)
    linear = linearised.linear(target)
    expander = linearised.expander(nodes, linear)
    first = min(EXPANSIONS, max_expansions) if top else max_expansions
    growing = Growing(linearised, linear, expander, first, top)

    def report() -> None:
        if progress is not None:
            progress(growing.done, max_expansions, "expanding paths")

    growing.add(expander.target())
    threshold = max(min_value, min_share * abs(linear.value))
    while len((chosen := growing.next_round(batch_size, threshold)).rows):
        for children in expander.round(chosen):
            growing.add(children)
        report()
    if not top:
        return growing.finish(target, nodes)
    if not isinstance(linearised, Frozen):
        raise UsageError(
            "Only the largest paths of a frozen input without dictionaries can be certified: leave out top."
        )
    certificate = Certificate(growing, path_bounds(linearised, max_gigabytes), top, max_expansions)
    certificate.grow(expander, batch_size, report)
    return growing.finish(target, nodes, certificate.unlisted())


class Growing:
    """Tree while it grows: columns with one row for each node.

    Row 0 is the target.

    `lots` holds the rounds' children without their values, for what is to be known of them later.
    """

    def __init__(self, linearised: Linearised, linear: Linear, expander: Expander, max_expansions: int, top: int = 0):
        self.linearised, self.linear, self.expander = linearised, linear, expander
        self.left, self.done = max_expansions, 0
        self.keep = max(max_expansions, top)
        self.parent, self.component = _Column(np.int64, -1), _Column(np.int64, TARGET)
        self.position, self.value = _Column(np.int64, linear.position), _Column(np.float64, linear.value)
        self.factor, self.remainder = _Column(np.float64, 1.0), _Column(np.float64, np.nan)
        self.vectors: dict[int, Tensor] = {}
        self.lots: list[Children] = []
        self.gap = self.smallest = 0.0
        self.frontier, self.waiting = np.empty(0, np.int64), np.empty(0)
        self.reads = expander.reads
        self.ends = torch.from_numpy(np.flatnonzero(~self.reads)).to(linearised.writes.device)

    def add(self, children: Children) -> None:
        """Add a round's largest children as nodes.

        The rest becomes a remainder of each parent.
        """
        values, parents = children.values, children.parents
        constants = children.constants.double().cpu().numpy()
        chosen = self._selected(values, self.ends if children.first is None else self.ends[:0])
        chosen_values = values.flatten()[chosen].double().cpu().numpy()
        place, row, component = np.unravel_index(chosen.cpu().numpy(), values.shape)
        component = component if children.first is None else component + children.first[row]
        sums = values.sum(2).double().sum(0).cpu().numpy()
        self.gap = float(np.maximum(self.gap, np.abs(self.value[parents] - sums - constants).max()))
        self.remainder[parents] = sums - np.bincount(row, chosen_values, len(parents))
        self.vectors.update(zip(parents.tolist(), children.vectors, strict=True))
        factors = children.factors.cpu().numpy()[place, row]
        self._append(parents[row], component, children.positions[place, row], chosen_values, factors)
        own = np.flatnonzero(constants)
        self._append(
            parents[own],
            np.full(len(own), OWN_BIAS),
            self.position[parents[own]],
            constants[own],
            np.ones(len(own)),
        )
        self.lots.append(replace(children, values=values.new_empty(0)))

    def hold(self, children: Children, place: np.ndarray, parent: np.ndarray, component: np.ndarray) -> None:
        """Make nodes of children that belong to their parents' remainders so far.

        `parent` counts within the lot.
        """
        rows, positions = children.parents[parent], children.positions[place, parent]
        at = torch.from_numpy(parent), torch.from_numpy(component), torch.from_numpy(positions)
        factors = children.factors[torch.from_numpy(place), at[0]]
        values = (self.linearised.writes[at[1], at[2]] * children.vectors[at[0]]).sum(-1) * factors
        values = values.double().cpu().numpy()
        np.subtract.at(self.remainder.buffer, rows, values)
        self._append(rows, component, positions, values, factors.double().cpu().numpy())

    def complete_values(self) -> np.ndarray:
        """Return the values of all complete paths so far."""
        component = self.component.all()
        return self.value.all()[(component == OWN_BIAS) | ((component >= 0) & ~self.reads[np.maximum(component, 0)])]

    def _selected(self, values: Tensor, ends: Tensor) -> Tensor:
        """Return flat indices of the children that become nodes.

        What may yet be expanded, and the largest of what ends a path.
        """
        rows, seen = values.flatten(0, 1), values.shape[-1]
        ends = ends[ends < seen]
        end = _largest(rows[:, ends].abs().flatten(), self.keep)
        if len(ends):
            end = end // len(ends) * seen + ends[end % len(ends)]
        # Most rows have no child that is large enough: only the others are looked through.
        some = (torch.maximum(rows.amax(1), -rows.amin(1)) >= self.smallest).nonzero()[:, 0]
        size = rows[some].abs()
        size[:, ends] = -1
        row, component = (size >= self.smallest).nonzero(as_tuple=True)
        large = _largest(size[row, component], self.keep)
        chosen = torch.cat([end, some[row[large]] * seen + component[large]]).sort().values
        return chosen[values.flatten()[chosen] != 0]

    def next_round(self, batch_size: int, threshold: float) -> Nodes:
        """Return the largest nodes that wait to be expanded.

        None is smaller than the threshold; empty when the tree is grown.

        A round takes the 32 largest, and more when more are within a factor of 4 of the largest, for until those are
        expanded no smaller node's turn can have come; it leaves half of what may still be expanded to their children.
        Nodes so small that enough larger ones wait never have their turn, and neither have children as small.
        """
        order = np.argsort(-self.waiting, kind="stable")[: self.left]
        rows, waiting = self.frontier[order], self.waiting[order]
        if len(waiting) == self.left:
            self.smallest = float(waiting[-1]) if self.left else np.inf
        close = int((waiting >= waiting[:1] / 4).sum())
        n = min(batch_size, max(32, min(close, self.left // 2)), int((waiting >= threshold).sum()))
        self.frontier, self.waiting, rows = rows[n:], waiting[n:], rows[:n]
        self.left, self.done = self.left - n, self.done + n
        return self.nodes(rows)

    def nodes(self, rows: np.ndarray) -> Nodes:
        """Return rows of the tree with their covectors, ready to be expanded."""
        above = self.parent[rows]
        shared = [self.vectors[parent] for parent in above.tolist()]
        vectors = torch.stack(shared) if shared else self.linear.covector[:0]
        parents = Nodes(above, self.component[above], self.position[above], vectors)
        factors = torch.from_numpy(self.factor[rows]).to(vectors)
        nodes = Nodes(rows, self.component[rows], self.position[rows], factors)
        return replace(nodes, covectors=self.expander.carry(nodes, parents))

    def finish(self, target: Target, nodes: str, unlisted: float = np.inf) -> PathTree:
        """Return the tree as a result, its conservation checked against its mass."""
        value, parent, remainder = self.value.all(), self.parent.all(), self.remainder.all()
        expanded = np.isfinite(remainder)
        mass = float(np.abs(value[~expanded]).sum() + np.abs(remainder[expanded]).sum())
        scale = max(mass, self.linear.scale)
        error = self.gap / scale if scale else self.gap
        if not error <= self.linearised.tolerance:
            raise CheckFailedError(
                f"A node of the path tree misses the sum of its children by {self.gap:.2e}, {error:.1e} of the tree's "
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
            component=self.expander.identify(self.component.all(), self.position.all()),
            position=self.position.all(),
            value=value,
            remainder=remainder,
            error=error,
            unlisted=unlisted,
            probability=probability(self.linearised, target),
        )

    def _append(
        self, parent: np.ndarray, component: np.ndarray, position: np.ndarray, value: np.ndarray, factor: np.ndarray
    ) -> None:
        first = len(self.value)
        self.parent.extend(parent)
        self.component.extend(component)
        self.position.extend(position)
        self.value.extend(value)
        self.factor.extend(factor)
        self.remainder.extend(np.full(len(parent), np.nan))
        can_grow = np.flatnonzero((component >= 0) & self.reads[component] & (value != 0))
        self.frontier = np.concatenate([self.frontier, first + can_grow])
        self.waiting = np.concatenate([self.waiting, np.abs(value[can_grow])])


class _Column:
    """Numpy array that grows, its capacity doubled when it is full."""

    def __init__(self, dtype: type, first: float):
        self.buffer = np.array([first], dtype)
        self._length = 1

    def extend(self, values: np.ndarray) -> None:
        needed = self._length + len(values)
        if needed > len(self.buffer):
            self.buffer = np.concatenate([self.buffer, np.empty(needed, self.buffer.dtype)])
        self.buffer[self._length : needed] = values
        self._length = needed

    def all(self) -> np.ndarray:
        return self.buffer[: self._length].copy()

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        return self.buffer[rows]

    def __setitem__(self, rows: np.ndarray, values: np.ndarray) -> None:
        self.buffer[rows] = values


def _largest(size: Tensor, n: int) -> Tensor:
    """Return the indices of the n largest."""
    return size.topk(min(n, len(size))).indices


def _check_bounds(
    max_expansions: int, batch_size: int, min_value: float, min_share: float, top: int, nodes: str
) -> None:
    if top < 0 or (top and nodes != "position"):
        raise UsageError(
            f'top={top} with nodes="{nodes}": paths are certified with nodes="position" and top from 1 up.'
        )
    if max_expansions < 1 or batch_size < 1:
        raise UsageError(f"max_expansions and batch_size must be at least 1, not {max_expansions} and {batch_size}.")
    if not (min_value >= 0 and min_share >= 0):
        raise UsageError(f"min_value and min_share must not be negative, but are {min_value} and {min_share}.")
