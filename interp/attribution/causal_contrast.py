"""Verification of a contrast's paths, corrupted in one run and restored in the other.

The path's first component writes what it does in the other run, for the second to read alone; each step then runs for
real, a head through the branch that the path names and no other, and so on to the target. The secant map lies between
the two runs, and so the mean of the two effects is compared with it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from interp.attribution.components import Component
from interp.attribution.contrast import Contrast, contrast
from interp.attribution.expand_contrast import BranchTable
from interp.attribution.frozen import Frozen
from interp.attribution.one_path import at_position, compared, measured, write_change
from interp.attribution.paths import PathTree
from interp.attribution.results import ScoreTarget, Verification
from interp.errors import UsageError
from interp.model import Model

Step = tuple[Component, str, int]
"""A component, the branches of a head that a change is read through, and a position."""


def cut_both_ways(model: Model, tree: PathTree, k: int, baseline: Any, seed: int) -> Verification:
    """Cut the k largest paths of a contrast's tree.

    For arguments and errors see `verify`.
    """
    pair = contrast(model, torch.from_numpy(tree.token_ids[:1]), torch.from_numpy(tree.token_ids[1:]))
    _check(pair, tree, baseline)
    begins = [row for row in tree.largest(len(tree.value)).tolist() if tree.component[row] < pair.layout.n_embed]
    if not begins:
        raise UsageError("The tree holds no complete path: expand it further.")
    rows, clean, counterfactual = begins[:k], *pair.ends
    change = counterfactual.writes - clean.writes
    corrupted = [_effect(clean, tree, row, change) for row in rows]
    restored = [_effect(counterfactual, tree, row, -change) for row in rows]
    actual = (np.array(corrupted) - np.array(restored)) / 2
    return compared(tree, rows, -tree.value[rows], actual, "the counterfactual, both ways", seed)


def _check(pair: Contrast, tree: PathTree, baseline: Any) -> None:
    if not (isinstance(baseline, str) and baseline == "mean"):
        raise UsageError("A contrast's paths are cut by its own counterfactual: leave out baseline.")
    if isinstance(tree.definition, ScoreTarget):
        raise UsageError("The paths of a contrast's score cannot be cut: its sides hold the mean of the two runs.")
    if BranchTable(pair).names != tree.components:
        raise UsageError("The path tree was grown on another model: its components are not this model's.")
    value = pair.linear(tree.definition).value
    if not abs(value - tree.value[0]) <= pair.tolerance * tree.mass:
        raise UsageError("The path tree was grown on another model: its target has another value here.")


def _effect(frozen: Frozen, tree: PathTree, row: int, change: torch.Tensor) -> float:
    """Return the target's change in one run with the other's first write."""
    *readers, (_, _, position) = _steps(frozen, tree, row)
    delta = at_position(change[int(tree.component[row])], position)
    for component, branch, at in reversed(readers):
        delta = at_position(write_change(frozen, component, delta, branch), at)
    place, visible = frozen.position(tree.definition.position), frozen.linear(tree.definition).visible
    x = frozen.writes[:visible, place].sum(0)
    return measured(frozen, tree.definition, x + delta[place]) - measured(frozen, tree.definition, x)


def _steps(frozen: Frozen, tree: PathTree, row: int) -> list[Step]:
    """Return the steps of a path, nearest the target first.

    A head and the branch below it are one.
    """
    steps: list[Step] = []
    by_name = dict(zip(frozen.layout.names, frozen.layout.components, strict=True))
    for at in reversed(tree.rows_above(row)):
        name, _, branch = tree.components[int(tree.component[at])].partition(".")
        if tree.is_branch(at):
            steps.pop()
        steps.append((by_name[name], branch if tree.is_branch(at) else "qkv", int(tree.position[at])))
    return steps
