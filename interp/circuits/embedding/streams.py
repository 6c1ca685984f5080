"""The residual streams that the studies of embedding space look at."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.circuits.factors import working
from interp.circuits.texts import natural
from interp.model import Model
from interp.model.capture import bridge_is_hooked, run


@dataclass(frozen=True)
class Streams:
    """Residual streams of one run, and the tokens predicted there.

    The positions of all texts are in one row of `vectors`: row 0 enters the first block, row i + 1 leaves block i.

    >>> from interp.circuits import embedding
    >>> embedding.streams(model, tokens).predicted.shape
    torch.Size([4])
    """

    tokens: Int[Tensor, "batch n_token"]
    vectors: Float[Tensor, "row n_position d_model"]
    predicted: Int[Tensor, " n_position"]


@torch.no_grad()
def streams(model: Model, tokens: Tensor | Streams | None = None) -> Streams:
    """Run a model and return its residual streams and predictions.

    Args:
        model: the model.
        tokens: (batch, n_token) texts; prose by default, random tokens without a tokenizer. What this function returned
            before is returned again, so that several studies share one run.

    Returns:
        Streams of every layer, with the likeliest next token at each position.

    Raises:
        UsageError: texts that the model cannot read.

    >>> from interp.circuits import embedding
    >>> embedding.streams(model, tokens).vectors.shape
    torch.Size([4, 4, 24])
    """
    if isinstance(tokens, Streams):
        return tokens
    tokens = _texts(model) if tokens is None else model.check_tokens(tokens)
    hooks = ("blocks.0.hook_resid_pre", *(f"blocks.{i}.hook_resid_post" for i in range(model.spec.n_layer)))
    if bridge_is_hooked(model):
        logits, cache = model.run_with_cache(tokens, hooks)
    else:
        cache, logits = run(model, tokens, hooks, logits=True)
    assert logits is not None
    vectors = torch.stack([working(cache[hook]).flatten(0, 1) for hook in hooks])
    return Streams(tokens, vectors, logits.argmax(-1).flatten())


def _texts(model: Model) -> Int[Tensor, "batch n_token"]:
    """Return prose, or random tokens where the model has no tokenizer."""
    prose = natural(model)
    if prose is not None:
        return prose
    shape = (8, min(24, model.spec.n_ctx))
    drawn = torch.randint(0, model.spec.d_vocab, shape, generator=torch.Generator().manual_seed(0))
    return drawn.to(model.device)
