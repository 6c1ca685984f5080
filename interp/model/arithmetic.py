"""The arithmetic of a block: norms, activations, rotations, attention patterns."""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float, Real
from torch import Tensor

from interp.model.families.base import RawNorm
from interp.model.spec import Alibi, Norm, Rotary


def norm_scale(x: Float[Tensor, "*batch width"], kind: Norm, eps: float) -> Float[Tensor, "*batch 1"]:
    """Return the scale that a norm divides by, sqrt(mean(x²) + eps).

    LayerNorm takes it of x − mean(x) (arXiv 1607.06450), RMSNorm of x (arXiv 1910.07467).

    1 for "none", where nothing is normalised.
    """
    if kind == "none":
        return x.new_ones(*x.shape[:-1], 1)
    centred = x - x.mean(dim=-1, keepdim=True) if kind == "layer" else x
    return (centred.square().mean(dim=-1, keepdim=True) + eps).sqrt()


def heads_scale(
    x: Float[Tensor, "*batch n_head n_token d_head"], eps: float, joint: bool
) -> Float[Tensor, "*batch n_head n_token 1"]:
    """Return the scale that a norm of queries or keys divides by.

    It is the root mean square of each head or, with `joint`, of all heads at a position.
    """
    if not joint:
        return norm_scale(x, "rms", eps)
    scale = norm_scale(x.transpose(-2, -3).flatten(-2), "rms", eps)
    return scale.unsqueeze(-3).expand(*x.shape[:-1], 1)


def apply_norm(
    x: Float[Tensor, "*batch width"], scale: Float[Tensor, "*batch 1"], norm: RawNorm
) -> Float[Tensor, "*batch width"]:
    """Return the normalised x · gain + bias for a known scale.

    A norm with a bias is a LayerNorm, which also centres x.
    """
    if norm.bias is None:
        return x / scale * norm.gain
    return (x - x.mean(dim=-1, keepdim=True)) / scale * norm.gain + norm.bias


def gate(z: Float[Tensor, "*shape"], activation: str) -> Float[Tensor, "*shape"]:
    """Return g(z) = act(z) / z, with its limit at 0.

    Every supported activation is z·g(z), so that nothing is divided.
    """
    match activation:
        case "silu":
            return torch.sigmoid(z)
        case "quick_gelu":
            return torch.sigmoid(1.702 * z)
        case "gelu":
            return 0.5 * (1 + torch.erf(z / math.sqrt(2)))
        case "gelu_bloom":
            return 0.5 * (1 + torch.tanh(0.79788456 * (z + 0.044715 * z**3)))
        case "gelu_tanh":
            return 0.5 * (1 + torch.tanh(math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)))
        case "relu":
            return (z > 0).to(z.dtype)
    raise AssertionError(f"no gate for {activation}: families.base.ACTIVATIONS must not name it")


def activate(z: Float[Tensor, "*shape"], activation: str, limit: float | None) -> Float[Tensor, "*shape"]:
    """Return act(z) = z·g(z), the activation of `z`.

    It is act(min(z, limit)) where a family limits its argument (gpt-oss).
    """
    z = z if limit is None else z.clamp(max=limit)
    return z * gate(z, activation)


def limited(pre: Float[Tensor, "*shape"], limit: float | None) -> Float[Tensor, "*shape"]:
    """Return `pre`, clipped in the families that limit it.

    It is what a gate multiplies.

    The bounds are `limit` below and above its bias of one.
    """
    return pre if limit is None else pre.clamp(1 - limit, 1 + limit)


def attention_pattern(
    scores: Float[Tensor, "*batch n_head query key"],
    mask: Bool[Tensor, "query key"],
    sinks: Float[Tensor, " n_head"] | None,
) -> Float[Tensor, "*batch n_head query key"]:
    """Return the attention pattern: the softmax of the scores over visible keys.

    Where a family has sinks, the softmax includes the head's sink.

    A sink is a key without a value.
    """
    scores = scores.masked_fill(~mask, -torch.inf)
    return scores.softmax(-1) if sinks is None else with_sinks(scores, sinks).softmax(-1)[..., :-1]


