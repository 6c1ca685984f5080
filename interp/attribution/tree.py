"""Path tree: a profiler for a target, grown best-first towards the embeddings.

A node is a component at a position, and stands for every path that ends with it on the way to the target: its value is
its write times the covector carried back to it along its chain. Expanding a node pulls that covector through the
component and meets everything that wrote what it read: one child for every (component, position), and one for its own
bias. Their values sum to the node's. The largest children become nodes; the sum of the others is stored with them
as an exact remainder.
"""

from __future__ import annotations

import torch

from interp.arguments import checked
from interp.attribution.bounds import path_bounds
from interp.attribution.certificate import Certificate
from interp.attribution.frozen import Frozen
from interp.attribution.growth import Growing
from interp.attribution.linearised import Linearised, NodeKind, check_linearised
from interp.attribution.paths import PathTree
from interp.attribution.results import Target
from interp.errors import UsageError
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

    Strictly best-first: the node expanded next is always the largest, by absolute value, of those whose parents are
    expanded. These are the nodes of the largest bottlenecks, and are expanded in a few sweeps from the last layer to
    the first (`interp.attribution.growth`), many at once.

    With `top=k`, go on by branch and bound (Land & Doig 1960) until the k largest complete paths are certain to
    be the k largest there are, or `max_expansions` is reached: expand the nodes below which a larger path than the
    k-th one is still possible. No path below a node is larger than the root of the sum of squares of all paths below
    it, which `interp.attribution.bounds` computes exactly. `PathTree.certified` says for how many paths it was enough.

    Memory: for each expanded node one vector (d_model numbers; n_token · d_model for whole components) and a factor for
    each position that it reads, and for nodes expanded together about 0.2 GB. Children that are not expanded remain as
    nodes down to half of the smallest value on the way to an expanded node, and of those that end a path the
    `max_expansions` largest; all smaller ones go into their parent's remainder.

    Args:
        linearised: a frozen input, or the contrast of one pair, whose heads split into query, key and value.
        target: what is attributed.
        max_expansions: how many nodes to expand, the target not counted; 500 by default, 20,000 with `top`.
        top: how many of the largest complete paths to certify; needs nodes at positions.
        nodes: "position": a node is a component at one position. "component": at all positions at once, which gives
            shorter lists and costs n_token times as much to take back through an MLP.
        min_value: do not expand nodes whose absolute value is below this, in the target's unit.
        min_share: nor below this share of the target's absolute value.
        batch_size: largest number of nodes expanded at a time; bounds memory and does not change what is expanded.
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
            progress(min(growing.done, max_expansions), max_expansions, "expanding paths")

    growing.grow(max(min_value, min_share * abs(linear.value)), batch_size, report)
    if not top:
        return growing.finish(target, nodes)
    if not isinstance(linearised, Frozen):
        raise UsageError(
            "Only the largest paths of a frozen input without dictionaries can be certified: leave out top."
        )
    certificate = Certificate(growing, path_bounds(linearised, max_gigabytes), top, max_expansions)
    certificate.grow(batch_size, report)
    return growing.finish(target, nodes, certificate.unlisted())


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
