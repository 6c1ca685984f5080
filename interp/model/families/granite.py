"""Granite: Llama with multipliers of the embeddings, of the scores, of what each block adds, and of the logits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from interp.model.families import llama
from interp.model.families.base import Layer, Parts, RawNorm
from interp.model.spec import Spec

MODEL_TYPES = ("granite",)


def spec(hf: Any) -> Spec:
    """The facts of a Granite; the scores' multiplier is its `attention_scale`."""
    return replace(llama.spec(hf), embedding_scale=float(hf.config.embedding_multiplier))


def parts(hf: Any) -> Parts:
    """The modules and outer weights; the logits' multiplier is in the final norm's gain."""
    found = llama.parts(hf)
    return replace(
        found,
        ln_final=RawNorm(found.ln_final.gain / hf.config.logits_scaling),
        write_scale=float(hf.config.residual_multiplier),
        embed_scale=float(hf.config.embedding_multiplier),
    )


def layer(hf: Any, index: int) -> Layer:
    """The parameters of block `index`; the multiplier of what it adds is in its output weights."""
    found, scale = llama.layer(hf, index), hf.config.residual_multiplier
    return replace(
        found,
        W_O=found.W_O * scale,
        b_O=None if found.b_O is None else found.b_O * scale,
        W_out=found.W_out * scale,
        b_out=None if found.b_out is None else found.b_out * scale,
    )
