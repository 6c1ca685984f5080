"""Other labels for the same rows: shuffled between and within groups (the null), or one an entity (control task)."""

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
    """Return `n` shufflings that keep the group structure and nothing that groups or rows say of truth.

    Groups (all rows about the same entities) of one size exchange their labels as a whole; then the labels within each
    group change places. Every draw keeps the number of true rows, and the labels within a group as alike as they were.
    A group whose size no other has keeps its own share of true rows: where many are such, the draws are not chance.
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
    """`n` control tasks: one random label for every group, half of them 1 (Hewitt and Liang, arXiv 1909.03368)."""
    rng = np.random.default_rng(seed)
    by_group = rows_by_group(groups)
    drawn = np.zeros((n, len(groups)), np.int8)
    for draw in drawn:
        values = rng.permutation(np.arange(len(by_group)) % 2)
        for rows, value in zip(by_group.values(), values, strict=True):
            draw[rows] = value
    return drawn


def rows_by_group(groups: Groups) -> dict[tuple[str, ...], Int[np.ndarray, " m"]]:
    """The rows about each set of entities, whatever their order."""
    found: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for i, row in enumerate(groups):
        found[tuple(sorted(set(row)))].append(i)
    return {group: np.array(rows) for group, rows in found.items()}


def scores_by_labels(
    probe: Any,
    X: Float[np.ndarray, "n d"],
    labels: Int[np.ndarray, "draw n"],
    X_test: Float[np.ndarray, "m d"],
    data: Statements,
) -> Float[np.ndarray, "draw m"]:
    """What the probe says of `X_test` after it was fitted on `X` with each of the labelings; `data` are X's rows.

    A probe that offers `fit_labelings` fits all of them together, with the same solutions as one by one.
    """
    rows = torch.from_numpy(np.ascontiguousarray(X))
    together = capability(probe, "fit_labelings")
    linear = None if together is None else together(rows, torch.from_numpy(labels))
    if linear is not None:
        return linear.directions.numpy() @ X_test.T.astype(float) + linear.biases.numpy()[:, None]
    fitted = (batched.fit_layers(probe, rows[None], row, **extras(data))[0] for row in labels)
    return np.stack([batched.scores_of(one, X_test) for one in fitted])
