"""Other labels for the same rows: shuffled within the groups (the null) or one for each entity (the control task)."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from sklearn.base import clone

from probes import batched
from probes.protocol.splits import Groups
from probes.statements import Statements


def shuffled(labels: Int[np.ndarray, " n"], groups: Groups, *, n: int, seed: int) -> Int[np.ndarray, "draw n"]:
    """`n` shufflings that keep the group structure.

    Within a group (all rows about the same entities) that holds both labels, its labels change places; groups of one
    label swap it whole with other such groups of their size. Every draw keeps the number of true rows, and the labels
    within a group as alike as they were.
    """
    rng = np.random.default_rng(seed)
    drawn = np.tile(labels, (n, 1))
    pure: dict[int, list[np.ndarray]] = defaultdict(list)
    for rows in rows_by_group(groups).values():
        if len(set(labels[rows].tolist())) > 1:
            drawn[:, rows] = rng.permuted(drawn[:, rows], axis=1)
        else:
            pure[len(rows)].append(rows)
    for blocks in pure.values():
        index = np.stack(blocks)  # (block, size), each of one label
        swapped = rng.permuted(np.tile(labels[index[:, 0]], (n, 1)), axis=1)
        drawn[:, index] = swapped[:, :, None]
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

    Logistic regression and mass-mean fit all labelings in one product, with the same solutions as one by one.
    """
    kind = type(probe).__name__
    if kind == "LogisticRegression":
        return _logistic(probe.C, X, labels, X_test)
    if kind == "MassMean" and probe.covariance == "none":
        share = labels / labels.sum(1, keepdims=True), (1 - labels) / (1 - labels).sum(1, keepdims=True)
        true, false = (s @ X.astype(float) for s in share)
        direction = true - false
        return direction @ X_test.T - ((true + false) * direction).sum(1, keepdims=True) / 2
    from probes.protocol.choosing import extras

    stack = torch.from_numpy(np.ascontiguousarray(X))[None]
    fresh: Any = clone(probe)
    fitted = (batched.fit_layers(fresh, stack, row, **extras(data))[0] for row in labels)
    return np.stack([one.decision_function(X_test) for one in fitted])


def _logistic(strength: float, X: np.ndarray, labels: np.ndarray, X_test: np.ndarray) -> np.ndarray:
    """Every row twice, once as true and once as false: a labeling is then a set of row weights of one path."""
    twice = torch.from_numpy(np.concatenate([X, X]))[None]
    both = torch.from_numpy(np.repeat([1, 0], len(X)))
    weights = torch.from_numpy(np.concatenate([labels, 1 - labels], axis=1))
    path = batched.logistic_path(twice, both, [strength], weights)
    directions, biases = path.directions[:, 0, 0].numpy(), path.biases[:, 0, 0].numpy()
    return directions @ X_test.T.astype(float) + biases[:, None]
