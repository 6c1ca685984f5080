"""Differences of two attributions, and of two path trees. No torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from interp.attribution.results import Attribution, Direct, Edges
from interp.errors import UsageError, whole
from interp.report import Shown, Table
from interp.results import Result
from interp.tensors import as_tensor

if TYPE_CHECKING:
    from torch import Tensor

    from interp.attribution.paths import PathTree


@dataclass(frozen=True, eq=False)
class TreeDifference(Shown, Result):
    """Complete paths that two trees hold, and by how much they differ.

    `first` and `second` (n_path,) are the values of each path, matched by its components and positions; a path that a
    tree does not hold is not 0 but unknown there, NaN. `total` is the difference of the trees' totals, of which
    `listed` is what the paths known in both explain.

    >>> frozen = attribution.freeze(model, tokens)
    >>> paris, london = (attribution.path_tree(frozen, attribution.logit(model, t), 50) for t in (" Paris", " London"))
    >>> difference = paris - london
    """

    target: str
    unit: str
    paths: tuple[str, ...]
    first: np.ndarray
    second: np.ndarray
    total: float

    @property
    def array(self) -> np.ndarray:
        """(n_path,) first − second, NaN where one of them is unknown."""
        return self.first - self.second

    @property
    def values(self) -> Tensor:
        """The differences as a torch tensor."""
        return as_tensor(self.array)

    @property
    def listed(self) -> float:
        """Sum of the differences of all paths known in both trees."""
        return float(np.nansum(self.array))

    def table(self, k: int = 20) -> Table:
        """Return the k paths that differ most as a table.

        They are followed by as many of those known in one tree only, largest first.

        >>> difference.table(1).rows[0]
        ('MLP1@in <- L0H3@in <- embed@tower', 0.297, -0.451, 0.748)
        """
        k = whole(k, "k", 0)
        known = np.isfinite(self.array)
        size = np.where(known, np.abs(self.array), np.fmax(np.abs(self.first), np.abs(self.second)))
        order = np.argsort(-size, kind="stable")
        chosen = [*order[known[order]][:k], *order[~known[order]][:k]]
        columns = tuple(
            tuple(None if np.isnan(x) else float(x) for x in each[chosen])
            for each in (self.first, self.second, self.array)
        )
        rows = tuple(zip((self.paths[i] for i in chosen), *columns, strict=True))
        caption = (
            f"Complete paths of two trees of the {self.target}, in {self.unit}. The totals differ by "
            f"{self.total:+.4f}; the {int(known.sum())} paths in both explain {self.listed:+.4f}. A blank is not 0: "
            "the tree does not hold that path."
        )
        formats = {"first": "+.4f", "second": "+.4f", "difference": "+.4f"}
        return Table(("path", "first", "second", "difference"), rows, caption, formats)


def subtract_trees(first: PathTree, second: PathTree) -> TreeDifference:
    """Return the difference of two trees of one model.

    Raises `UsageError` for other components, units or kinds of nodes.
    """
    if (first.components, first.unit, first.nodes) != (second.components, second.unit, second.nodes):
        raise UsageError("The two trees have other components, units or nodes: grow both on one model in one way.")
    sides = [
        {_key(tree, int(row)): (float(tree.value[row]), " <- ".join(tree.chain(row))) for row in tree.largest(_MANY)}
        for tree in (first, second)
    ]
    keys = list(dict.fromkeys((*sides[0], *sides[1])))
    values = [np.array([each.get(key, (np.nan, ""))[0] for key in keys]) for each in sides]
    names = tuple((sides[0].get(key) or sides[1][key])[1] for key in keys)
    same = first.target == second.target
    target = first.target if same else f"{first.target} and the {second.target}"
    return TreeDifference(target, first.unit, names, values[0], values[1], first.total - second.total)


_MANY = 10**9


def _key(tree: PathTree, row: int) -> tuple[tuple[int, int], ...]:
    """Return the components and positions of a path."""
    return tuple((int(tree.component[at]), int(tree.position[at])) for at in tree.rows_above(row))


def subtract(first: Attribution, second: Attribution) -> Attribution:
    """Return first − second, label by label.

    A label that one of them lacks counts 0 there.

    The difference sums to the difference of the two totals, and its error is relative to the larger of that and the
    largest difference. Two `Direct`, or two `Edges`, of the same labels give one again, anything else an
    `Attribution`. Labels of positions ("embed@3") are matched by position.

    Raises `UsageError` for attributions in different units, or of different kinds.
    """
    if not isinstance(second, Attribution) or type(first) is not type(second):
        raise UsageError(
            f"A {type(first).__name__} can be subtracted from another one only, not a {type(second).__name__}."
        )
    if first.unit != second.unit:
        raise UsageError(f"The attributions are in {first.unit} and {second.unit}: their difference has no unit.")
    labels = tuple(dict.fromkeys((*first.labels, *second.labels)))
    array = _values(first, labels) - _values(second, labels)
    total, value = first.total - second.total, first.value - second.value
    scale = max(abs(value), float(np.abs(array).max(initial=0.0)))
    error = abs(total - value) / scale if scale else abs(total - value)
    same = first.target == second.target
    name = f"{first.target}, first less second" if same else f"{first.target} less {second.target}"
    shared = {"target": name, "array": array, "total": total, "value": value, "error": error}
    if labels == first.labels == second.labels:
        if isinstance(first, Direct):
            return replace(first, **shared)
        if isinstance(first, Edges) and isinstance(second, Edges):
            return replace(first, **shared, own=first.own - second.own)
    return Attribution(unit=first.unit, labels=labels, **shared)


def _values(one: Attribution, labels: tuple[str, ...]) -> np.ndarray:
    summed = one.array.reshape(-1, one.array.shape[-1]).sum(0)
    if one.labels == labels:
        return summed
    known = dict(zip(one.labels, summed.tolist(), strict=True))
    return np.array([known.get(label, 0.0) for label in labels])
