"""Targets of a contrast: changes of a logit, a direction or a score, made linear.

Final norm and softcap are secants too, so that the covector times the difference of the streams is the difference of
the target, whatever moved it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.attribution.bilinear import Side, written
from interp.attribution.joint_norm import JointNormSecant
from interp.attribution.linearised import Linear
from interp.attribution.results import DirectionTarget, LogitTarget, ScoreTarget, Target
from interp.attribution.secant_pull import through, through_scale
from interp.attribution.secants import NormSecant, chord
from interp.attribution.targets import check_target, visible_to
from interp.errors import UsageError
from interp.model import Model
from interp.model.arithmetic import norm_scale, rotate, softcap

if TYPE_CHECKING:
    from interp.attribution.contrast import Contrast

ROUNDINGS = 100
"""By how many roundings of the two runs' values a sum of contributions may miss their difference, however small."""


def linear_of(contrast: Contrast, target: Target | Sequence[Target]) -> Linear:
    """Return the linear form of a target, or of a batch's mean.

    For the pairs of a batch, one target for all or one for each.
    """
    if contrast.tokens.ndim == 2:
        if isinstance(target, Sequence):
            raise UsageError(f"This contrast is one pair: give one target, not {len(target)}.")
        return _of_pair(contrast, target)
    targets = list(target) if isinstance(target, Sequence) else [target] * len(contrast)
    if len(targets) != len(contrast):
        raise UsageError(
            f"There are {len(targets)} targets for {len(contrast)} pairs: give one for each, or one for all."
        )
    parts = [_of_pair(contrast[i], each) for i, each in enumerate(targets)]
    first = parts[0]
    if len({(each.position, each.visible, each.unit) for each in parts}) > 1:
        raise UsageError("The targets of a batch must be read at one position and layer, in one unit.")
    return Linear(
        name=first.name if len({each.name for each in parts}) == 1 else f"mean of {len(parts)} targets",
        unit=first.unit,
        position=first.position,
        visible=first.visible,
        covector=torch.stack([each.covector for each in parts]) / len(parts),
        constant=0.0,
        value=sum(each.value for each in parts) / len(parts),
        scale=max(each.scale for each in parts),
    )


def _of_pair(contrast: Contrast, target: Target) -> Linear:
    check_target(target)
    position = contrast.position(target.position)
    if isinstance(target, LogitTarget):
        visible = len(contrast.layout.components)
        covector, value, size = _logits(contrast, target, position)
    elif isinstance(target, DirectionTarget):
        visible = visible_to(contrast.layout, target)
        covector, value, size = _direction(contrast, target, position)
    else:
        visible = contrast.layout.start(target.layer)
        covector, value, size = _score(contrast, target, position)
    scale = ROUNDINGS * torch.finfo(covector.dtype).eps / contrast.tolerance * size
    name = f"{target.name}, clean − counterfactual"
    return Linear(name, target.unit, position, visible, covector, 0.0, value, scale)


Resolved = tuple[Float[Tensor, " d_model"], float, float]
"""A target's covector, its change, and the size of the numbers whose difference the change is."""


def _logits(contrast: Contrast, target: LogitTarget, position: int) -> Resolved:
    """Return covector, change and size of a target of logits.

    The final norm's secant of Σ weight · chord · W_U[:, token], the chord being that of the softcap.
    """
    tokens = torch.tensor(target.tokens, device=contrast.tokens.device)
    logits = contrast.logits_at(position)
    theirs = logits[:, tokens]
    weights = torch.tensor(target.weights, dtype=theirs.dtype, device=theirs.device)
    x, final = contrast.residual[:, position], contrast.final.map(lambda x: x[position])
    covector = logit_covector(contrast.model, final, x, tokens, weights)
    return covector, float(weights @ (theirs[0] - theirs[1])), float(logits.abs().max())


def logits_before_cap(
    model: Model, x: Float[Tensor, "run d_model"], tokens: Int[Tensor, " n"]
) -> Float[Tensor, "run n"]:
    """Return logits of some tokens from the last streams, without a softcap."""
    columns, bias = model.weights.unembed(tokens)
    return x / norm_scale(x, model.spec.norm, model.spec.norm_eps) @ columns + bias


