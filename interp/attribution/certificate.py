"""Branch and bound on a path tree, until its k largest paths are certain."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from interp.attribution.bounds import PathBounds
from interp.attribution.expand import Children

if TYPE_CHECKING:
    from interp.attribution.growth import Growing


class Certificate:
    """Bounds on the paths still possible below nodes of a growing tree.

    `bound[row]` is 0 where nothing is that matters.
    """

    def __init__(self, growing: Growing, bounds: PathBounds, top: int, max_expansions: int):
        self.growing, self.bounds, self.top, self.max_expansions = growing, bounds, top, max_expansions
        self.bound = np.zeros(0)
        known = self._codes(growing.parent.all, growing.component.all, growing.position.all)
        rows = dict(zip(known.tolist(), range(len(known)), strict=True))
        for children in growing.lots:
            self._admit(children, rows)
        growing.lots.clear()

    def grow(self, batch_size: int, report: Callable[[], None]) -> None:
        """Expand nodes, largest bound first, until the list is certain.

        Or the expansions are used up.
        """
        while len(chosen := self._next(batch_size)):
            self.growing.expand(self.growing.nodes(chosen))
            for children in self.growing.lots:
                self._admit(children, {})
            self.growing.lots.clear()
            self.growing.done += len(chosen)
            report()

    def unlisted(self) -> float:
        """Return the largest absolute value of a complete path outside the tree."""
        return max([self._least(), *self.bound[self._open()]])

    def _admit(self, children: Children, rows: dict[int, int]) -> None:
        """Note the bounds of a lot's children.

        Those that the tree does not have yet (see `rows`) become nodes of it.
        """
        growing, layout = self.growing, self.growing.linearised.layout
        parents = growing.component[children.parents]
        seen = np.array([layout.visible(layout.components[c]) if c >= 0 else growing.linear.visible for c in parents])
        (place, parent, component), bound = self.bounds.children(children, seen, self._least())
        position = children.positions[place, parent]
        codes = self._codes(children.parents[parent], component, position)
        known = np.array([rows.get(code, -1) for code in codes.tolist()], np.int64)
        new = known < 0
        first = len(growing.value)
        growing.hold(children, place[new], parent[new], component[new])
        known[new] = np.arange(first, len(growing.value))
        self.bound = np.concatenate([self.bound, np.zeros(len(growing.value) - len(self.bound))])
        self.bound[known] = bound

    def _next(self, batch_size: int) -> np.ndarray:
        """Return the rows below which a larger path is possible.

        Larger than the k-th.
        """
        rows = self._open()
        rows = rows[self.bound[rows] > self._least()]
        size = min(batch_size, self.max_expansions - self.growing.done)
        return rows[np.argsort(-self.bound[rows], kind="stable")[:size]]

    def _open(self) -> np.ndarray:
        return np.flatnonzero((self.bound > 0) & ~self.growing.expanded.all)

    def _least(self) -> float:
        """Return the k-th largest absolute value of a complete path.

        Of the paths in the tree.

        0 where it has fewer.
        """
        sizes = np.abs(self.growing.complete_values())
        return float(np.partition(sizes, -self.top)[-self.top]) if len(sizes) >= self.top else 0.0

    def _codes(self, parents: np.ndarray, components: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """Return one number for each (parent, component, position).

        Components count from `OWN_BIAS` = -2.
        """
        frozen = self.growing.linearised
        return (parents * (len(frozen.layout.components) + 2) + components + 2) * frozen.n_token + positions
