"""Path trees as explorers: tokens from left to right, layers upwards."""

from __future__ import annotations

import re

import numpy as np

from interp.attribution.paths import OWN_BIAS, TARGET, PathTree
from interp.errors import require, whole
from interp.report import Edge, Explorer, Node


def tree_explorer(tree: PathTree, max_nodes: int = 3000, name: str = "path-explorer") -> Explorer:
    """Return the largest nodes of a path tree as an explorer.

    The values of a node's children and the rest sum to it.

    Args:
        tree: of a frozen input or of a contrast.
        max_nodes: the largest that are carried, with all that they feed.
        name: the id of the block.

    Returns:
        The interactive element, for a page.

    Raises:
        UsageError: a `max_nodes` below 2.

    >>> tree = attribution.path_tree(attribution.freeze(model, tokens), attribution.logit(model, " Paris"), 50)
    >>> len(tree_explorer(tree, max_nodes=20).nodes)
    20
    """
    require(tree, PathTree, "tree")
    rows = tree.heaviest(whole(max_nodes, "max_nodes", 2))
    split = {int(tree.parent[row]) for row in rows if tree.is_branch(row)}
    shown = [row for row in rows if row not in split]
    unresolved = ~tree.complete & ~tree.expanded
    value = tree.total
    nodes = tuple(_node(tree, row, bool(unresolved[row]), value) for row in shown)
    edges = tuple(Edge(str(row), str(_feeds(tree, row, split)), float(tree.value[row])) for row in shown if row)
    total = len(tree.value)
    left = f"; the {len(rows):,} largest of its {total:,} nodes are here" if len(rows) < total else ""
    return Explorer(
        name,
        nodes,
        edges,
        caption=f"The tree of paths to the {tree.target}, in {tree.unit}{left}. A node is a "
        "component at a token, its value the sum of all paths through it that end at the target; what feeds it and the "
        "rest sum to it. Where the tree reaches a component by several ways, these are summed, and “each node” "
        "takes them apart.",
        alt=f"Graph of components by token and layer, leading to the {tree.target}.",
        tokens=tree.tokens,
        unit=tree.unit,
        conserved=True,
    )


def _feeds(tree: PathTree, row: int, split: set[int]) -> int:
    """Return the node that one feeds; a head's branch stands for the head."""
    above = int(tree.parent[row])
    return int(tree.parent[above]) if above in split else above


def _node(tree: PathTree, row: int, unresolved: bool, total: float) -> Node:
    """Return a node of the explorer; `total` is the tree's."""
    component, position = int(tree.component[row]), int(tree.position[row])
    label = tree.target if component == TARGET else tree.name(row).partition("@")[0]
    if component == OWN_BIAS:
        label = f"{tree.name(int(tree.parent[row])).partition('@')[0]}.bias" if tree.parent[row] else "b_U"
    share = float(tree.value[row]) / total if total else float("nan")
    return Node(
        str(row),
        label,
        float(tree.value[row]),
        _layer(tree, row),
        None if position < 0 else position,
        tree.kind(row),
        unresolved,
        details=(("share of the target", f"{share:.1%}"),) if np.isfinite(share) and row else (),
    )


def _layer(tree: PathTree, row: int) -> float:
    """Return the layer at which a node is drawn.

    −1 where paths begin, l for heads and l + 0.5 for the MLP of block l, the number of blocks for the target.
    """
    kind = tree.kind(row)
    if kind == "target":
        return sum(name.startswith("MLP") and "." not in name for name in tree.components)
    if kind in ("embed", "bias"):
        return -1
    numbered = re.match(r"(?:L|MLP)(\d+)", tree.components[int(tree.component[row])])
    layer = int(numbered.group(1)) if numbered else -1
    return layer + 0.5 if kind == "mlp" else layer
