"""Vectors read as tokens: through the unembedding what they promote, through the embedding what they resemble."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from interp.circuits.factors import working
from interp.circuits.readings import TopTokens
from interp.errors import UsageError
from interp.model import Model


def names(model: Model, ids: Sequence[int]) -> tuple[str, ...]:
    """The text of each token, or its number where the model has no tokenizer."""
    if not model.has_tokenizer:
        return tuple(map(str, ids))
    return tuple(model.to_str_tokens(torch.tensor(list(ids), dtype=torch.long)))


def token_id(model: Model, token: str | int) -> int:
    """The id of a text of exactly one token, or the id itself; `UsageError` if there is no such token."""
    if isinstance(token, str):
        return model.to_single_token(token)
    if not 0 <= token < model.spec.d_vocab:
        raise UsageError(f"Token {token} does not exist: the vocabulary has ids 0 to {model.spec.d_vocab - 1}.")
    return token


def top_tokens(model: Model, vector: Float[Tensor, " d_model"], source: str, k: int = 10) -> TopTokens:
    """The k tokens whose logits `vector` raises and lowers most, added to the last residual stream."""
    W_U = working(model.weights.W_U)
    return ranked(model, vector.to(W_U) @ W_U, source, k)


def ranked(model: Model, values: Float[Tensor, " d_vocab"], source: str, k: int) -> TopTokens:
    """The k largest and the k smallest of a number for each token. Raises `UsageError` for k outside 1 to d_vocab."""
    if not 1 <= k <= len(values):
        raise UsageError(f"k={k} tokens were asked for; there are 1 to {len(values)}.")
    high, low = values.topk(k), (-values).topk(k)
    return TopTokens(
        source=source,
        promoted=names(model, high.indices.tolist()),
        promoted_values=tuple(high.values.tolist()),
        suppressed=names(model, low.indices.tolist()),
        suppressed_values=tuple((-low.values).tolist()),
    )
