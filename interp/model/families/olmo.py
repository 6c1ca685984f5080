"""OLMo-2 and OLMo-3: norms after attention and MLP, and of queries and keys over all heads."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from interp.model.families import llama
from interp.model.families.base import Layer, Parts, joint_gain
from interp.model.spec import Spec

MODEL_TYPES = ("olmo2", "olmo3")


def spec(hf: Any) -> Spec:
    """Return the facts of an OLMo-2 or -3."""
    return replace(llama.spec(hf), joint_query_key_norm=True)


def parts(hf: Any) -> Parts:
    """Return the modules and outer weights of an OLMo-2 or -3."""
    return llama.parts(hf)


def layer(hf: Any, index: int) -> Layer:
    """Return the parameters of block `index`."""
    result, attention = llama.layer(hf, index), hf.model.layers[index].self_attn
    return replace(
        result,
        query_gain=joint_gain(attention.q_norm, hf.config.num_attention_heads),
        key_gain=joint_gain(attention.k_norm, hf.config.num_key_value_heads),
    )
