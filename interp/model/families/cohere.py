"""Cohere and Cohere-2: parallel blocks, LayerNorm without bias, scaled logits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from interp.model.families import llama
from interp.model.families.base import Layer, Parts, RawNorm
from interp.model.spec import Spec

MODEL_TYPES = ("cohere", "cohere2")


def spec(hf: Any) -> Spec:
    """Return the facts of a Cohere model.

    In Cohere-2 only the layers with a window rotate.
    """
    result = llama.spec(hf)
    everywhere = hf.config.model_type == "cohere"
    turns = (
        replace(rotary, adjacent=True) if rotary is not None and (everywhere or window is not None) else None
        for rotary, window in zip(result.rotaries, result.windows, strict=True)
    )
    return replace(result, rotaries=tuple(turns))


def parts(hf: Any) -> Parts:
    """Return the modules and outer weights of a Cohere model.

    The scale of logits is in the final gain.
    """
    result, scale = llama.parts(hf), hf.config.logit_scale
    gain, bias = result.ln_final.gain, result.ln_final.bias
    return replace(result, ln_final=RawNorm(gain * scale, None if bias is None else bias * scale))


def layer(hf: Any, index: int) -> Layer:
    """Return the parameters of block `index`."""
    return llama.layer(hf, index)
