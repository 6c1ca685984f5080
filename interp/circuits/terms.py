"""One score taken apart: contents and biases, frequencies of the rotation, and the part that depends on distance."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from interp.circuits.query_key import QueryKey
from interp.errors import UsageError, require
from interp.model.arithmetic import frequencies, pairs
from interp.model.spec import Rotary

TERMS = ("content-content", "content-bias", "bias-content", "bias-bias")
"""Query side first: "content-bias" is what the query's content makes of the key's bias."""


def score_terms(
    head: QueryKey, x_q: Float[Tensor, "*batch d_model"], x_k: Float[Tensor, "*batch d_model"], offset: int
) -> Float[Tensor, "*batch 4"]:
    """Split the score into four products of content and bias.

    It is the score before the softcap; the products are in the order of `TERMS`.

    Scales of query/key norms are fixed at their values. The four sum to the score; what ALiBi takes off for the
    distance is in the last.

    Args:
        head: the query-key map.
        x_q: residual streams of the queries.
        x_k: residual streams of the keys.
        offset: how many tokens the key stands before the query.

    Returns:
        (*batch, 4), in the order of `TERMS`.

    >>> x = torch.ones(model.spec.d_model)
    >>> terms = score_terms(circuits.qk(model, 1, 0), x, x, offset=1)
    >>> terms, terms.sum()
    (tensor([-2.134, -0.195, -0.048,  0.058]), tensor(-2.318))
    """
    require(head, QueryKey, "head")
    queries = _content_and_bias(head, "query", x_q, head.W_Q, head.b_Q, head.query_gain)
    keys = _content_and_bias(head, "key", x_k, head.W_K, head.b_K, head.key_gain)
    turned = [head.turn(query, offset) for query in queries]
    still = [head.turn(key, 0) for key in keys]
    terms = torch.stack([(query * key).sum(-1) for query in turned for key in still], dim=-1) * head.scale
    terms[..., -1] -= head.slope * offset
    return terms


@dataclass(frozen=True)
class FrequencyTerms:
    """A score before its softcap as a function of the offset Δ.

    score(Δ) = Σ_f cosine_f cos(Δ ω_f) + sine_f sin(Δ ω_f) + unrotated.
    """

    frequencies: Float[Tensor, " n_pair"]
    cosine: Float[Tensor, "*batch n_pair"]
    sine: Float[Tensor, "*batch n_pair"]
    unrotated: Float[Tensor, "*batch"]

    def at(self, offsets: Float[Tensor, " n_offset"]) -> Float[Tensor, "*batch n_offset"]:
        """Return the score at each offset."""
        angles = offsets.to(self.frequencies)[:, None] * self.frequencies
        return self.cosine @ angles.cos().T + self.sine @ angles.sin().T + self.unrotated[..., None]


def frequency_terms(
    head: QueryKey, x_q: Float[Tensor, "*batch d_model"], x_k: Float[Tensor, "*batch d_model"]
) -> FrequencyTerms:
    """Return the score's amplitudes for each rotating pair.

    Each pair of residual streams has one cosine and one sine amplitude for each rotating pair.

    Args:
        head: the query-key map.
        x_q: residual streams of the queries.
        x_k: residual streams of the keys.

    Returns:
        The amplitudes; `.at(offsets)` is the score at each offset.

    Raises:
        UsageError: a model without rotary positions, whose scores do not depend on the offset.

    >>> x = torch.ones(model.spec.d_model)
    >>> frequency_terms(circuits.qk(model, 1, 0), x, x).at(torch.tensor([0.0, 1.0, 2.0]))
    tensor([-2.533, -2.318, -1.972])
    """
    require(head, QueryKey, "head")
    return _frequency_terms(head, head.project(x_q)[0], head.project(x_k)[1])


def positional_profile(
    head: QueryKey, x: Float[Tensor, "n d_model"], offsets: Float[Tensor, " n_offset"]
) -> Float[Tensor, " n_offset"]:
    """Compute the mean score of a head by offset.

    The mean, before any softcap, is over all n² pairs of the residual streams `x`, by the offset between them.

    Being bilinear, it is the score of the mean query with the mean key: what the head prefers about distance whatever
    the tokens are. Without rotary positions or ALiBi it is constant.

    Args:
        head: the query-key map.
        x: residual streams.
        offsets: numbers of tokens between key and query.

    Returns:
        The mean score at each offset.

    >>> _, activations = model.run_with_cache(tokens, "blocks.1.hook_resid_pre")
    >>> x = activations["blocks.1.hook_resid_pre"][0]
    >>> positional_profile(circuits.qk(model, 1, 0), x, torch.tensor([0.0, 1.0, 2.0]))
    tensor([-0.697,  1.813,  2.374])
    """
    require(head, QueryKey, "head")
    query, key = (each.reshape(-1, each.shape[-1]).mean(0) for each in head.project(x))
    if head.rotary is None:
        return (query * key).sum() * head.scale - head.slope * offsets.to(query)
    return _frequency_terms(head, query, key).at(offsets)


def frequency_energy(head: QueryKey) -> Float[Tensor, " n_pair"]:
    """Return how much of the map each rotating pair carries.

    The energy is ‖cosine matrix‖² + ‖sine matrix‖², of the weights alone. With a₁, a₂ and b₁, b₂ the pair's columns of
    the two factors it is (‖a₁‖² + ‖a₂‖²)(‖b₁‖² + ‖b₂‖²). Raises `UsageError` for a model without rotary positions.

    >>> frequency_energy(circuits.qk(model, 1, 0))
    tensor([22.331, 23.861, 24.151, 32.861])
    """
    require(head, QueryKey, "head")
    rotary = _rotary(head)
    factors = head.factors()
    (a1, a2), (b1, b2) = (pairs(each.square().sum(0), rotary) for each in (factors.left, factors.right))
    return (a1 + a2) * (b1 + b2)


def _rotary(head: QueryKey) -> Rotary:
    if head.rotary is None:
        layer = "" if head.spec.rotary is None else f" in layer {head.layer}"
        raise UsageError(f"{head.spec.family} has no rotary positions{layer}: its scores have no frequencies.")
    return head.rotary


def _frequency_terms(head: QueryKey, query: Tensor, key: Tensor) -> FrequencyTerms:
    rotary = _rotary(head)
    (q1, q2), (k1, k2) = (pairs(each, rotary) for each in (query, key))
    unrotated = (query[..., rotary.dim :] * key[..., rotary.dim :]).sum(-1)
    weight = head.scale * rotary.factor**2
    turns = frequencies(rotary, head.n_token, query.device).to(query.dtype)
    return FrequencyTerms(turns, weight * (q1 * k1 + q2 * k2), weight * (q1 * k2 - q2 * k1), head.scale * unrotated)


def _content_and_bias(
    head: QueryKey, side: str, x: Tensor, weight: Tensor, bias: Tensor, gain: Tensor | None
) -> tuple[Tensor, Tensor]:
    x = head.normalised(x)
    content = x @ weight
    if gain is None:
        return content, bias.expand_as(content)
    factor = gain / head.norm_scale(side, x, content + bias)
    return content * factor, bias * factor
