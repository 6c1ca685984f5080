"""The forward pass written out from `Weights` alone, keeping what it takes to say exactly what each component did.

For one block, with x the residual entering it and s the norm scales:

    q, k, v      = x W_Q / s₁ + b_Q, …                    (normalised again with query/key norms; q, k rotated)
    pattern      = softmax(softcap(scale · q kᵀ) + mask)
    attention    = (Σ_heads pattern v W_O + b_O) · g_attn / s_attn      (g and s are 1 without post-norms)
    y            = x + attention                          (x itself in a parallel block)
    pre          = y W_in / s₂ + b_in
    mlp          = ((pre · multiplier) W_out + b_out) · g_mlp / s_mlp
    multiplier   = g(gate)·gate with a gate, g(pre) without       (act(z) = z·g(z))

so that, pattern, multiplier and every s held, the block is linear in x. With `folded=False` a norm's gain and bias are
applied to x instead of being folded into the weights: the same numbers, without copying a single matrix.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.model.arithmetic import apply_norm, gate, norm_scale, rotary_table, rotate, softcap, visible
from interp.model.spec import Spec
from interp.model.weights import Attention, Mlp, Weights


@dataclass(frozen=True)
class AttentionTrace:
    """What attention did in one layer: `z` are the heads' values after the pattern, `write` what reached the residual.

    `query_scale` and `key_scale` are those of query/key norms, None without; `write_scale` that of the post-norm.
    """

    scale: Float[Tensor, "batch n_token 1"]
    query_scale: Float[Tensor, "batch n_head n_token 1"] | None
    key_scale: Float[Tensor, "batch n_kv_head n_token 1"] | None
    scores: Float[Tensor, "batch n_head query key"]
    pattern: Float[Tensor, "batch n_head query key"]
    z: Float[Tensor, "batch n_head n_token d_head"]
    write_scale: Float[Tensor, "batch n_token 1"] | None
    write: Float[Tensor, "batch n_token d_model"]


@dataclass(frozen=True)
class MlpTrace:
    """What the MLP did in one layer: its hidden units are `pre` · `multiplier`."""

    scale: Float[Tensor, "batch n_token 1"]
    pre: Float[Tensor, "batch n_token d_mlp"]
    multiplier: Float[Tensor, "batch n_token d_mlp"]
    write_scale: Float[Tensor, "batch n_token 1"] | None
    write: Float[Tensor, "batch n_token d_model"]


@dataclass(frozen=True)
class BlockTrace:
    """One block: the residual that entered it, what its two components did, and the residual that left."""

    layer: int
    resid_pre: Float[Tensor, "batch n_token d_model"]
    attention: AttentionTrace
    mlp: MlpTrace
    resid_post: Float[Tensor, "batch n_token d_model"]


def embed(weights: Weights, tokens: Int[Tensor, "batch n_token"]) -> Float[Tensor, "batch n_token d_model"]:
    """The residual stream before the first block: token plus, where there are any, position embeddings."""
    x = weights.embed(tokens)
    return x if weights.W_pos is None else x + weights.W_pos[: tokens.shape[1]]


@torch.no_grad()
def blocks(weights: Weights, tokens: Int[Tensor, "batch n_token"], folded: bool = True) -> Iterator[BlockTrace]:
    """Run the model block by block; whoever iterates keeps what it needs and stops where it likes."""
    x = embed(weights, tokens)
    for layer in range(weights.spec.n_layer):
        block = run_block(weights, layer, x, folded)
        yield block
        x = block.resid_post


@torch.no_grad()
def run_block(
    weights: Weights, layer: int, x: Float[Tensor, "batch n_token d_model"], folded: bool = True
) -> BlockTrace:
    """One block on a residual stream of any origin."""
    attention = run_attention(weights, layer, x, folded)
    middle = x if weights.spec.parallel else x + attention.write
    mlp = run_mlp(weights, layer, middle, folded)
    return BlockTrace(layer, x, attention, mlp, x + attention.write + mlp.write)


@torch.no_grad()
def unembed(
    weights: Weights, x: Float[Tensor, "batch n_token d_model"], folded: bool = True
) -> tuple[Float[Tensor, "batch n_token d_vocab"], Float[Tensor, "batch n_token 1"]]:
    """(logits, final norm scale) of a residual stream."""
    scale = norm_scale(x, weights.spec.norm, weights.spec.norm_eps)
    W_U, b_U = (weights.W_U, weights.b_U) if folded else weights.unfolded_unembedding
    x = x / scale if folded else apply_norm(x, scale, weights.ln_final)
    return softcap(x @ W_U + b_U, weights.spec.logit_softcap), scale


def run_attention(weights: Weights, layer: int, x: Tensor, folded: bool = True) -> AttentionTrace:
    """The attention of one block on the residual stream it reads."""
    spec, w = weights.spec, weights.attention(layer, folded)
    scale = norm_scale(x, spec.norm, spec.norm_eps)
    query, key, value = project(w, x / scale if folded else apply_norm(x, scale, weights.raw(layer).ln1))
    query, query_scale = _normalise(weights, query, w.query_gain)
    key, key_scale = _normalise(weights, key, w.key_gain)
    scores = attention_scores(weights, layer, query, key)
    mask = visible(x.shape[1], spec.windows[layer], x.device)
    pattern = scores.masked_fill(~mask, -torch.inf).softmax(dim=-1)
    z = pattern @ value.repeat_interleave(spec.kv_group, dim=1)
    write = torch.einsum("bhtd,hdm->btm", z, w.W_O) + w.b_O
    write, write_scale = post_norm(spec, write, w.post_gain)
    return AttentionTrace(scale, query_scale, key_scale, scores, pattern, z, write_scale, write)


def project(w: Attention, x: Float[Tensor, "batch n_token d_model"]) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values (batch, heads, n_token, d_head) of a normalised input."""
    pairs = ((w.W_Q, w.b_Q), (w.W_K, w.b_K), (w.W_V, w.b_V))
    query, key, value = (torch.einsum("btm,hmd->bhtd", x, W) + b[:, None] for W, b in pairs)
    return query, key, value


