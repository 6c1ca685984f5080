"""Attention scores as bilinear forms in what was written at two positions.

    score(t, s) = scale · R_t q_t · R_s k_s,     q_t = g_q ⊙ (x_t W_Q' / s_norm(t) + b_Q') / s_q(t),    k_s likewise

with R the rotation by position, W' and b' the weights with the norm folded in, and g and s those of query/key norms,
where there are any. With fixed norm scales, q and k are linear in the residual stream, hence sums over the components
that wrote it, and the score is a sum over pairs of components, with biases as one more component on either side. The
ratio of a softcap is fixed too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interp.attribution.linearised import Linearised, check_linearised
from interp.attribution.results import Scores, ScoreTarget, conserved
from interp.errors import UsageError
from interp.model.arithmetic import distance_bias, heads_scale, norm_scale, rotate, softcap
from interp.model.families.base import head_gain

if TYPE_CHECKING:
    from interp.attribution.frozen import Frozen

Side = Literal["query", "key"]


@torch.no_grad()
def scores(linearised: Linearised, layer: int, head: int, query: int, key: int) -> Scores:
    """Decompose one pre-softmax attention score over pairs of writers.

    Of each pair, one writes into the query and the other into the key.

    Of a contrast it is the change of the score: a pair's part is Δq_a · k̄_b + q̄_a · Δk_b, with q_a and k_b what
    writers a and b put into query and key, bars for means of the two runs, and the softcap's chord in front.

    Args:
        linearised: a frozen input, a contrast, or either with dictionaries.
        layer: the layer of the head.
        head: the head.
        query: the position that attends.
        key: the position attended to, not after the query.

    Returns:
        The parts, (n_writer²,) flat in `array`, with the score as their total.

    Raises:
        UsageError: a layer, head or position that does not exist, or a key behind its query.
        CheckFailedError: the pairs miss the model's score by more than the input's tolerance.

    >>> frozen = attribution.freeze(model, tokens)
    >>> result = scores(frozen, layer=1, head=0, query=3, key=1)
    >>> result.total, result.top(1)
    (4.715, (('L0H3 · MLP0', 1.418),))
    """
    query, key = checked(linearised, layer, head, query, key)
    pairs, value, scale = linearised.score_pairs(layer, head, query, key)
    array = pairs.flatten().cpu().numpy()
    name = score_name(linearised, layer, head, query, key)
    total = float(array.sum(dtype=np.float64))
    error = conserved(total, value, max(float(np.abs(array).max()), scale), linearised.tolerance, name)
    writers = (*linearised.score_writers(layer, query, key), "bias")
    labels = tuple(f"{first} · {second}" for first in writers for second in writers)
    return Scores(name, "score", array, labels, total, value, error, writers)


def score_pairs(
    frozen: Frozen, layer: int, head: int, query: int, key: int
) -> tuple[Float[Tensor, "n_writer n_writer"], float, float]:
    """Return each pair's part of a score, the score, and 0.

    Writers of the query and of the key, biases last.

    What ALiBi adds belongs to the pair of biases.
    """
    pairs = written(frozen, layer, head, query, "query") @ written(frozen, layer, head, key, "key").T
    pairs *= score_scale(frozen, layer, pairs.sum())
    pairs[-1, -1] += _by_distance(frozen, head, query, key)
    return pairs, float(frozen.blocks[layer].scores[head, query, key]), 0.0


@torch.no_grad()
def score(linearised: Linearised, layer: int, head: int, query: int, key: int, *, side: Side = "key") -> ScoreTarget:
    """Return an attention score as a target, linear in one side's stream.

    The `side` says whose position, the query's or the key's; the other side is constant. For `path_tree`.

    Args:
        linearised: a frozen input, a contrast, or either with dictionaries.
        layer: the layer of the head.
        head: the head.
        query: the position that attends.
        key: the position attended to, not after the query.
        side: "query" or "key": the side that varies.

    Returns:
        The target.

    Raises:
        UsageError: another side, or a layer, head or position that does not exist.

    >>> frozen = attribution.freeze(model, tokens)
    >>> tree = attribution.path_tree(frozen, score(frozen, 1, 0, query=3, key=1))
    >>> round(tree.total, 3)
    4.715
    """
    query, key = checked(linearised, layer, head, query, key)
    if side not in ("query", "key"):
        raise UsageError(f'side must be "query" or "key", not "{side}".')
    at, other = (query, key) if side == "query" else (key, query)
    name = f"{score_name(linearised, layer, head, query, key)} through its {side}"
    return ScoreTarget(name, "score", at, other, layer, head, side)


@torch.no_grad()
def linear_parts(frozen: Frozen, target: ScoreTarget) -> tuple[Float[Tensor, " d_model"], float, float]:
    """Return a score as (covector, constant, value) on one side's stream.

    The stream is the one at the position of the target's side.
    """
    position = frozen.position(target.position)
    side = _side_of(target)
    query, key = (position, target.other) if target.side == "query" else (target.other, position)
    fixed = written(frozen, target.layer, target.head, target.other, _other(side)).sum(0).to(frozen.writes)
    own = written(frozen, target.layer, target.head, position, side).sum(0).to(frozen.writes)
    scale = score_scale(frozen, target.layer, own @ fixed)
    # The transpose of a rotation by p is the rotation by -p; the rotary factor, if any, multiplies both.
    back = rotate(fixed * scale, frozen.model.spec.rotaries[target.layer], -position, frozen.n_token)
    W, b, gain, divisor = _side(frozen, target.layer, target.head, position, side)
    back = back * gain
    value = float(frozen.blocks[target.layer].scores[target.head, query, key])
    constant = float(b @ back) + _by_distance(frozen, target.head, query, key)
    return W @ back / divisor, constant, value


@torch.no_grad()
def measure(frozen: Frozen, target: ScoreTarget, x: Float[Tensor, " d_model"]) -> float:
    """Compute the score for another stream `x` at its side's position.

    Norms are free to change; the other side is constant.
    """
    spec, side = frozen.model.spec, _side_of(target)
    position = frozen.position(target.position)
    W, b, *_ = _side(frozen, target.layer, target.head, position, side)
    weights = frozen.model.weights
    raw = weights.raw(target.layer)
    gain = raw.query_gain if side == "query" else raw.key_gain
    own = x / norm_scale(x, spec.block_norm, spec.norm_eps) @ W + b
    if gain is not None:
        index = target.head if side == "query" else target.head // spec.kv_group
        others = weights.attention(target.layer)
        all_W, all_b = (others.W_Q, others.b_Q) if side == "query" else (others.W_K, others.b_K)
        normalised = x / norm_scale(x, spec.block_norm, spec.norm_eps)
        heads = torch.einsum("m,hmd->hd", normalised, all_W) + all_b
        scale = heads_scale(heads[:, None], spec.norm_eps, spec.joint_query_key_norm)[index, 0]
        own = own / scale * head_gain(gain, index)
    fixed = written(frozen, target.layer, target.head, target.other, _other(side)).sum(0).to(x)
    turned = rotate(own, spec.rotaries[target.layer], position, frozen.n_token)
    product = turned @ fixed * spec.attention_scale[target.layer]
    query, key = (position, target.other) if side == "query" else (target.other, position)
    return float(softcap(product, spec.attention_softcap)) + _by_distance(frozen, target.head, query, key)


def written(frozen: Frozen, layer: int, head: int, position: int, side: Side) -> Float[Tensor, "n_writer d_head"]:
    """Return what each component writes into a head's query or key.

    Rotated, at one position; last, the head's own bias.

    In float64: hundreds of writes cancel in a score, and their sum should miss the model's by its own rounding only.
    """
    W, b, gain, divisor = (part.double() for part in _side(frozen, layer, head, position, side))
    rows = frozen.writes[: frozen.layout.start(layer), position].double() @ W / divisor
    return rotate(torch.cat([rows, b[None]]) * gain, frozen.model.spec.rotaries[layer], position, frozen.n_token)


def _side(frozen: Frozen, layer: int, head: int, position: int, side: Side) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return (W', b', gain over its scale, norm scale) of a query or key."""
    weights, block, spec = frozen.model.weights, frozen.blocks[layer], frozen.model.spec
    raw = weights.raw(layer)
    if side == "query":
        W, b = weights.W_Q(layer, head), weights.b_Q(layer, head)
        gain, scales, index = raw.query_gain, block.query_scale, head
    else:
        W, b = weights.W_K(layer, head), weights.b_K(layer, head)
        gain, scales, index = raw.key_gain, block.key_scale, head // spec.kv_group
    gains = torch.ones_like(b) if gain is None or scales is None else head_gain(gain, index) / scales[index, position]
    return W, b, gains, block.attn_scale[position]