def with_sinks(
    scores: Float[Tensor, "*batch n_head query key"], sinks: Float[Tensor, " n_head"]
) -> Float[Tensor, "*batch n_head query key_and_sink"]:
    """Append the sink of each head after the last key's score."""
    return torch.cat([scores, sinks.detach()[:, None, None].expand_as(scores[..., :1])], dim=-1)


def frequencies(rotary: Rotary, n_token: int, device: torch.device) -> Float[Tensor, " n_pair"]:
    """Return the rotation angles per position, one for each pair of dimensions.

    They are those of a run of `n_token`, in float32.
    """
    if rotary.fixed_to is None or n_token <= rotary.fixed_to:
        return torch.tensor(rotary.frequencies, dtype=torch.float32, device=device)
    if rotary.long_frequencies:
        return torch.tensor(rotary.long_frequencies, dtype=torch.float32, device=device)
    longer = rotary.growth * torch.tensor(n_token) / rotary.fixed_to - (rotary.growth - 1)
    base = rotary.base * longer ** (rotary.dim / (rotary.dim - 2))
    return (1.0 / base ** (torch.arange(0, rotary.dim, 2).float() / rotary.dim)).to(device)


def rotate(
    x: Float[Tensor, "*batch d_head"], rotary: Rotary | None, positions: Real[Tensor, " *batch"] | int, n_token: int
) -> Float[Tensor, "*batch d_head"]:
    """Rotate the pairs among the first `rotary.dim` coordinates by their positions.

    The other coordinates are unchanged.

    `positions` broadcast against the axes of `x` but the last; x itself is returned where `rotary` is None. The run has
    `n_token` tokens in all, on which some scalings depend (see `Rotary`). Angles are
    formed in float32 and only then cast, as `transformers` does, so that cosine and sine are the model's own. Negative
    positions turn backwards: R(−p) = R(p)ᵀ.
    """
    if rotary is None:
        return x
    turns = frequencies(rotary, n_token, x.device)
    angles = torch.as_tensor(positions).to(device=x.device, dtype=torch.float32)[..., None] * turns
    cos, sin = ((values * rotary.factor).to(x.dtype) for values in (angles.cos(), angles.sin()))
    first, second = pairs(x, rotary)
    turned = torch.stack([first * cos - second * sin, second * cos + first * sin], dim=-1 if rotary.adjacent else -2)
    return torch.cat([turned.flatten(-2), x[..., rotary.dim :]], dim=-1)


def pairs(
    x: Float[Tensor, "*batch d_head"], rotary: Rotary
) -> tuple[Float[Tensor, "*batch n_pair"], Float[Tensor, "*batch n_pair"]]:
    """Return the first and the second coordinate of every pair that turns."""
    turning = x[..., : rotary.dim]
    if rotary.adjacent:
        return turning[..., ::2], turning[..., 1::2]
    first, second = turning.chunk(2, dim=-1)
    return first, second


def distance_bias(
    alibi: Alibi | None, n_key: int, start: int, like: Tensor
) -> Float[Tensor, "n_head query key"] | float:
    """Return the ALiBi bias of scores, −slope · (query − key).

    Queries are those from position `start` on. Returns 0 for a model without ALiBi.

    Slope · position is formed in float32 as `transformers` forms it, so that the differences are the model's own.
    """
    if alibi is None:
        return 0.0
    positions = torch.arange(n_key, device=like.device, dtype=torch.float32) - (n_key - 1 if alibi.from_last else 0)
    by_key = torch.tensor(alibi.slopes, device=like.device)[:, None] * positions
    by_key = by_key.to(like.dtype)
    return by_key[:, None, :] - by_key[:, start:, None]


def softcap(x: Float[Tensor, "*shape"], cap: float | None) -> Float[Tensor, "*shape"]:
    """Return c·tanh(x/c), or x itself without a cap (Gemma-2, arXiv 2408.00118)."""
    return x if cap is None else cap * torch.tanh(x / cap)


def visible(n_tokens: int, window: int | None, device: torch.device) -> Bool[Tensor, "query key"]:
    """Return a mask that is True where a query sees a key.

    A query sees itself and earlier keys, at most `window` tokens in all.
    """
    query = torch.arange(n_tokens, device=device)[:, None]
    key = torch.arange(n_tokens, device=device)[None, :]
    seen = key <= query
    return seen if window is None else seen & (key > query - window)
