"""Cohere and Cohere-2: parallel blocks, LayerNorm without bias, pairs that turn lying side by side, scaled logits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from interp.model.families import llama
from interp.model.families.base import Layer, Parts, RawNorm
from interp.model.spec import Spec

MODEL_TYPES = ("cohere", "cohere2")


def spec(hf: Any) -> Spec:
    """The facts of a Cohere; in Cohere-2 only the layers with a window rotate."""
    found = llama.spec(hf)
    everywhere = hf.config.model_type == "cohere"
    turns = (
        replace(rotary, adjacent=True) if rotary is not None and (everywhere or window is not None) else None
        for rotary, window in zip(found.rotaries, found.windows, strict=True)
    )
    return replace(found, rotaries=tuple(turns))


def parts(hf: Any) -> Parts:
    """The modules and outer weights; the logits' scale is in the final norm's gain."""
    found, scale = llama.parts(hf), hf.config.logit_scale
    gain, bias = found.ln_final.gain, found.ln_final.bias
    return replace(found, ln_final=RawNorm(gain * scale, None if bias is None else bias * scale))


def layer(hf: Any, index: int) -> Layer:
    """The parameters of block `index`."""
    return llama.layer(hf, index)