def attention_scores(
    weights: Weights,
    layer: int,
    query: Float[Tensor, "batch n_head n_token d_head"],
    key: Float[Tensor, "batch n_kv_head n_token d_head"],
) -> Float[Tensor, "batch n_head query key"]:
    """Pre-softmax scores, rotation, scale and softcap included, causal mask not."""
    spec = weights.spec
    if spec.rotary is not None:
        cos, sin = rotary_table(spec.rotary, torch.arange(query.shape[2]), query)
        query, key = rotate(query, cos, sin), rotate(key, cos, sin)
    key = key.repeat_interleave(spec.kv_group, dim=1)
    return softcap(query @ key.transpose(-1, -2) * spec.attention_scale[layer], spec.attention_softcap)


def _normalise(weights: Weights, x: Tensor, gain: Tensor | None) -> tuple[Tensor, Tensor | None]:
    if gain is None:
        return x, None
    scale = norm_scale(x, "rms", weights.spec.norm_eps)
    return x / scale * gain, scale


def run_mlp(weights: Weights, layer: int, x: Tensor, folded: bool = True) -> MlpTrace:
    """The MLP of one block on the residual stream it reads."""
    spec, w = weights.spec, weights.mlp(layer, folded)
    scale = norm_scale(x, spec.norm, spec.norm_eps)
    x = x / scale if folded else apply_norm(x, scale, weights.raw(layer).ln2)
    pre, multiplier = mlp_hidden(w, x, spec.activation)
    write = (pre * multiplier) @ w.W_out + w.b_out
    write, write_scale = post_norm(spec, write, w.post_gain)
    return MlpTrace(scale, pre, multiplier, write_scale, write)


def mlp_hidden(w: Mlp, x: Float[Tensor, "batch n_token d_model"], activation: str) -> tuple[Tensor, Tensor]:
    """(pre, multiplier) of a normalised input: the hidden units are their product."""
    pre = x @ w.W_in + w.b_in
    if w.W_gate is None:
        return pre, gate(pre, activation)
    gated = x @ w.W_gate
    gated = gated if w.b_gate is None else gated + w.b_gate
    return pre, gated * gate(gated, activation)


def post_norm(spec: Spec, write: Tensor, gain: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Normalise what a component writes, for the families that do."""
    if gain is None:
        return write, None
    scale = norm_scale(write, spec.norm, spec.norm_eps)
    return write / scale * gain, scale
