"""The forward pass written out from `Weights`, with the intermediate values of every component.

For one block, with x the residual entering it and s the norm scales:

    q, k, v      = x W_Q / s₁ + b_Q, …                    (normalised again with query/key norms; q, k rotated)
    pattern      = softmax(softcap(scale · q kᵀ) + bias of distance + mask)
    attention    = (Σ_heads pattern v W_O + b_O) · g_attn / s_attn      (g and s are 1 without post-norms)
    y            = x + attention                          (x itself in a parallel block)
    pre          = y W_in / s₂ + b_in
    mlp          = ((pre · multiplier) W_out + b_out) · g_mlp / s_mlp
    multiplier   = g(gate)·gate with a gate, g(pre) without       (act(z) = z·g(z))

so that, pattern, multiplier and every s fixed, the block is linear in x; for experts instead of one MLP see `experts`.
With `folded=False` a norm's gain and bias are applied to x instead of being folded into the weights: the same numbers,
without copying a single matrix.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.model.arithmetic import (
    activate,
    apply_norm,
    attention_pattern,
    distance_bias,
    gate,
    heads_scale,
    limited,
    norm_scale,
    rotate,
    softcap,
    visible,
)
from interp.model.experts import Routing, route, rows_of
from interp.model.spec import Spec
from interp.model.weights import Attention, Mlp, Weights

KeysValues: TypeAlias = tuple[
    Float[Tensor, "batch n_kv_head n_token d_head"], Float[Tensor, "batch n_kv_head n_token d_head"]
]
"""Keys (rotated) and values of some positions."""


@dataclass(frozen=True)
class AttentionTrace:
    """The attention of one layer at one input.

    `z` are the values of the heads after the pattern, `write` what is added to the residual stream.

    `key` (rotated) and `value` are those of every position, the given beginning included: what a run on later positions
    needs of these; `query` is rotated too. `query_scale` and `key_scale` are those of query/key norms, None without;
    `write_scale` that of the post-norm.
    """

    scale: Float[Tensor, "batch n_token 1"]
    query_scale: Float[Tensor, "batch n_head n_token 1"] | None
    key_scale: Float[Tensor, "batch n_kv_head n_token 1"] | None
    query: Float[Tensor, "batch n_head n_token d_head"]
    key: Float[Tensor, "batch n_kv_head n_key d_head"]
    value: Float[Tensor, "batch n_kv_head n_key d_head"]
    scores: Float[Tensor, "batch n_head query key"]
    pattern: Float[Tensor, "batch n_head query key"]
    z: Float[Tensor, "batch n_head n_token d_head"]
    write_scale: Float[Tensor, "batch n_token 1"] | None
    write: Float[Tensor, "batch n_token d_model"]


@dataclass(frozen=True)
class MlpTrace:
    """Values computed by the MLP of one layer.

    Its hidden units are `pre` · `multiplier`.

    `gate` is what the activation is applied to where it is not `pre`, None without a gate. Of a mixture of experts
    these have an axis more, for the experts chosen at a position, which `routing` names.
    """

    scale: Float[Tensor, "batch n_token 1"]
    pre: Float[Tensor, "batch n_token *n_used d_mlp"]
    gate: Float[Tensor, "batch n_token *n_used d_mlp"] | None
    multiplier: Float[Tensor, "batch n_token *n_used d_mlp"]
    write_scale: Float[Tensor, "batch n_token 1"] | None
    write: Float[Tensor, "batch n_token d_model"]
    routing: Routing | None = None


@dataclass(frozen=True)
class BlockTrace:
    """Values of one block at one input.

    The stream before it, its two components, the stream after it.
    """

    layer: int
    resid_pre: Float[Tensor, "batch n_token d_model"]
    attention: AttentionTrace
    mlp: MlpTrace
    resid_post: Float[Tensor, "batch n_token d_model"]


def embed(weights: Weights, tokens: Int[Tensor, "batch n_token"]) -> Float[Tensor, "batch n_token d_model"]:
    """Return the residual stream before the first block.

    It is the token embedding and, where there is one, the position embedding.
    """
    x = weights.embed(tokens)
    return x if weights.W_pos is None else x + weights.W_pos[: tokens.shape[1]]


@torch.no_grad()
def blocks(weights: Weights, tokens: Int[Tensor, "batch n_token"], folded: bool = True) -> Iterator[BlockTrace]:
    """Yield one block after the other, computed when asked for."""
    x = embed(weights, tokens)
    for layer in range(weights.spec.n_layer):
        block = run_block(weights, layer, x, folded)
        yield block
        x = block.resid_post


@torch.no_grad()
def run_block(
    weights: Weights,
    layer: int,
    x: Float[Tensor, "batch n_token d_model"],
    folded: bool = True,
    past: KeysValues | None = None,
) -> BlockTrace:
    """Run one block on a residual stream of any origin.

    Args:
        weights: of the model.
        layer: the block.
        x: the stream before it, at the last n_token positions.
        folded: whether norms are folded into the weights.
        past: keys (rotated) and values of the positions before those, of one row for all or of each; None if `x` begins
            at position 0. No position depends on those behind it, so a run that changes only the end of a text can
            start there.
    """
    attention = run_attention(weights, layer, x, folded, past)
    middle = x if weights.spec.parallel else x + attention.write
    mlp = run_mlp(weights, layer, middle, folded)
    return BlockTrace(layer, x, attention, mlp, x + attention.write + mlp.write)


@torch.no_grad()
def unembed(
    weights: Weights, x: Float[Tensor, "batch n_token d_model"], folded: bool = True
) -> tuple[Float[Tensor, "batch n_token d_vocab"], Float[Tensor, "batch n_token 1"]]:
    """Return (logits, final norm scale) of a residual stream."""
    scale = norm_scale(x, weights.spec.norm, weights.spec.norm_eps)
    W_U, b_U = (weights.W_U, weights.b_U) if folded else weights.unfolded_unembedding
    x = x / scale if folded else apply_norm(x, scale, weights.ln_final)
    return softcap(x @ W_U + b_U, weights.spec.logit_softcap), scale


def run_attention(
    weights: Weights, layer: int, x: Tensor, folded: bool = True, past: KeysValues | None = None
) -> AttentionTrace:
    """Run the attention of one block on its input stream.

    For `past` see `run_block`.
    """
    spec, w = weights.spec, weights.attention(layer, folded)
    start = 0 if past is None else past[0].shape[2]
    scale = norm_scale(x, spec.block_norm, spec.norm_eps)
    query, key, value = project(w, x / scale if folded else apply_norm(x, scale, weights.raw(layer).ln1))
    query, query_scale = _normalise(weights, query, w.query_gain)
    key, key_scale = _normalise(weights, key, w.key_gain)
    positions = torch.arange(start, start + x.shape[1], device=x.device)
    query, key = (rotate(each, spec.rotaries[layer], positions, start + x.shape[1]) for each in (query, key))
    if past is not None:
        key = torch.cat([past[0].expand(len(x), -1, -1, -1), key], 2)
        value = torch.cat([past[1].expand(len(x), -1, -1, -1), value], 2)
    scores = _scores(weights, layer, query, key) + distance_bias(spec.alibi, key.shape[2], start, query)
    mask = visible(start + x.shape[1], spec.windows[layer], x.device)[start:]
    pattern = attention_pattern(scores, mask, weights.raw(layer).sinks)
    z = pattern @ value.repeat_interleave(spec.kv_group, dim=1)
    write, write_scale = attention_write(weights, layer, z)
    return AttentionTrace(scale, query_scale, key_scale, query, key, value, scores, pattern, z, write_scale, write)


def attention_write(
    weights: Weights, layer: int, z: Float[Tensor, "batch n_head n_token d_head"]
) -> tuple[Float[Tensor, "batch n_token d_model"], Float[Tensor, "batch n_token 1"] | None]:
    """Return what attention adds to the stream, and its post-norm's scale.

    Both are for the given values of its heads.

    Computes Σ_heads z W_O + b_O, normalised in the families that do so.
    """
    raw = weights.raw(layer)
    write = torch.einsum("bhtd,hdm->btm", z, raw.W_O.detach()) + weights.b_O(layer)
    return post_norm(weights.spec, write, None if raw.attn_post is None else raw.attn_post.gain.detach())


def project(w: Attention, x: Float[Tensor, "batch n_token d_model"]) -> tuple[Tensor, Tensor, Tensor]:
    """Return queries, keys and values of a normalised input.

    Each is (batch, heads, n_token, d_head).
    """
    pairs = ((w.W_Q, w.b_Q), (w.W_K, w.b_K), (w.W_V, w.b_V))
    query, key, value = (torch.einsum("btm,hmd->bhtd", x, W) + b[:, None] for W, b in pairs)
    return query, key, value


def _scores(
    weights: Weights,
    layer: int,
    query: Float[Tensor, "batch n_head query d_head"],
    key: Float[Tensor, "batch n_kv_head key d_head"],
) -> Float[Tensor, "batch n_head query key"]:
    """Return scores of rotated queries and keys before mask and ALiBi.

    Scale and softcap are included.
    """
    spec = weights.spec
    key = key.repeat_interleave(spec.kv_group, dim=1)
    return softcap(query @ key.transpose(-1, -2) * spec.attention_scale[layer], spec.attention_softcap)


def _normalise(weights: Weights, x: Tensor, gain: Tensor | None) -> tuple[Tensor, Tensor | None]:
    if gain is None:
        return x, None
    scale = heads_scale(x, weights.spec.norm_eps, weights.spec.joint_query_key_norm)
    return x / scale * gain, scale


def run_mlp(weights: Weights, layer: int, x: Tensor, folded: bool = True) -> MlpTrace:
    """Run the MLP of one block, or its experts.

    `x` is the stream that it reads.
    """
    spec = weights.spec
    scale = norm_scale(x, spec.block_norm, spec.norm_eps)
    x = x / scale if folded else apply_norm(x, scale, weights.raw(layer).ln2)
    if spec.n_expert:
        return _run_experts(weights, layer, x, scale, folded)
    w = weights.mlp(layer, folded)
    pre, gated, multiplier = mlp_hidden(w, x, spec)
    write = (pre * multiplier) @ w.W_out + w.b_out
    write, write_scale = post_norm(spec, write, w.post_gain)
    return MlpTrace(scale, pre, gated, multiplier, write_scale, write)


def _run_experts(weights: Weights, layer: int, x: Tensor, scale: Tensor, folded: bool) -> MlpTrace:
    """Run the experts chosen at each position, one expert after another."""
    spec = weights.spec
    W_R, b_R = weights.router(layer, folded)
    scores = x @ W_R + b_R
    chosen, shares = route(spec, scores)
    pre = x.new_empty(chosen.numel(), spec.d_mlp)
    gated, multiplier = torch.empty_like(pre), torch.empty_like(pre)
    outputs, flat = x.new_empty(len(pre), spec.d_model), x.flatten(0, -2)
    for expert, rows in rows_of(chosen.flatten()):
        w = weights.mlp(layer, folded, expert)
        here = mlp_hidden(w, flat[rows // spec.n_expert_used], spec)
        pre[rows], gated[rows], multiplier[rows] = here[0], here[0] if here[1] is None else here[1], here[2]
        outputs[rows] = (here[0] * here[2]) @ w.W_out + w.b_out
    pre, gated, multiplier, outputs = (each.unflatten(0, chosen.shape) for each in (pre, gated, multiplier, outputs))
    routing = Routing(scores, chosen, shares, outputs)
    post = weights.raw(layer).mlp_post
    write, write_scale = post_norm(spec, routing.write, None if post is None else post.gain.detach())
    return MlpTrace(scale, pre, gated if spec.gated else None, multiplier, write_scale, write, routing)


def mlp_hidden(w: Mlp, x: Float[Tensor, "*batch d_model"], spec: Spec) -> tuple[Tensor, Tensor | None, Tensor]:
    """Return (pre, gate, multiplier) of a normalised input.

    The hidden units are pre · multiplier.
    """
    pre, limit = x @ w.W_in + w.b_in, spec.activation_limit
    if w.W_gate is None:
        return pre, None, gate(pre, spec.activation)
    gated = x @ w.W_gate
    gated = gated if w.b_gate is None else gated + w.b_gate
    multiplier = activate(gated, spec.activation, limit)
    within = limited(pre, limit)
    return pre, gated, multiplier if limit is None else multiplier * torch.where(within == pre, 1.0, within / pre)


def post_norm(spec: Spec, write: Tensor, gain: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Normalise what a component writes, for the families that do so."""
    if gain is None:
        return write, None
    scale = norm_scale(write, spec.norm, spec.norm_eps)
    return write / scale * gain, scale
