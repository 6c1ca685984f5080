"""Query-key map of a head, with norms, biases and rotation (arXiv 2104.09864).

For a query token with residual x at position i and a key token with residual y at position j ≤ i,

    query = (x / s(x) W_Q + b_Q) · g_Q / s_Q        key = (y / s(y) W_K + b_K) · g_K / s_K
    score = softcap(scale · ⟨R(i − j) query, key⟩)

with s the scale of the norm before the head, R the rotation (the identity without rotary positions), and g and s_Q, s_K
gain and scale of query/key norms (1 without). Gains, norm biases and centring are folded in as in `Model.weights`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from interp.circuits.factors import LowRank, positive_share, signature, working
from interp.errors import UnsupportedModelError, UsageError, require, whole
from interp.model import Model
from interp.model.arithmetic import attention_pattern, distance_bias, norm_scale, rotate, softcap, visible
from interp.model.families.base import head_gain
from interp.model.spec import Rotary, Spec
from interp.model.weights import Attention

POSITIONS = ("rotary", "learned", "alibi", "none")
"""Position schemes whose scores are written out here. Learned positions are in the residual stream."""


@dataclass(frozen=True)
class QueryKey:
    """Query-key map of one head.

    Made by `qk`; inputs `x` are residual streams as they enter the block.

    The weights' preceding norm is folded in; `query_gain` and `key_gain` are those of query/key norms, None without.
    `sink` is the score of a sink that no value belongs to (gpt-oss), None without: patterns then sum to less than one.

    >>> head = circuits.qk(model, layer=1, head=0)
    >>> head.signature, head.symmetric_fraction
    ((8, 8), 0.595)
    """

    layer: int
    head: int
    spec: Spec
    W_Q: Float[Tensor, "d_model d_head"]
    W_K: Float[Tensor, "d_model d_head"]
    b_Q: Float[Tensor, " d_head"]
    b_K: Float[Tensor, " d_head"]
    query_gain: Float[Tensor, " d_head"] | None
    key_gain: Float[Tensor, " d_head"] | None
    all_heads: Attention | None = None
    """All heads of the layer, folded, where the norm of queries and keys is over all at once."""
    sink: Float[Tensor, " 1"] | None = None
    n_token: int = 1

    @property
    def rotary(self) -> Rotary | None:
        """Rotation of the head's queries and keys.

        None where its layer does not rotate.
        """
        return self.spec.rotaries[self.layer]

    @property
    def slope(self) -> float:
        """Decrease of the score for each token of distance (ALiBi).

        0 without ALiBi.
        """
        return 0.0 if self.spec.alibi is None else self.spec.alibi.slopes[self.head]

    @property
    def scale(self) -> float:
        """What multiplies the bilinear form, usually 1/sqrt(d_head)."""
        return self.spec.attention_scale[self.layer]

    def factors(self, offset: int = 0) -> LowRank:
        """Return `matrix(offset)` as two (d_model, d_head) factors.

        >>> head.factors(offset=2).left.shape
        torch.Size([24, 8])
        """
        left, right = _gained(self.W_Q, self.query_gain), _gained(self.W_K, self.key_gain)
        return LowRank(self.turn(left, offset), self.turn(right, 0))

    def matrix(self, offset: int = 0) -> Float[Tensor, "d_model d_model"]:
        """Return W_Q g_Q R(offset) g_K W_Kᵀ, queries on the left.

        `scale` and the norms' scales multiply it. `offset` is how many tokens the key stands before the query; 0 leaves
        the rotation out.

        >>> head.matrix(offset=2).shape
        torch.Size([24, 24])
        """
        return self.factors(offset).matrix

    @property
    def spectrum(self) -> Float[Tensor, " two_d_head"]:
        """Eigenvalues of the symmetric part of `matrix(0)`, largest first.

        At most 2·d_head of them are not zero.
        """
        return self.factors().symmetric_eigenvalues()

    @property
    def signature(self) -> tuple[int, int]:
        """Numbers of positive and negative eigenvalues in `spectrum`.

        Values that rounding could have made count as zero.
        """
        return signature(self.spectrum)

    @property
    def symmetric_fraction(self) -> float:
        """‖symmetric part‖² / ‖matrix(0)‖²; ½ for random weights.

        See `circuits.definiteness` for the null.
        """
        return self.factors().symmetric_fraction()

    @property
    def positive_share(self) -> float:
        """Share of positive eigenvalues in the sum of magnitudes.

        The eigenvalues are those of the symmetric part; the share is 1 if it is semidefinite.
        """
        return positive_share(self.spectrum)

    def split(self, offset: int = 0) -> tuple[LowRank, LowRank]:
        """Return the symmetric and the antisymmetric part of `matrix(offset)`.

        `.form(x, y)` of each part is its score. The scores are before `scale` and of normalised inputs; the two parts'
        sum to those of `factors(offset)`.

        >>> symmetric, antisymmetric = head.split()
        >>> symmetric.energy() / head.factors().energy()
        0.595
        """
        return self.factors(offset).split()

    def project(
        self, x: Float[Tensor, "*batch d_model"]
    ) -> tuple[Float[Tensor, "*batch d_head"], Float[Tensor, "*batch d_head"]]:
        """Return (queries, keys) of residual streams, normalised, not yet rotated.

        >>> queries, keys = head.project(torch.ones(4, model.spec.d_model))
        >>> queries.shape, keys.shape
        (torch.Size([4, 8]), torch.Size([4, 8]))
        """
        x = self.normalised(x)
        sides = []
        for side, weight, bias, gain in (
            ("query", self.W_Q, self.b_Q, self.query_gain),
            ("key", self.W_K, self.b_K, self.key_gain),
        ):
            projected = x @ weight + bias
            sides.append(projected if gain is None else projected / self.norm_scale(side, x, projected) * gain)
        return sides[0], sides[1]

    def norm_scale(
        self, side: str, x: Float[Tensor, "*batch d_model"], projected: Float[Tensor, "*batch d_head"]
    ) -> Float[Tensor, "*batch 1"]:
        """Return what the norm of queries ("query") or keys divides by.

        `projected` is this head's, of a normalised x.

        Args:
            side: "query" or "key".
            x: normalised residual streams.
            projected: the head's queries or keys of `x`.

        Returns:
            (*batch, 1) scales.

        >>> x = torch.ones(4, model.spec.d_model)
        >>> head.norm_scale("query", x, x @ head.W_Q.to(x)).shape
        torch.Size([4, 1])
        """
        if self.all_heads is None:
            return norm_scale(projected, "rms", self.spec.norm_eps)
        w = self.all_heads
        weight, bias = (w.W_Q, w.b_Q) if side == "query" else (w.W_K, w.b_K)
        every = x @ weight.transpose(0, 1).flatten(1).to(x) + bias.flatten().to(x)
        return norm_scale(every, "rms", self.spec.norm_eps)

    def by_distance(self, n_token: int, like: Tensor) -> Float[Tensor, "query key"] | float:
        """Return the bias by distance that ALiBi adds to the scores.

        It is (query, key) for a text of `n_token` tokens, and 0 without ALiBi.

        >>> head.by_distance(4, torch.zeros(1))  # this model has no ALiBi
        0.0
        """
        bias = distance_bias(self.spec.alibi, n_token, 0, like)
        return bias[self.head] if isinstance(bias, Tensor) else bias

    def scores(
        self, x_q: Float[Tensor, "*batch d_model"], x_k: Float[Tensor, "*batch d_model"], offset: int
    ) -> Float[Tensor, "*batch"]:
        """Return the score of each pair of residual streams.

        Args:
            x_q: residual streams of the queries.
            x_k: residual streams of the keys.
            offset: how many tokens the key stands before the query.

        Returns:
            (*batch) scores, softcap included.

        >>> x = torch.ones(4, model.spec.d_model)
        >>> head.scores(x, x, offset=1).shape
        torch.Size([4])
        """
        query, key = self.project(x_q)[0], self.project(x_k)[1]
        form = (self.turn(query, offset) * self.turn(key, 0)).sum(-1)
        return softcap(form * self.scale, self.spec.attention_softcap) - self.slope * offset

    def attention_scores(self, x: Float[Tensor, "*batch n_token d_model"]) -> Float[Tensor, "*batch query key"]:
        """Return the scores of every query with every key of a text.

        The residual stream of the text enters the block as `x`. The softcap is applied, the causal mask is not: entries
        with key > query are what the model would compute and then hides.

        >>> head.attention_scores(torch.ones(4, model.spec.d_model)).shape
        torch.Size([4, 4])
        """
        query, key = self.project(x)
        positions = torch.arange(x.shape[-2], device=x.device)
        query, key = (rotate(each, self.rotary, positions, len(positions)) for each in (query, key))
        scores = softcap(query @ key.transpose(-1, -2) * self.scale, self.spec.attention_softcap)
        return scores + self.by_distance(x.shape[-2], x)

    def pattern(self, x: Float[Tensor, "*batch n_token d_model"]) -> Float[Tensor, "*batch query key"]:
        """Return the softmax of `attention_scores` over the keys each query may see.

        >>> _, activations = model.run_with_cache(tokens, "blocks.1.hook_resid_pre")
        >>> head.pattern(activations["blocks.1.hook_resid_pre"][0])
        tensor([[1.000, 0.000, 0.000, 0.000],
                [0.940, 0.060, 0.000, 0.000],
                [0.330, 0.646, 0.024, 0.000],
                [0.005, 0.985, 0.008, 0.003]])
        """
        return self.softmax(self.attention_scores(x))

    def softmax(self, scores: Float[Tensor, "*batch query key"]) -> Float[Tensor, "*batch query key"]:
        """Return the softmax of given scores over visible keys and any sink.

        >>> head.softmax(torch.zeros(3, 3))
        tensor([[1.000, 0.000, 0.000],
                [0.500, 0.500, 0.000],
                [0.333, 0.333, 0.333]])
        """
        mask = visible(scores.shape[-1], self.spec.windows[self.layer], scores.device)
        return attention_pattern(scores[..., None, :, :], mask, self.sink)[..., 0, :, :]

    def normalised(self, x: Float[Tensor, "*batch d_model"]) -> Float[Tensor, "*batch d_model"]:
        """Return x divided by the scale of the norm before the head.

        >>> head.normalised(2 * torch.ones(model.spec.d_model))[:2]
        tensor([1.000, 1.000])
        """
        if x.shape[-1] != self.spec.d_model:
            raise UsageError(
                f"Residual streams have {self.spec.d_model} coordinates, these have {x.shape[-1]}: "
                f'give cache["blocks.{self.layer}.hook_resid_pre"].'
            )
        x = x.to(self.W_Q.dtype)
        return x / norm_scale(x, self.spec.block_norm, self.spec.norm_eps)

    def turn(self, rows: Float[Tensor, "*batch d_head"], offset: int) -> Float[Tensor, "*batch d_head"]:
        """Apply the rotation R(offset) to the last axis.

        Yarn's factor is applied too, hence also for offset 0. Angles are formed in float32, as the model forms them,
        which limits agreement to about 1e-7 in float64 too.

        >>> head.turn(torch.ones(8), offset=1)
        tensor([-0.301,  0.895,  0.990,  0.999,  1.382,  1.095,  1.010,  1.001])
        """
        return rotate(rows, self.rotary, offset, self.n_token)


def qk(model: Model, layer: int, head: int, *, n_token: int = 1) -> QueryKey:
    """Return the query-key map of one head.

    Where queries share keys, `head` is the query head.

    Args:
        model: the model.
        layer: the layer.
        head: the head.
        n_token: the length of the texts it is asked about, which matters to rotations that depend on it (see
            `interp.model.Rotary`); `attention_scores` and `pattern` go by the text they are given.

    Returns:
        The map.

    >>> circuits.qk(model, 1, 0).signature
    (8, 8)
    """
    require(model, Model, "model")
    require_positions(model.spec)
    w = model.weights
    raw = w.raw(layer)
    at = ((raw.query_gain, head), (raw.key_gain, head // model.spec.kv_group))
    gains = (None if gain is None else working(head_gain(gain, index)) for gain, index in at)
    parts = (w.W_Q(layer, head), w.W_K(layer, head), w.b_Q(layer, head), w.b_K(layer, head))
    every = w.attention(layer) if model.spec.joint_query_key_norm else None
    length = whole(n_token, "n_token", 1)
    sink = None if raw.sinks is None else working(raw.sinks.detach()[head, None])
    return QueryKey(layer, head, model.spec, *map(working, parts), *gains, all_heads=every, sink=sink, n_token=length)


def require_positions(spec: Spec) -> None:
    """Raise `UnsupportedModelError` for positions that no formula here covers.

    The scheme is named, such as ALiBi.
    """
    if spec.positional not in POSITIONS:
        raise UnsupportedModelError(
            f'{spec.family}: positions of kind "{spec.positional}" are not in the query-key formula; '
            f"supported: {', '.join(POSITIONS)}."
        )


def _gained(weight: Tensor, gain: Tensor | None) -> Tensor:
    return weight if gain is None else weight * gain
