"""One step of a path run for real: a component's write when its input changes."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interp.attribution import bilinear
from interp.attribution.components import Component
from interp.attribution.frozen import Frozen
from interp.attribution.paths import PathTree
from interp.attribution.results import DirectionTarget, LogitTarget, Target, Verification
from interp.attribution.targets import measure
from interp.model import trace
from interp.model.arithmetic import attention_pattern, distance_bias, softcap, visible
from interp.statistics import rank_correlation, rank_correlation_null

SHUFFLES = 2000
"""Permutations that say which rank correlation chance alone would reach."""

Delta = Float[Tensor, "n_token d_model"]


def at_position(field: Delta, position: int) -> Delta:
    """Return a change at one position only.

    For a whole component, at all positions.
    """
    if position < 0:
        return field
    alone = torch.zeros_like(field)
    alone[position] = field[position]
    return alone


def write_change(frozen: Frozen, component: Component, delta: Delta, branch: str = "qkv") -> Delta:
    """Return how a component's write changes when its input changes by `delta`.

    `branch` says through which of a head's query, key and value the change is read; the others stay.
    """
    weights, layer = frozen.model.weights, component.layer
    x = frozen.writes[: frozen.layout.visible(component)].sum(0)
    before_and_after = torch.stack([x, x + delta])
    if component.kind in ("mlp", "expert"):
        mlp = trace.run_mlp(weights, layer, before_and_after, folded=False)
        write = mlp.write if mlp.routing is None else mlp.routing.of_expert(component.expert)
        return write[1] - write[0]
    attention = trace.run_attention(weights, layer, before_and_after, folded=False)
    only_this = attention.z[:1].repeat(2, 1, 1, 1)
    only_this[1, component.head] = _values(frozen, attention, component, branch)
    write, _ = trace.attention_write(weights, layer, only_this)
    return write[1] - write[0]


def _values(
    frozen: Frozen, attention: trace.AttentionTrace, component: Component, branch: str
) -> Float[Tensor, "n_token d_head"]:
    """Return a head's values after the pattern.

    Computed from changed and unchanged queries, keys and values.
    """
    if branch == "qkv":
        return attention.z[1, component.head]
    spec, weights, group = frozen.model.spec, frozen.model.weights, component.head // frozen.model.spec.kv_group
    query = attention.query[int("q" in branch), component.head]
    key, value = attention.key[int("k" in branch), group], attention.value[int("v" in branch), group]
    scores = softcap(query @ key.T * spec.attention_scale[component.layer], spec.attention_softcap)
    bias = distance_bias(spec.alibi, len(key), 0, query)
    scores = scores + (bias[component.head] if isinstance(bias, Tensor) else bias)
    mask, sinks = visible(len(query), spec.windows[component.layer], query.device), weights.raw(component.layer).sinks
    sink = None if sinks is None else sinks[component.head, None]
    return attention_pattern(scores[None], mask, sink)[0] @ value


def measured(frozen: Frozen, target: Target, x: Float[Tensor, " d_model"]) -> float:
    """Compute the target from the residual stream, as the model does.

    The stream is that at the target's position.
    """
    if isinstance(target, DirectionTarget):
        return float(x @ torch.from_numpy(target.vector).to(x))
    if isinstance(target, LogitTarget):
        return float(measure(frozen.model, target, x))
    return bilinear.measure(frozen, target, x)


def compared(
    tree: PathTree, rows: list[int], predicted: np.ndarray, actual: np.ndarray, baseline: str, seed: int
) -> Verification:
    """Return predicted and actual changes, with the rank correlation of chance.

    It is what chance alone would reach.
    """
    null = rank_correlation_null(predicted, actual, seed=seed, draws=SHUFFLES)
    return Verification(
        target=tree.target,
        unit=tree.unit,
        paths=tuple(" <- ".join(tree.chain(row)) for row in rows),
        array=tree.value[rows],
        predicted=predicted,
        actual=actual,
        baseline=baseline,
        correlation=rank_correlation(predicted, actual),
        by_chance=float(np.quantile(np.abs(null), 0.95)),
    )
