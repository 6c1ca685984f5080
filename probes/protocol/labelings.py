"""Random labels for the same rows.

They are shuffled between and within groups (null), or drawn one per entity (control task).
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int

from probes import batched
from probes.estimators.capabilities import capability
from probes.protocol.model_selection import extras
from probes.protocol.splits import Groups
from probes.statements import Statements


def shuffled(labels: Int[np.ndarray, " n"], groups: Groups, *, n: int, seed: int) -> Int[np.ndarray, "draw n"]:
    """Return `n` shuffles of the labels that preserve the group structure.

    Groups (all rows about the same entities) of equal size exchange their labels as a whole; then the labels within
    each group are permuted. Every draw has the same number of true rows and the same similarity of labels within
    groups. A group with a unique size keeps its share of true rows: with many such groups the draws are not chance.

    Args:
        labels: (n,) labels.
        groups: the entities of each row.
        n: number of draws.
        seed: seed of the shuffles.

    Example:
        >>> shuffled(np.array([0, 1, 1, 0]), [("a",), ("a",), ("b",), ("b",)], n=3, seed=0).sum(1).tolist()
        [2, 2, 2]
    """
    rng = np.random.default_rng(seed)
    drawn = np.tile(labels, (n, 1))
    sizes: dict[int, list[np.ndarray]] = defaultdict(list)
    for rows in rows_by_group(groups).values():
        sizes[len(rows)].append(rows)
    for blocks in sizes.values():
        index = np.stack(blocks)  # (group, size)
        order = rng.permuted(np.tile(np.arange(len(index)), (n, 1)), axis=1)
        drawn[:, index] = rng.permuted(labels[index][order], axis=2)
    return drawn


def per_group(groups: Groups, *, n: int, seed: int) -> Int[np.ndarray, "draw n"]:
    """Return `n` control tasks, each with one random label per group.

    Half of the groups have label 1 (Hewitt and Liang, arXiv 1909.03368).

    >>> per_group([("a",), ("a",), ("b",), ("b",)], n=2, seed=0).sum(1).tolist()
    [2, 2]
    """
    rng = np.random.default_rng(seed)
    by_group = rows_by_group(groups)
    drawn = np.zeros((n, len(groups)), np.int8)
    for draw in drawn:
        values = rng.permutation(np.arange(len(by_group)) % 2)
        for rows, value in zip(by_group.values(), values, strict=True):
            draw[rows] = value
    return drawn


def rows_by_group(groups: Groups) -> dict[tuple[str, ...], Int[np.ndarray, " m"]]:
    """Return the row indices of each set of entities.

    The order in which a row names its entities does not matter.

    >>> {group: rows.tolist() for group, rows in rows_by_group([("a", "b"), ("c",), ("b", "a")]).items()}
    {('a', 'b'): [0, 2], ('c',): [1]}
    """
    by_group: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for i, row in enumerate(groups):
        by_group[tuple(sorted(set(row)))].append(i)
    return {group: np.array(rows) for group, rows in by_group.items()}


def scores_by_labels(
    probe: Any,
    X: Float[np.ndarray, "n d"],
    labels: Int[np.ndarray, "draw n"],
    X_test: Float[np.ndarray, "m d"],
    data: Statements,
) -> Float[np.ndarray, "draw m"]:
    """Return the scores of `X_test` after fits on `X` with each labeling.

    A probe with `fit_labelings` fits all of them jointly, with the same solutions as one by one.

    Args:
        probe: an unfitted probe.
        X: (n, d) train activations.
        labels: (draw, n) labelings.
        X_test: (m, d) test activations.
        data: the statements of the rows of `X`.
    """
    rows = torch.from_numpy(np.ascontiguousarray(X))
    fit_labelings = capability(probe, "fit_labelings")
    linear = None if fit_labelings is None else fit_labelings(rows, torch.from_numpy(labels))
    if linear is not None:
        return linear.directions.numpy() @ X_test.T.astype(float) + linear.biases.numpy()[:, None]
    fitted = (batched.fit_layers(probe, rows[None], row, **extras(data))[0] for row in labels)
    return np.stack([batched.scores_of(one, X_test) for one in fitted])
