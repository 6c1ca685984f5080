"""Run a block on the end of a text whose beginning is known: an edit changes nothing before its first position.

The arithmetic is that of `interp.model.trace`, with the keys and values of the beginning given instead of computed.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from interp.model import trace
from interp.model.arithmetic import apply_norm, norm_scale, rotary_table, rotate, softcap, visible
from interp.model.weights import Weights

KeysValues = tuple[Float[Tensor, "batch n_kv_head n_token d_head"], Float[Tensor, "batch n_kv_head n_token d_head"]]


def run_block(
    weights: Weights, layer: int, x: Float[Tensor, "batch n_end d_model"], past: KeysValues | None = None
) -> tuple[Float[Tensor, "batch n_end d_model"], KeysValues]:
    """(the stream behind the block, keys and values of all positions) of the end of a text.

    Args:
        weights: of the model.
        layer: the block.
        x: the stream before it, at the last positions.
        past: keys (rotated) and values of the positions before those; None if there are none.
    """
    spec = weights.spec
    start = 0 if past is None else past[0].shape[2]
    query, key, value = _projected(weights, layer, x, start)
    if past is not None:
        key, value = torch.cat([past[0], key], 2), torch.cat([past[1], value], 2)
    heads = key.repeat_interleave(spec.kv_group, dim=1)
    scores = softcap(query @ heads.transpose(-1, -2) * spec.attention_scale[layer], spec.attention_softcap)
    mask = visible(start + x.shape[1], spec.windows[layer], x.device)[start:]
    z = scores.masked_fill(~mask, -torch.inf).softmax(-1) @ value.repeat_interleave(spec.kv_group, dim=1)
    w = weights.attention(layer, folded=False)
    write, _ = trace.post_norm(spec, torch.einsum("bhtd,hdm->btm", z, w.W_O) + w.b_O, w.post_gain)
    middle = x if spec.parallel else x + write
    return x + write + trace.run_mlp(weights, layer, middle, folded=False).write, (key, value)


def _projected(weights: Weights, layer: int, x: Tensor, start: int) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values of positions `start` on, normalised and rotated where the family does."""
    spec, w = weights.spec, weights.attention(layer, folded=False)
    normed = apply_norm(x, norm_scale(x, spec.norm, spec.norm_eps), weights.raw(layer).ln1)
    query, key, value = trace.project(w, normed)
    if w.query_gain is not None and w.key_gain is not None:
        query = query / norm_scale(query, "rms", spec.norm_eps) * w.query_gain
        key = key / norm_scale(key, "rms", spec.norm_eps) * w.key_gain
    if spec.rotary is not None:
        cos, sin = rotary_table(spec.rotary, torch.arange(start, start + x.shape[1]), query)
        query, key = rotate(query, cos, sin), rotate(key, cos, sin)
    return query, key, value
