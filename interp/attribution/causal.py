"""Verification: each listed path is cut for real and compared with its value.

Frozen attribution alone is bookkeeping.

To cut a path, what its first component wrote is replaced by a baseline in the input of its second, and in that input
alone (path patching, arXiv 2304.05969). The second component then runs as it really would, with its norm, its
attention pattern and its gates free to change; the change in its output goes to the third alone, and so on to the
target, where the final norm and softcap are free too. Had nothing but the linear part moved, the change would be the
path's covector times (baseline − write): that is the prediction.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.attribution.causal_contrast import cut_both_ways
from interp.attribution.components import Component, Layout
from interp.attribution.edited_run import refuse_edits
from interp.attribution.frozen import Frozen, freeze
from interp.attribution.linearised import start_of
from interp.attribution.one_path import at_position, compared, measured, write_change
from interp.attribution.paths import PathTree
from interp.attribution.results import Verification
from interp.errors import UsageError, require, whole
from interp.model import Model


@torch.no_grad()
def verify(
    model: Model,
    tree: PathTree,
    k: int = 20,
    *,
    baseline: Literal["mean", "zero"] | Int[Tensor, "1 n_token"] = "mean",
    frozen: Frozen | None = None,
    seed: int = 0,
) -> Verification:
    """Cut the tree's k largest paths and compare real with predicted changes.

    Each is cut at its first component.

    Args:
        model: the model the tree was grown on.
        tree: the path tree, of a frozen input or of a contrast.
        k: how many paths. Those that begin at a bias, or at a write that the baseline does not change, are passed over.
        baseline: what replaces a write: its mean over the prompt's positions, nothing at all, or what the component
            writes at the same position of another prompt (token ids) of the same length. A contrast's paths are cut
            by its counterfactual, whatever the baseline: in the clean run the path alone is corrupted, in the
            counterfactual run it alone is restored, and the mean of both is the actual change.
        frozen: the frozen input the tree was grown on, if still at hand; it is made again otherwise.
        seed: for the shuffles that say which rank correlation chance alone would reach.

    Returns:
        Predicted and actual change of every path cut, and their rank correlation.

    Raises:
        UsageError: a tree of another model or prompt, a baseline prompt of another length, or no path to cut.

    >>> tree = attribution.path_tree(attribution.freeze(model, tokens), attribution.logit(model, " Paris"))
    >>> check = verify(model, tree, k=5)
    >>> check.predicted.round(3)
    array([-0.454, -0.263, -0.192,  0.258, -0.211])
    """
    require(model, Model, "model")
    require(tree, PathTree, "tree")
    require(frozen, (Frozen, type(None)), "frozen")
    k, seed = whole(k, "k", 1), whole(seed, "seed", 0)
    refuse_edits(model, "Cutting paths")
    if tree.of_contrast:
        return cut_both_ways(model, tree, k, baseline, seed)
    if Layout(model.spec).names != tree.components:
        raise UsageError("The path tree was grown on another model: its components are not this model's.")
    frozen = freeze(model, torch.from_numpy(tree.token_ids)[None]) if frozen is None else frozen
    if not np.array_equal(frozen.tokens.cpu().numpy(), tree.token_ids):
        raise UsageError("The frozen input is not the prompt the path tree was grown on.")
    change = _replacement(model, frozen, baseline)
    rows = [row for row in tree.largest(len(tree.value)).tolist() if _can_be_cut(frozen, tree, row, change)][:k]
    if not rows:
        raise UsageError("The tree holds no complete path that begins where the baseline differs: expand it further.")
    values, predicted = np.array([_carried(frozen, tree, row, (frozen.writes, change)) for row in rows]).T
    _check_values(frozen, tree, rows, values)
    actual = np.array([_actual(frozen, tree, row, change) for row in rows])
    return compared(tree, rows, predicted, actual, baseline if isinstance(baseline, str) else "another prompt", seed)


def _check_values(frozen: Frozen, tree: PathTree, rows: list[int], values: np.ndarray) -> None:
    """Check that the tree is of this model, given the values that its paths have there."""
    if not np.abs(values - tree.value[rows]).max() <= frozen.tolerance * tree.mass:
        raise UsageError("The path tree was grown on another model: its paths have other values here.")


def _replacement(model: Model, frozen: Frozen, baseline: str | Tensor) -> Float[Tensor, "n_component n_token d_model"]:
    """Return baseline minus write, for every component and position."""
    if isinstance(baseline, Tensor):
        other = freeze(model, baseline)
        if other.n_token != frozen.n_token:
            raise UsageError(
                f"The baseline prompt has {other.n_token} tokens, the explained one {frozen.n_token}: give one as long."
            )
        return other.writes - frozen.writes
    if baseline == "mean":
        return frozen.writes.mean(1, keepdim=True) - frozen.writes
    if baseline == "zero":
        return -frozen.writes
    raise UsageError(f'The baseline must be "mean", "zero" or token ids, not "{baseline}".')


def _can_be_cut(frozen: Frozen, tree: PathTree, row: int, change: Tensor) -> bool:
    component, position = int(tree.component[row]), int(tree.position[row])
    if component < 0 or frozen.layout.components[component].kind not in ("embed", "pos_embed"):
        return False
    return bool((change[component] if position < 0 else change[component, position]).any())


def _steps(frozen: Frozen, tree: PathTree, row: int) -> list[tuple[Component, int]]:
    """Return the components and positions of a path, nearest the target first."""
    rows = reversed(tree.rows_above(row))
    return [(frozen.layout.components[int(tree.component[at])], int(tree.position[at])) for at in rows]


def _carried(frozen: Frozen, tree: PathTree, row: int, writes: tuple[Tensor, ...]) -> list[float]:
    """Return a path's covector times each tensor of what its first component writes.

    Of the component's own writes that is the path's value, of a change of them how the value would change.
    """
    pull, covectors = frozen.pull, start_of(frozen, frozen.linear(tree.definition))
    for component, position in _steps(frozen, tree, row)[:-1]:
        here = at_position(covectors, position)
        covectors, _ = pull.component(component, here)
    first, here = int(tree.component[row]), at_position(covectors, int(tree.position[row]))
    return [float((here * each[first]).sum()) for each in writes]


def _actual(frozen: Frozen, tree: PathTree, row: int, change: Tensor) -> float:
    """Return the target's change when the path's first write is replaced.

    It is replaced in its reader, and every step runs for real.
    """
    *readers, (_, position) = _steps(frozen, tree, row)
    delta = at_position(change[int(tree.component[row])], position)
    for component, at in reversed(readers):
        delta = at_position(write_change(frozen, component, delta), at)
    place = frozen.position(tree.definition.position)
    linear = frozen.linear(tree.definition)
    x = frozen.writes[: linear.visible, place].sum(0)
    return measured(frozen, tree.definition, x + delta[place]) - measured(frozen, tree.definition, x)
