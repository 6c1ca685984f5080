"""`circuits.check`: do the factors really give what each head computes?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interp.circuits.attention_hooks import observed
from interp.circuits.output_value import ov
from interp.circuits.query_key import QueryKey, qk, require_positions
from interp.circuits.results import QUANTITIES, CircuitCheck
from interp.errors import CheckFailedError, UsageError, require
from interp.model import Cache, Model
from interp.model.arithmetic import norm_scale, softcap, visible
from interp.threads import one_thread

TOLERANCE = {torch.float64: 1e-5, torch.float32: 1e-4}
"""Largest error that is rounding: rotation angles are float32 in every model, also in float64."""


@torch.no_grad()
def check(model: Model, tokens: Tensor | None = None) -> CircuitCheck:
    """Rebuild every head from its factors and compare with the model.

    Its scores, pattern, values and write are compared with those of the model's own run. Scores are rebuilt pair by
    pair as forms with R(i − j) between query and key, patterns as their softmax, values and writes from the rebuilt
    pattern. The model's own are what goes into and comes out of its softmax, the input of its output projection, and
    that projection of one head at a time.

    Args:
        model: in float32 or float64.
        tokens: (batch, n_token) or one row; 24 seeded random ones by default.

    Raises:
        CheckFailedError: an error above 1e-4 (float32) or 1e-5 (float64), or one that is not a number.
        UnsupportedModelError: a feature of the family that the formulas do not cover, by name.
        UsageError: tokens the model cannot read, or another dtype.

    >>> result = circuits.check(model, tokens)
    >>> result.worst < result.tolerance
    True
    """
    require(model, Model, "model")
    require_positions(model.spec)
    if model.dtype not in TOLERANCE:
        raise UsageError(f"An exact comparison needs float32 or float64, not {model.dtype}: load the model in either.")
    tokens = _random_tokens(model) if tokens is None else model.check_tokens(tokens)
    errors = np.zeros((len(QUANTITIES), model.spec.n_layer, model.spec.n_head))
    sums = np.zeros(model.spec.n_layer)
    own: list[tuple[Tensor, Tensor]] = []
    with observed(model, lambda _, scores, pattern: own.append((scores, pattern))):
        _, cache = model.run_with_cache(tokens, _hooks(model))
    model = model.with_cached_weights()
    for layer in range(model.spec.n_layer):
        errors[:, layer], sums[layer] = _layer_errors(model, layer, cache, *own[layer])
    checked = CircuitCheck(model.name, tokens.shape[1], *errors, sums=sums, tolerance=TOLERANCE[model.dtype])
    if not checked.worst <= checked.tolerance:
        raise CheckFailedError(
            f"The circuits of {model.name} do not reproduce its heads: error {checked.worst:.2e}, tolerance "
            f"{checked.tolerance:.0e}; worst {checked.table().rows[0][0]}. Is there a NaN in the weights?"
        )
    return checked


def _hooks(model: Model) -> list[str]:
    parts = ("hook_resid_pre", "attn.hook_z", "hook_attn_out")
    return [f"blocks.{layer}.{part}" for layer in range(model.spec.n_layer) for part in parts]


@one_thread()
def _layer_errors(model: Model, layer: int, cache: Cache, scores: Tensor, pattern: Tensor) -> tuple[np.ndarray, float]:
    """Return one layer's errors of heads and of their sum.

    (quantity, head), and that of the sum of writes.
    """
    x, z, out = (cache[f"blocks.{layer}.{part}"] for part in ("hook_resid_pre", "attn.hook_z", "hook_attn_out"))
    writes = _own_writes(model, layer, z)
    post = _write_scale(model, layer, z)
    mask = visible(x.shape[1], model.spec.windows[layer], x.device)
    scores = _relative(model, scores)
    largest = [float(each.abs().max()) for each in (scores.masked_fill(~mask, 0), pattern, z, writes)]
    largest[1] = 1.0
    total = model.weights.b_O(layer) * _post_gain(model, layer) / post
    errors = np.zeros((len(QUANTITIES), model.spec.n_head))
    maps = [qk(model, layer, head, n_token=x.shape[1]) for head in range(model.spec.n_head)]
    for head, (looks, products) in enumerate(zip(maps, _pairwise(maps, x).unbind(1), strict=True)):
        moves = ov(model, layer, head)
        ours = softcap(products * looks.scale, looks.spec.attention_softcap) + looks.by_distance(x.shape[1], x)
        weights = looks.softmax(ours)
        values = weights @ moves.values(x)
        write = values @ moves.W_O / post
        total = total + write
        theirs = (scores[:, head], pattern[:, head], z[:, :, head], writes[:, :, head])
        pairs = zip((ours, weights, values, write), theirs, strict=True)
        gaps = [(a - b).masked_fill(~mask, 0) if i < 2 else a - b for i, (a, b) in enumerate(pairs)]
        errors[:, head] = [float(gap.abs().max()) / (size or 1.0) for gap, size in zip(gaps, largest, strict=True)]
    return errors, float((total - out).abs().max() / out.abs().max())


def _pairwise(heads: Sequence[QueryKey], x: Tensor) -> Float[Tensor, "batch n_head query key"]:
    """Return every product of a query and a key of one layer's heads, by the form of their offset.

    Pairs with the key behind the query stay 0.
    """
    n, turn = x.shape[1], heads[0].turn  # all heads of a layer turn alike
    query, key = (torch.stack(side, dim=1) for side in zip(*(head.project(x) for head in heads), strict=True))
    key = turn(key, 0)
    products = x.new_zeros(*query.shape[:2], n, n)
    for offset in range(n):
        rows = torch.arange(offset, n, device=x.device)
        products[..., rows, rows - offset] = (turn(query[..., offset:, :], offset) * key[..., : n - offset, :]).sum(-1)
    return products


def _relative(model: Model, scores: Tensor) -> Tensor:
    """Remove ALiBi's bias from the scores, for comparison.

    From the model's scores, what ALiBi adds to all keys of a query alike.

    No softmax sees it.
    """
    alibi, n = model.spec.alibi, scores.shape[-1]
    if alibi is None:
        return scores
    origin = n - 1 if alibi.from_last else 0
    places = torch.arange(n, device=scores.device, dtype=torch.float32) - origin
    shift = torch.tensor(alibi.slopes, device=scores.device)[:, None] * places
    return scores - shift.to(scores)[:, :, None]


def _own_writes(model: Model, layer: int, z: Tensor) -> Tensor:
    """Return the model's output projection of each head alone.

    (batch, n_token, n_head, d_model), post-norm included.
    """
    projection = model.parts.attn_output[layer]
    alone = torch.diag_embed(z.transpose(-1, -2)).transpose(-1, -2)  # (..., d_head, n_head, n_head), one head each
    flat = alone.permute(0, 1, 3, 4, 2).flatten(-2)
    bias = model.weights.b_O(layer)
    written = projection(flat) * model.parts.write_scale - bias
    return written * _post_gain(model, layer) / _write_scale(model, layer, z)[..., None, :]


def _write_scale(model: Model, layer: int, z: Tensor) -> Tensor:
    """Return what the post-norm divides the layer's write by; 1 without one.

    (batch, n_token, 1).
    """
    if model.weights.raw(layer).attn_post is None:
        return z.new_ones(*z.shape[:2], 1)
    written = model.parts.attn_output[layer](z.flatten(-2)) * model.parts.write_scale
    return norm_scale(written, model.spec.norm, model.spec.norm_eps)


def _post_gain(model: Model, layer: int) -> Tensor | float:
    post = model.weights.raw(layer).attn_post
    return 1.0 if post is None else post.gain.detach()


def _random_tokens(model: Model) -> Tensor:
    length = min(24, model.spec.n_ctx)
    tokens = torch.randint(0, model.spec.d_vocab, (1, length), generator=torch.Generator().manual_seed(0))
    return tokens.to(model.device)
