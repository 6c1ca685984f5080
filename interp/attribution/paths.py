"""Result of a path tree and what can be read from it. No torch here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np

from interp.attribution.results import Target
from interp.errors import UsageError, whole
from interp.report import Figure, Shown, Table
from interp.report.figures import icicle
from interp.results import Result

if TYPE_CHECKING:
    from interp.attribution.difference import TreeDifference

TARGET, OWN_BIAS = -1, -2
"""Values of `PathTree.component` that are not components: the root, and the bias a node adds whatever it reads."""


@dataclass(frozen=True, eq=False)
class Path(Result):
    """Complete chain, from nearest the target to an embedding or bias.

    `components` are such as "L23H4@of"; `value` is the path's exact contribution in the tree's unit.

    >>> tree = attribution.path_tree(attribution.freeze(model, tokens), attribution.logit(model, " Paris"), 50)
    >>> path = tree.paths(1)[0]
    >>> path.components, path.value
    (('MLP1@in', 'L0H1@in', 'embed@the'), 0.452)
    """

    components: tuple[str, ...]
    value: float

    def __str__(self) -> str:
        return f"{' <- '.join(self.components)}  {self.value:+.4f}"


@dataclass(frozen=True, eq=False)
class PathTree(Shown, Result):
    """A path tree, its nodes as columns.

    `parent` is the row of the parent, -1 for the target in row 0; `component` an index into `components`, or `TARGET`,
    `OWN_BIAS`; `position` is -1 for a whole component; `remainder`, for expanded nodes, is the sum of the children
    that are not nodes, NaN for the others. For every expanded node, value = Σ children + remainder; `error` is the
    worst deviation, relative to the tree's absolute mass. `unlisted` is the largest absolute value that a complete path
    outside the tree can have, infinite for a tree grown without `top`; `probability` the model's for the target's
    tokens of positive weight, None where the target is not made of tokens.

    >>> tree = attribution.path_tree(attribution.freeze(model, tokens), attribution.logit(model, " Paris"), 50)
    >>> tree.total, tree.paths(1)[0].components
    (0.596, ('MLP1@in', 'L0H1@in', 'embed@the'))
    """

    target: str
    unit: str
    definition: Target
    nodes: str
    tokens: tuple[str, ...]
    token_ids: np.ndarray
    components: tuple[str, ...]
    parent: np.ndarray
    component: np.ndarray
    position: np.ndarray
    value: np.ndarray
    remainder: np.ndarray
    error: float
    unlisted: float = float("inf")
    probability: float | None = None

    @property
    def total(self) -> float:
        """The target's value: the sum of all leaves, unexpanded nodes and remainders."""
        outside = float(self.remainder[self.expanded].sum())
        return float(self.value[~self.expanded].sum()) + outside

    @property
    def of_contrast(self) -> bool:
        """Whether the tree is of the difference of two prompts.

        Then `token_ids` are those of both, clean first.
        """
        return self.token_ids.ndim == 2

    @property
    def expanded(self) -> np.ndarray:
        """Whether each node has been expanded, (n_node,).

        Row 0, the target, always is.
        """
        return np.isfinite(self.remainder)

    @property
    def complete(self) -> np.ndarray:
        """(n_node,) whether a node ends a path: an embedding or a bias."""
        reads = np.array([name.startswith(("L", "MLP")) and ".b_" not in name for name in self.components])
        return (self.component == OWN_BIAS) | ((self.component >= 0) & ~reads[np.maximum(self.component, 0)])

    @property
    def mass(self) -> float:
        """Absolute mass of the tree, in its unit.

        Σ |value| of what ends the tree's branches and |remainder|.

        A lower bound on that of all paths, because what is unexpanded may hold paths that cancel.
        """
        return float(np.abs(self.value[~self.expanded]).sum() + np.abs(self.remainder[self.expanded]).sum())

    def __sub__(self, other: PathTree) -> TreeDifference:
        """Return the difference of the complete paths of two trees.

        They are matched by components and positions.
        """
        from interp.attribution.difference import subtract_trees

        return subtract_trees(self, other)

    def paths(self, k: int) -> tuple[Path, ...]:
        """Return the k largest complete paths of the tree, largest first.

        They are ranked by absolute value. `certified(k)` says how many of them are the largest there are. Raises
        `UsageError` for a negative k.

        >>> [path.value for path in tree.paths(3)]
        [0.452, 0.395, 0.376]
        """
        return tuple(Path(self.chain(row), float(self.value[row])) for row in self.largest(k))

    def certified(self, k: int) -> int:
        """Count the largest paths that no other path can exceed.

        Only the k largest complete paths of the tree are counted; 0 for a tree grown without `top`.

        >>> tree.certified(3)  # grown without `top`
        0
        """
        return int((np.abs(self.value[self.largest(k)]) >= self.unlisted).sum())

    def standing(self, k: int) -> str:
        """Return how certain it is that the k largest are known.

        The result is a phrase for a caption.

        >>> tree.standing(3)
        'larger paths may exist'
        """
        shown, certain = len(self.largest(k)), self.certified(k)
        if not np.isfinite(self.unlisted):
            return "larger paths may exist"
        if certain == shown:
            return "no other path is larger"
        return f"the first {certain} are certain to be the largest, among the others larger paths may exist"

    def coverage(self, k: int) -> float:
        """Return the share of absolute mass that the k largest paths carry.

        >>> tree.coverage(3)
        0.125
        """
        return float(np.abs(self.value[self.largest(k)]).sum()) / self.mass if self.mass else 0.0

    def largest(self, k: int) -> np.ndarray:
        """Return the rows of the k largest complete paths of the tree.

        >>> [tree.name(row) for row in tree.largest(2)]
        ['embed@the', 'embed@tower']
        """
        k, rows = whole(k, "k", 0), np.flatnonzero(self.complete)
        return rows[np.argsort(-np.abs(self.value[rows]), kind="stable")][:k]

    def chain(self, row: int | np.integer) -> tuple[str, ...]:
        """Return the names of a node and its ancestors.

        The node nearest to the target comes first. A contrast's head that is followed by a branch of it, "L5H2.q@of",
        is named by the branch alone.

        >>> tree.chain(tree.largest(1)[0])
        ('MLP1@in', 'L0H1@in', 'embed@the')
        """
        rows = self.rows_above(row)
        split = [False, *(self.is_branch(at) for at in rows)]
        return tuple(reversed([self.name(at) for at, below in zip(rows, split, strict=False) if not below]))

    def is_branch(self, row: int) -> bool:
        """Return whether a node is a head's query, key or value.

        The name of such a node includes that of the head above it.

        >>> tree.is_branch(1)  # only trees of a contrast have branches
        False
        """
        component = int(self.component[row])
        return component >= 0 and self.components[component].endswith((".q", ".k", ".v"))

    def kind(self, row: int) -> str:
        """Return what a node is: "target", "head", "mlp", "embed" or "bias".

        >>> tree.kind(0), tree.kind(1)
        ('target', 'head')
        """
        component = int(self.component[row])
        if component == TARGET:
            return "target"
        name = self.components[component]
        if component == OWN_BIAS or ("." in name and not self.is_branch(row)):
            return "bias"
        return "embed" if name.endswith("embed") else "mlp" if re.match(r"MLP|L\d+E", name) else "head"

    def rows_above(self, row: int | np.integer) -> list[int]:
        """Return a node's row, its parent's, and so on, without the target's.

        >>> row = tree.largest(1)[0]
        >>> [tree.name(above) for above in tree.rows_above(row)]
        ['embed@the', 'L0H1@in', 'MLP1@in']
        """
        rows = []
        while row > 0:
            rows.append(int(row))
            row = self.parent[row]
        return rows

    def name(self, row: int) -> str:
        """Return a node's name: component@token.

        In a contrast, what changes because an expert was chosen is named "choice".

        >>> tree.name(0), tree.name(1)
        ("logit of ' Paris'", 'L0H1@in')
        """
        component = int(self.component[row])
        if component == TARGET:
            return self.target
        if component == OWN_BIAS:
            own = "choice" if self.of_contrast else "bias"
            return f"{self.name(int(self.parent[row]))}.{own}" if self.parent[row] else "b_U"
        place = int(self.position[row])
        return self.components[component] if place < 0 else f"{self.components[component]}@{self._places[place]}"

    @cached_property
    def _places(self) -> tuple[str, ...]:
        """Tokens without their blanks, numbered where a text occurs twice."""
        texts = [token.strip() or repr(token) for token in self.tokens]
        return tuple(text if texts.count(text) == 1 else f"{text}.{i}" for i, text in enumerate(texts))

    def grouped(self, by: Literal["token", "component"]) -> tuple[tuple[str, float], ...]:
        """Sum complete paths by their token, or by their components.

        "token" is the token they begin at; "component" takes all positions together. Largest first; the last entry,
        "not listed", is everything the tree has not resolved into complete paths.

        >>> tree.grouped("token")
        (('tower', 0.315), ('the', 0.230), ('in', 0.141), ('is', 0.131), ('biases', -0.122), ('not listed', -0.099))
        """
        if by not in ("token", "component"):
            raise UsageError(f'by must be "token" or "component", not "{by}".')
        sums: dict[str, float] = {}
        for row in np.flatnonzero(self.complete):
            if by == "token":
                key = self._begins_at(row)
            else:
                key = " <- ".join(name.partition("@")[0] for name in self.chain(row))
            sums[key] = sums.get(key, 0.0) + float(self.value[row])
        ordered = sorted(sums.items(), key=lambda item: -abs(item[1]))
        return (*ordered, ("not listed", self.total - sum(sums.values())))

    def _begins_at(self, row: int | np.integer) -> str:
        if self.component[row] == OWN_BIAS or "." in self.components[self.component[row]]:
            return "choices of experts" if self.of_contrast else "biases"
        place = int(self.position[row])
        return "all tokens" if place < 0 else self._places[place]

    def table(self, k: int = 20) -> Table:
        """Return the k largest complete paths.

        >>> tree.table(2).rows
        ((1, 'MLP1@in ← L0H1@in ← embed@the', 0.452), (2, 'MLP1@in ← MLP0@in ← L0H3@in ← embed@tower', 0.395))
        """
        rows = tuple((i + 1, " ← ".join(path.components), path.value) for i, path in enumerate(self.paths(k)))
        caption = (
            f"The {len(rows)} largest complete paths in the tree to the {self.target}, in {self.unit}; "
            f"{self.standing(k)}. They carry {self.coverage(k):.1%} of the tree's absolute mass of {self.mass:.1f}, "
            f"which sums to {self.total:+.4f}."
        )
        return Table(("rank", "path", self.unit), rows, caption, {self.unit: "+.4f"})

    def figure(self, k: int = 60) -> Figure:
        """Draw the k nodes of largest values as an icicle.

        The target is on top.

        >>> tree.figure(10)
        Figure(path-tree: Icicle of the path tree; the largest branch begins with MLP0@in.)
        """
        shown = self.heaviest(k)
        index = {row: i for i, row in enumerate(shown)}
        return icicle(
            "path-tree",
            [self.name(row) for row in shown],
            [index[int(self.parent[row])] if row else -1 for row in shown],
            self.value[shown],
            caption=f"The {len(shown)} largest nodes of the path tree. A box is a component at a token; below it is "
            f"what wrote what it read. Colour is the signed contribution to the {self.target}, in {self.unit}; width "
            "is its share of the absolute mass among its siblings.",
            alt=f"Icicle of the path tree; the largest branch begins with {self.name(shown[1])}.",
            unit=self.unit,
        )

    def heaviest(self, k: int) -> list[int]:
        """Return rows of the k largest nodes with all their ancestors.

        Parents come before children.

        >>> [tree.name(row) for row in tree.heaviest(3)]
        ["logit of ' Paris'", 'L1H1@in', 'MLP1@in']
        """
        order = np.argsort(-np.abs(self.value), kind="stable")
        shown = {0}
        for row in order.tolist():
            if len(shown) >= k:
                break
            shown.update(self.rows_above(row))
        return sorted(shown)
