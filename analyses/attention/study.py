"""Read the patterns of heads that a user names."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from analyses.attention.result import Patterns
from interp.errors import UsageError
from interp.model import Model
from interp.provenance import Stopwatch

NAME = re.compile(r"L(\d+)H(\d+)")


def run(model: Model, prompts: Sequence[str], heads: Sequence[str], *, command: str | None = None) -> Patterns:
    """Compute the attention of heads such as "L23H4" on every prompt.

    Args:
        model: model whose attention is read.
        prompts: texts.
        heads: names of heads, with zero-based numbers of layer and head.
        command: the command that the user typed, for the provenance.

    Returns:
        `Patterns` with an array (n_head, n_token, n_token) for each prompt, queries by keys.

    Raises:
        UsageError: there is no prompt or no head, or the model lacks a head.

    Example:
        >>> from analyses import attention
        >>> study = attention.run(model, ["the tower is in"], ["L1H0"])
        >>> study.patterns[0][0, -1].astype(float).round(2).tolist()  # the attention of the last token
        [0.0, 0.98, 0.01, 0.0]
    """
    watch = Stopwatch()
    if isinstance(prompts, str) or not prompts or isinstance(heads, str) or not heads:
        raise UsageError("Give a list of prompts and a list of heads, at least one of each.")
    places = [_place(model, name) for name in heads]
    hooks = [f"blocks.{layer}.attn.hook_pattern" for layer in sorted({layer for layer, _ in places})]
    tokens, patterns = [], []
    for prompt in prompts:
        ids = model.to_tokens(prompt)
        _, cache = model.run_with_cache(ids, hooks)
        tokens.append(model.labels(ids[0]))
        chosen = [cache[f"blocks.{layer}.attn.hook_pattern"][0, head].float().cpu().numpy() for layer, head in places]
        patterns.append(np.stack(chosen))
    provenance = watch.provenance(command=command, seed=None, **model.identity())
    return Patterns(tuple(heads), tuple(tokens), tuple(patterns), provenance)


def _place(model: Model, name: str) -> tuple[int, int]:
    match = NAME.fullmatch(name)
    layer, head = (int(match[1]), int(match[2])) if match else (-1, -1)
    if not (0 <= layer < model.spec.n_layer and 0 <= head < model.spec.n_head):
        last = f"L{model.spec.n_layer - 1}H{model.spec.n_head - 1}"
        raise UsageError(f"{name!r} is not a head of this model: name heads as L0H0 to {last}.")
    return layer, head