def _by_distance(frozen: Frozen, head: int, query: int, key: int) -> float:
    """Return what ALiBi adds to one score; 0 without it."""
    bias = distance_bias(frozen.model.spec.alibi, query + 1, query, frozen.writes)
    return float(bias[head, 0, key]) if isinstance(bias, Tensor) else bias


def _side_of(target: ScoreTarget) -> Side:
    return "query" if target.side == "query" else "key"


def _other(side: Side) -> Side:
    return "key" if side == "query" else "query"


def score_scale(frozen: Frozen, layer: int, product: Tensor) -> float:
    """Return what q · k is multiplied by.

    The layer's scale and, with a softcap, capped score over score, 1 at 0.
    """
    spec = frozen.model.spec
    raw = product.double() * spec.attention_scale[layer]
    ratio = softcap(raw, spec.attention_softcap) / raw if raw != 0 else 1.0
    return float(ratio * spec.attention_scale[layer])


def checked(frozen: Linearised, layer: int, head: int, query: int, key: int) -> tuple[int, int]:
    """Return (query, key) counted from the start.

    Raises `UsageError` for a layer, head or position that does not exist.
    """
    check_linearised(frozen)
    frozen.model.weights.b_Q(layer, head)
    query, key = frozen.position(query), frozen.position(key)
    window = frozen.model.spec.windows[layer]
    if key > query or (window is not None and key <= query - window):
        raise UsageError(f"L{layer}H{head} cannot look from position {query} to {key}: it is causal or windowed.")
    return query, key


def score_name(frozen: Linearised, layer: int, head: int, query: int, key: int) -> str:
    """Return the display name of an attention score.

    For example "score of L23H4 from ' of' to 'iffel'".
    """
    return f"score of L{layer}H{head} from {frozen.labels[query]!r} to {frozen.labels[key]!r}"
