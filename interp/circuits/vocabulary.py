"""Vectors read as tokens, through the unembedding or the embedding."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from interp.circuits.factors import working
from interp.circuits.readings import TopTokens
from interp.errors import UsageError, whole
from interp.model import Model


def top_tokens(model: Model, vector: Float[Tensor, " d_model"], source: str, k: int = 10) -> TopTokens:
    """Return the k tokens whose logits `vector` raises and lowers most.

    It is added to the last residual stream.
    """
    W_U = working(model.weights.W_U)
    return ranked(model, vector.to(W_U) @ W_U, source, k)


def nearest_tokens(model: Model, vector: Float[Tensor, " d_model"], source: str, k: int = 10) -> TopTokens:
    """Return the k tokens of largest and of smallest cosine with `vector`.

    The mean unembedding is subtracted.

    A direction has no length that matters. By logits the same rare tokens lead every list, because their
    unembeddings are long or far from the mean.
    """
    W_U = working(model.weights.W_U)
    centred = W_U - W_U.mean(-1, keepdim=True)
    v = vector.to(W_U)
    cosines = v @ centred / (centred.norm(dim=0) * v.norm()).clamp_min(torch.finfo(W_U.dtype).tiny)
    return replace(ranked(model, cosines, source, k), unit="cosine")


def ranked(model: Model, values: Float[Tensor, " d_vocab"], source: str, k: int) -> TopTokens:
    """Return the tokens with the k largest and k smallest values.

    `values` has a number for each token.

    Raises `UsageError` for k outside 1 to d_vocab.
    """
    k = whole(k, "k")
    if not 1 <= k <= len(values):
        raise UsageError(f"k={k} tokens were asked for; there are 1 to {len(values)}.")
    high, low = values.topk(k), (-values).topk(k)
    return TopTokens(
        source=source,
        promoted=model.labels(high.indices),
        promoted_values=tuple(high.values.tolist()),
        suppressed=model.labels(low.indices),
        suppressed_values=tuple((-low.values).tolist()),
    )
