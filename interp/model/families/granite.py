"""Granite: Llama with multipliers of embeddings, scores, writes and logits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from interp.model.families import llama
from interp.model.families.base import Layer, Parts, RawNorm
from interp.model.spec import Spec

MODEL_TYPES = ("granite",)


def spec(hf: Any) -> Spec:
    """Return the facts of a Granite model.

    The multiplier of scores is its `attention_scale`.
    """
    return replace(llama.spec(hf), embedding_scale=float(hf.config.embedding_multiplier))


def parts(hf: Any) -> Parts:
    """Return the modules and outer weights of a Granite model.

    The multiplier of logits is in the final gain.
    """
    result = llama.parts(hf)
    return replace(
        result,
        ln_final=RawNorm(result.ln_final.gain / hf.config.logits_scaling),
        write_scale=float(hf.config.residual_multiplier),
        embed_scale=float(hf.config.embedding_multiplier),
    )


def layer(hf: Any, index: int) -> Layer:
    """Return the parameters of block `index`.

    The multiplier of what it adds is in its output weights.
    """
    result, scale = llama.layer(hf, index), hf.config.residual_multiplier
    return replace(
        result,
        W_O=result.W_O * scale,
        b_O=None if result.b_O is None else result.b_O * scale,
        W_out=result.W_out * scale,
        b_out=None if result.b_out is None else result.b_out * scale,
    )
