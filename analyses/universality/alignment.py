"""Positions shared by two tokenisations of one text, and activations there.

At such a position both have read the same characters.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.errors import UsageError
from interp.model import Model


def aligned(first: Model, second: Model, text: str) -> list[tuple[int, int]]:
    """Return positions of tokens that end at the same character.

    Each is a pair (in the first, in the second). At such a position both causal models have read the same text,
    however it is cut into tokens.

    >>> aligned(model, model, "the tower is")
    [(1, 1), (2, 2)]
    """
    ends = [{end: at for at, end in enumerate(_ends(model, text))} for model in (first, second)]
    shared = sorted(set(ends[0]) & set(ends[1]) - {0})
    return [(ends[0][end], ends[1][end]) for end in shared if ends[0][end] > 0 and ends[1][end] > 0]


def _ends(model: Model, text: str) -> list[int]:
    """Return the number of characters read after each token.

    A token that adds no characters leaves the number as before it: 0 at the start of the text.
    """
    ends, read = [], 0
    for piece in model.to_str_tokens(text):
        read += len(piece) if text.startswith(piece, read) else 0
        ends.append(read)
    if read != len(text):
        raise UsageError(f"The tokens of {model.name} do not spell the text {text[:40]!r}: give plain ASCII text.")
    return ends


@torch.no_grad()
def activations(
    model: Model, tokens: Int[Tensor, "1 n_token"], positions: list[int], hooks: list[str]
) -> list[Float[Tensor, "n d"]]:
    """Return each hook's value at some positions of a text, in float64.

    >>> activations(model, tokens, [1, 3], ["blocks.0.hook_resid_post"])[0].shape
    torch.Size([2, 24])
    """
    _, cache = model.run_with_cache(tokens, hooks)
    return [cache[hook][0, positions].double().cpu() for hook in hooks]