def logit_covector(
    model: Model,
    final: NormSecant,
    x: Float[Tensor, "run d_model"],
    tokens: Int[Tensor, " n"],
    weights: Float[Tensor, " n"],
) -> Float[Tensor, " d_model"]:
    """Return the covector of Σ weight · Δlogit on the streams' difference.

    `x` are the streams, whose norm has the secant `final`.
    """
    cap = model.spec.logit_softcap
    if cap is not None:
        raw = logits_before_cap(model, x, tokens)
        weights = weights * chord(lambda x: softcap(x, cap), raw[0], raw[1])
    W_U, _ = model.weights.unfolded_unembedding
    return final.pull(W_U[:, tokens] @ weights)


def _direction(contrast: Contrast, target: DirectionTarget, position: int) -> Resolved:
    """Return the direction and its change between the model's own streams."""
    clean, counterfactual = contrast.values(f"blocks.{target.layer}.hook_{target.stage}")[:, position]
    covector = torch.from_numpy(target.vector).to(contrast.writes)
    return covector, float((clean - counterfactual) @ covector), float(clean.abs() @ covector.abs())


def score_pairs(
    contrast: Contrast, layer: int, head: int, query: int, key: int
) -> tuple[Float[Tensor, "n_writer n_writer"], float, float]:
    """Return the parts of a score's change for each pair of writers.

    (each pair's part, the change, the least scale of its error); biases last, in float64.
    """
    block = contrast.blocks[layer]
    sides: list[tuple[Tensor, Tensor]] = []
    places: tuple[tuple[Side, int], ...] = (("query", query), ("key", key))
    for side, position in places:
        change = changes(contrast, layer, head, position, side)
        first, second = (written(end, layer, head, position, side) for end in contrast.ends)
        sides.append((change, (first + second) / 2))
    (d_query, query_mean), (d_key, key_mean) = sides
    slope = block.slope[head, query, key].double()
    pairs = slope * (d_query @ key_mean.T + query_mean @ d_key.T)
    size = float(slope * (query_mean.sum(0).abs() @ key_mean.sum(0).abs()))
    scale = ROUNDINGS * torch.finfo(contrast.writes.dtype).eps / contrast.tolerance * size
    return pairs, float(block.delta_scores[head, query, key]), scale


def changes(contrast: Contrast, layer: int, head: int, position: int, side: Side) -> Float[Tensor, "n_writer d_head"]:
    """Return how much of a query's or key's change each component brings.

    By the secants of its norms; none of it the bias.
    """
    raw, block, spec = contrast.model.weights.raw(layer), contrast.blocks[layer], contrast.model.spec
    if side == "query":
        weight, norm, index = raw.W_Q, block.query_norm, head
    else:
        weight, norm, index = raw.W_K, block.key_norm, head // spec.kv_group
    writes = contrast.writes[: contrast.layout.start(layer), position]
    stream = block.ln1.map(lambda x: x[position]).push(writes)
    rows = stream @ weight[index].detach()
    if isinstance(norm, JointNormSecant):
        rows = replace(norm.map(lambda x: x[index, position]), slope=norm.slope[position]).push(rows, stream)
    elif norm is not None:
        rows = norm.map(lambda x: x[index, position]).push(rows)
    rows = rotate(rows, spec.rotaries[layer], position, contrast.n_token)
    return torch.cat([rows, rows.new_zeros(1, rows.shape[1])]).double()


def _score(contrast: Contrast, target: ScoreTarget, position: int) -> Resolved:
    """Return what a score changes through its query, or its key.

    slope · Δq · k̄, or slope · q̄ · Δk; both sum to the change.
    """
    block, raw, spec = contrast.blocks[target.layer], contrast.model.weights.raw(target.layer), contrast.model.spec
    head, group = target.head, target.head // spec.kv_group
    if target.side == "query":
        slope, own, other = block.slope[head, position, target.other], block.query, block.key[group, target.other]
        delta, norm, weight, index = block.delta_query, block.query_norm, raw.W_Q, head
    else:
        slope, own, other = block.slope[head, target.other, position], block.key, block.query[head, target.other]
        delta, norm, weight, index = block.delta_key, block.key_norm, raw.W_K, group
    covector = rotate(slope * other, spec.rotaries[target.layer], -position, contrast.n_token)
    back = weight[index].detach() @ through(norm, covector, (index, position))
    back = back + through_scale(norm, covector, (index, position), position)
    back = block.ln1.map(lambda x: x[position]).pull(back)
    change, size = slope * (delta[index, position] @ other), slope * (own[index, position].abs() @ other.abs())
    return back, float(change), float(size)
