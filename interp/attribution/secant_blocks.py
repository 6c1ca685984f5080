"""The secants of one block of a model between two runs."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interp.attribution.joint_norm import JointNormSecant, joint_norm_secant
from interp.attribution.secant_experts import ExpertSecants, expert_secants, mlp_secants
from interp.attribution.secants import NormSecant, SoftmaxSecant, chord, norm_secant, softmax_secant
from interp.model import Spec, trace as forward
from interp.model.arithmetic import apply_norm, softcap, visible
from interp.model.families.base import RawNorm
from interp.model.spec import Norm
from interp.model.weights import Weights


@dataclass(frozen=True)
class SecantBlock:
    """Secants of one block.

    Tensors of a batch of pairs have a leading pair axis.

    `query`, `key`, `value` and `pattern` are means of the two runs, queries and keys normed and rotated; those that
    begin with `delta` are differences, clean − counterfactual.
    `slope` turns a change of query · key into one of the score: the layer's scale and, with a softcap, the chord.
    Keys and values may begin before the queries: what both runs share is looked at, and does not differ.
    `gated` and `up` turn changes of what the activation is applied to, and of what it multiplies (None without a
    gate), into changes of the MLP's hidden units; with `experts`, of those of the experts that ran in the clean run.
    """

    ln1: NormSecant
    query: Float[Tensor, "*pair n_head n_token d_head"]
    key: Float[Tensor, "*pair n_kv_head key d_head"]
    value: Float[Tensor, "*pair n_kv_head key d_head"]
    delta_query: Float[Tensor, "*pair n_head n_token d_head"]
    delta_key: Float[Tensor, "*pair n_kv_head key d_head"]
    delta_value: Float[Tensor, "*pair n_kv_head key d_head"]
    query_norm: NormSecant | JointNormSecant | None
    key_norm: NormSecant | JointNormSecant | None
    delta_scores: Float[Tensor, "*pair n_head query key"]
    slope: Float[Tensor, "*pair n_head query key"]
    softmax: SoftmaxSecant
    pattern: Float[Tensor, "*pair n_head query key"]
    attn_post: NormSecant | None
    ln2: NormSecant
    up: Float[Tensor, "*pair n_token *n_used d_mlp"] | None
    gated: Float[Tensor, "*pair n_token *n_used d_mlp"]
    mlp_post: NormSecant | None
    experts: ExpertSecants | None = None

    @property
    def start(self) -> int:
        """How many positions lie before the first query."""
        return self.key.shape[-2] - self.query.shape[-2]

    def at(self, pair: int) -> SecantBlock:
        """Return one pair of a batch, as views."""
        return SecantBlock(**{field.name: _at(getattr(self, field.name), pair) for field in fields(self)})


def secant_block(weights: Weights, block: forward.BlockTrace, moved: Bool[Tensor, "pair n_token"]) -> SecantBlock:
    """Compute the secants of a block traced on a batch of runs.

    They are between each of its rows and the row of the next run. The first half are the clean inputs, the second the
    counterfactual; or the runs are points on the way, all pairs of one after the other. `moved`, a row for each secant,
    are the positions that a differing token can reach; at the others differences are set to zero, which they are but
    for rounding.
    """
    n = len(moved)
    return SecantBlock(**_norms(weights, block, n), **_attention(weights, block, moved), **_mlp(weights.spec, block, n))


def _norms(weights: Weights, block: forward.BlockTrace, n: int) -> dict[str, Any]:
    spec, raw = weights.spec, weights.raw(block.layer)
    w, x = weights.attention(block.layer, folded=False), block.resid_pre

    def secant(x: Tensor, norm: RawNorm, kind: Norm = spec.norm) -> NormSecant:
        return norm_secant(*runs(x, n), norm, kind, spec.norm_eps)

    norms: dict[str, Any] = dict.fromkeys(("query_norm", "key_norm", "attn_post", "mlp_post"))
    norms["ln1"] = secant(x, raw.ln1, spec.block_norm)
    norms["ln2"] = secant(x if spec.parallel else x + block.attention.write, raw.ln2, spec.block_norm)
    if raw.query_gain is not None and raw.key_gain is not None:
        query, key, _ = forward.project(w, apply_norm(x, block.attention.scale, raw.ln1))
        for name, projected, gain, weight in (
            ("query_norm", query, raw.query_gain, raw.W_Q),
            ("key_norm", key, raw.key_gain, raw.W_K),
        ):
            if spec.joint_query_key_norm:
                norms[name] = joint_norm_secant(*runs(projected, n), gain, weight, spec.norm_eps)
            else:
                norms[name] = norm_secant(*runs(projected, n), RawNorm(gain), "rms", spec.norm_eps)
    if raw.attn_post is not None and raw.mlp_post is not None:
        attended = torch.einsum("bhtd,hdm->btm", block.attention.z, w.W_O) + w.b_O
        norms["attn_post"] = secant(attended, raw.attn_post)
        norms["mlp_post"] = secant(_before_post(weights, block), raw.mlp_post)
    return norms


def _before_post(weights: Weights, block: forward.BlockTrace) -> Tensor:
    """Return what the MLP computes before its post-norm."""
    if block.mlp.routing is not None:
        return block.mlp.routing.write
    mlp = weights.mlp(block.layer, folded=False)
    return (block.mlp.pre * block.mlp.multiplier) @ mlp.W_out + mlp.b_out


def _attention(weights: Weights, block: forward.BlockTrace, moved: Tensor) -> dict[str, Any]:
    spec, attention, sinks = weights.spec, block.attention, weights.raw(block.layer).sinks
    parts, (n, n_token), n_key = {}, moved.shape, attention.key.shape[2]
    reached = torch.nn.functional.pad(moved, (n_key - n_token, 0))[:, None, :, None]
    for name, x in (("query", attention.query), ("key", attention.key), ("value", attention.value)):
        parts |= {name: mean(x, n), f"delta_{name}": change(x, n) * reached[:, :, -x.shape[2] :]}
    mask = visible(n_key, spec.windows[block.layer], moved.device)[n_key - n_token :]
    scale, cap = spec.attention_scale[block.layer], spec.attention_softcap
    slope = torch.full_like(change(attention.scores, n), scale)
    if cap is not None:
        products = attention.query @ attention.key.repeat_interleave(spec.kv_group, dim=1).mT * scale
        slope = slope * chord(lambda x: softcap(x, cap), *runs(products, n))
    return parts | {
        "slope": slope,
        "delta_scores": change(attention.scores, n) * moved[:, None, :, None],
        "softmax": softmax_secant(*runs(attention.scores.masked_fill(~mask, -torch.inf), n), sinks),
        "pattern": mean(attention.pattern, n),
    }


def _mlp(spec: Spec, block: forward.BlockTrace, n: int) -> dict[str, Any]:
    mlp = block.mlp
    if mlp.routing is not None:
        experts, up, gated = expert_secants(spec, mlp, n)
        return {"experts": experts, "up": up, "gated": gated}
    up, gated = mlp_secants(spec, runs(mlp.pre, n), None if mlp.gate is None else runs(mlp.gate, n))
    return {"up": up, "gated": gated}


def runs(x: Float[Tensor, "*runs"], n: int | None = None) -> tuple[Tensor, Tensor]:
    """Return the first and the last `n` rows of a batch.

    By default its halves, the clean and the counterfactual inputs.

    With points between the two, in order, they are the beginnings and the ends of segments.
    """
    n = len(x) // 2 if n is None else n
    return x[:n], x[-n:]


def mean(x: Float[Tensor, "*runs"], n: int | None = None) -> Float[Tensor, "*pairs"]:
    """Return the mean of the two runs."""
    first, second = runs(x, n)
    return (first + second) / 2


def change(x: Float[Tensor, "*runs"], n: int | None = None) -> Float[Tensor, "*pairs"]:
    """Return clean − counterfactual."""
    first, second = runs(x, n)
    return first - second


def _at(value: Any, pair: int) -> Any:
    if isinstance(value, NormSecant):
        return value.map(lambda x: x[pair])
    if isinstance(value, SoftmaxSecant):
        return value.map(lambda x: x[pair])
    if isinstance(value, ExpertSecants | JointNormSecant):
        return value.at(pair)
    return value if value is None else value[pair]
