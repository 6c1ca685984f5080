"""The residual streams that the studies of embedding space look at."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.circuits.factors import working
from interp.circuits.texts import natural
from interp.model import Model


def texts(model: Model, tokens: Tensor | None) -> Int[Tensor, "batch n_token"]:
    """Return the given tokens, checked, or default texts.

    By default prose, or random tokens where the model has no tokenizer.
    """
    if tokens is not None:
        return model.check_tokens(tokens)
    prose = natural(model)
    if prose is not None:
        return prose
    shape = (8, min(24, model.spec.n_ctx))
    drawn = torch.randint(0, model.spec.d_vocab, shape, generator=torch.Generator().manual_seed(0))
    return drawn.to(model.device)


def streams(model: Model, tokens: Int[Tensor, "batch n_token"]) -> Float[Tensor, "row n_position d_model"]:
    """Return the streams that enter the first block and leave each block.

    The positions of all texts are in one row.
    """
    hooks = ["blocks.0.hook_resid_pre", *(f"blocks.{i}.hook_resid_post" for i in range(model.spec.n_layer))]
    _, cache = model.run_with_cache(tokens, hooks)
    return torch.stack([working(cache[hook]).flatten(0, 1) for hook in hooks])
