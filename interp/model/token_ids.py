"""Token ids and attention masks that a caller gives, checked."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from interp.errors import UsageError

TYPES = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)
"""Dtypes of token ids."""


def checked_id(token: Any, d_vocab: int) -> int:
    """Return one token id as an integer, checked."""
    index: Any = token
    if isinstance(token, np.generic) or (isinstance(token, Tensor) and token.numel() == 1):
        index = token.item()
    if isinstance(index, bool) or not isinstance(index, int):
        raise UsageError(f"A token is given by its text or its id, not by {kind(token)}.")
    if not 0 <= index < d_vocab:
        raise UsageError(f"Token id {index} does not exist: ids run from 0 to {d_vocab - 1}.")
    return index


def checked_row(given: Any, d_vocab: int) -> Int[Tensor, " n_token"]:
    """Return one row of token ids as a tensor, checked."""
    ids = torch.as_tensor(given) if isinstance(given, Tensor | np.ndarray) else given
    if not isinstance(ids, Tensor) or ids.dtype not in TYPES:
        raise UsageError(f"Give a text, or one row of token ids in a tensor, not {kind(ids)}.")
    check_vocabulary(ids, d_vocab)
    return ids


def checked_batch(tokens: Any, n_ctx: int, d_vocab: int, name: str) -> Int[Tensor, "batch n_token"]:
    """Return token ids with a batch axis, checked against the context and vocabulary of the model of this name."""
    if not isinstance(tokens, Tensor) or tokens.dtype not in TYPES:
        raise UsageError(f"Tokens must be a tensor of integer ids, not {kind(tokens)}: use model.to_tokens(text).")
    tokens = tokens[None] if tokens.ndim == 1 else tokens
    if tokens.ndim != 2 or tokens.numel() == 0:
        raise UsageError(f"Tokens must be (batch, n_token) with at least one token, not {tuple(tokens.shape)}.")
    if tokens.shape[1] > n_ctx:
        raise UsageError(f"The input has {tokens.shape[1]} tokens, but {name} reads at most {n_ctx}: shorten it.")
    check_vocabulary(tokens, d_vocab)
    return tokens


def check_vocabulary(ids: Tensor, d_vocab: int) -> None:
    """Raise `UsageError` for an id that is not from 0 to d_vocab − 1."""
    low, high = (int(ids.min()), int(ids.max())) if ids.numel() else (0, 0)
    if low < 0 or high >= d_vocab:
        raise UsageError(f"Token ids must lie in 0..{d_vocab - 1}, but these run from {low} to {high}.")


def checked_mask(tokens: Tensor, mask: Tensor | None) -> Tensor | None:
    """Return the mask on the tokens' device, checked.

    Raises `UsageError` for another shape, or padding that is not on the right.
    """
    if mask is None:
        return None
    if not isinstance(mask, Tensor):
        raise UsageError(f"The attention mask must be a tensor of zeros and ones, not {kind(mask)}.")
    if mask.shape != tokens.shape:
        raise UsageError(f"The attention mask is {tuple(mask.shape)}, but the tokens are {tuple(tokens.shape)}.")
    mask = (mask != 0).to(tokens.device, torch.long)
    if (mask.diff(dim=1) > 0).any() or not mask[:, 0].all():
        raise UsageError("Padding must be on the right: each row of the attention mask is ones, then zeros.")
    return mask


def kind(value: object) -> str:
    """Return the dtype of a tensor, or the type of anything else, for a message."""
    return str(value.dtype) if isinstance(value, Tensor) else type(value).__name__
