"""Llama and families with its module names: Mistral, Qwen, Gemma, Phi-3, StableLM, SmolLM3.

Families with the same names and another formula build on what is read here: see `cohere`, `granite`, `olmo`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from interp.errors import UnsupportedModelError
from interp.model.families.base import (
    Layer,
    Parts,
    Projection,
    RawNorm,
    activation,
    bias_heads,
    context,
    heads,
    rotaries,
)
from interp.model.spec import Spec

MODEL_TYPES = (
    "llama",
    "mistral",
    "qwen2",
    "qwen3",
    "gemma",
    "gemma2",
    "gemma3_text",
    "phi3",
    "stablelm",
    "smollm3",
)


def spec(hf: Any) -> Spec:
    """Return the facts of a Llama-like model.

    Raises `UnsupportedModelError` for features that are not implemented.
    """
    config, layers = hf.config, hf.model.layers
    attention, mlp = layers[0].self_attn, layers[0].mlp
    _check(config)
    turns = rotaries(config, hf.model.rotary_emb, attention.head_dim)
    return Spec(
        family=config.model_type,
        n_layer=config.num_hidden_layers,
        n_head=config.num_attention_heads,
        n_kv_head=config.num_key_value_heads,
        d_model=config.hidden_size,
        d_head=attention.head_dim,
        d_mlp=config.intermediate_size,
        d_vocab=hf.lm_head.out_features,
        n_ctx=context(config),
        norm="layer" if "LayerNorm" in type(hf.model.norm).__name__ else "rms",
        norm_eps=getattr(config, "rms_norm_eps", None) or config.layer_norm_eps,
        positional="rotary",
        rotaries=tuple(
            turn if getattr(block.self_attn, "use_rope", True) else None
            for turn, block in zip(turns, layers, strict=True)
        ),
        attention_scale=tuple(float(block.self_attn.scaling) for block in layers),
        windows=tuple(_window(config, block) for block in layers),
        activation=activation(config, getattr(config, "hidden_activation", None) or config.hidden_act),
        gated=True,
        parallel=_parallel(layers[0]),
        tied=hf.lm_head.weight is hf.model.embed_tokens.weight,
        query_key_norm=hasattr(attention, "q_norm"),
        pre_norms=hasattr(layers[0], "input_layernorm"),
        post_norms=hasattr(layers[0], "post_feedforward_layernorm"),
        attention_bias=_linear(attention, "q_proj", config)[1] is not None,
        output_bias=attention.o_proj.bias is not None,
        mlp_bias=mlp.down_proj.bias is not None,
        attention_softcap=getattr(config, "attn_logit_softcapping", None),
        logit_softcap=getattr(config, "final_logit_softcapping", None),
        embedding_scale=_embedding_scale(hf),
    )


def parts(hf: Any) -> Parts:
    """Return the modules and outer weights of a Llama-like model."""
    config, blocks = hf.config, tuple(hf.model.layers)
    post = hasattr(blocks[0], "post_feedforward_layernorm")
    return Parts(
        embed=hf.model.embed_tokens,
        blocks=blocks,
        projections=tuple(_projections(block.self_attn, config) for block in blocks),
        attn_output=tuple(block.self_attn.o_proj for block in blocks),
        attn_write=tuple(Projection(block.post_attention_layernorm if post else block.self_attn) for block in blocks),
        mlp_norm=tuple(block.mlp if _mlp_norm(block) is None else _mlp_norm(block) for block in blocks),
        mlp_pre=tuple(_projection(block.mlp, "gate_proj", config) for block in blocks),
        mlp_linear=tuple(_projection(block.mlp, "up_proj", config) for block in blocks),
        mlp_output=tuple(block.mlp.down_proj for block in blocks),
        mlp_write=tuple(Projection(block.post_feedforward_layernorm if post else block.mlp) for block in blocks),
        final_norm=hf.model.norm,
        W_E=hf.model.embed_tokens.weight,
        W_pos=None,
        W_U=hf.lm_head.weight,
        b_U=hf.lm_head.bias,
        ln_final=_norm(hf.model.norm),
    )


def layer(hf: Any, index: int) -> Layer:
    """Return the parameters of block `index`."""
    block, config = hf.model.layers[index], hf.config
    attention, mlp = block.self_attn, block.mlp
    n, n_kv = config.num_attention_heads, config.num_key_value_heads
    post = hasattr(block, "post_feedforward_layernorm")
    none, before_mlp = RawNorm(torch.ones_like(hf.model.norm.weight)), _mlp_norm(block)
    W_Q, b_Q = _linear(attention, "q_proj", config)
    W_K, b_K = _linear(attention, "k_proj", config)
    W_V, b_V = _linear(attention, "v_proj", config)
    W_in, b_in = _linear(mlp, "up_proj", config)
    W_gate, b_gate = _linear(mlp, "gate_proj", config)
    return Layer(
        ln1=_norm(block.input_layernorm) if hasattr(block, "input_layernorm") else none,
        W_Q=heads(W_Q, n),
        W_K=heads(W_K, n_kv),
        W_V=heads(W_V, n_kv),
        W_O=attention.o_proj.weight.T.unflatten(0, (n, -1)),
        b_Q=bias_heads(b_Q, n),
        b_K=bias_heads(b_K, n_kv),
        b_V=bias_heads(b_V, n_kv),
        b_O=attention.o_proj.bias,
        ln2=none if before_mlp is None else _norm(before_mlp),
        W_in=W_in.T,
        b_in=b_in,
        W_out=mlp.down_proj.weight.T,
        b_out=mlp.down_proj.bias,
        W_gate=W_gate.T,
        b_gate=b_gate,
        query_gain=_norm(attention.q_norm).gain if hasattr(attention, "q_norm") else None,
        key_gain=_norm(attention.k_norm).gain if hasattr(attention, "k_norm") else None,
        attn_post=_norm(block.post_attention_layernorm) if post else None,
        mlp_post=_norm(block.post_feedforward_layernorm) if post else None,
    )


def _check(config: Any) -> None:
    """Raise `UnsupportedModelError` for a feature that changes the arithmetic.

    The error names the feature.
    """
    if getattr(config, "use_bidirectional_attention", False):
        raise UnsupportedModelError(f"{config.model_type}: bidirectional attention is not supported, only causal.")
    if getattr(config, "qk_layernorm", False) or getattr(config, "use_qk_norm", False):
        raise UnsupportedModelError(f"{config.model_type}: LayerNorm of queries and keys is not supported.")


def _linear(part: Any, name: str, config: Any) -> tuple[Tensor, Tensor | None]:
    """Return (weight, bias) of a projection."""
    module, rows = _rows(part, name, config)
    if rows == slice(None):
        return module.weight, module.bias
    return module.weight[rows], None if module.bias is None else module.bias[rows]


def _rows(part: Any, name: str, config: Any) -> tuple[Any, slice]:
    """Return the module that holds a projection, and its rows there.

    They are all rows, unless Phi-3 has several projections in one.
    """
    if hasattr(part, name):
        return getattr(part, name), slice(None)
    if name in ("gate_proj", "up_proj"):
        width = config.intermediate_size
        return part.gate_up_proj, slice(0, width) if name == "gate_proj" else slice(width, 2 * width)
    query = config.num_attention_heads * part.head_dim
    key = query + config.num_key_value_heads * part.head_dim
    return part.qkv_proj, {"q_proj": slice(query), "k_proj": slice(query, key), "v_proj": slice(key, None)}[name]


def _projection(part: Any, name: str, config: Any) -> Projection:
    module, rows = _rows(part, name, config)
    return Projection(module, None if rows == slice(None) else lambda tensor: tensor[..., rows])


def _projections(attention: Any, config: Any) -> tuple[Projection, Projection, Projection]:
    result = []
    for name, n in (
        ("q_proj", config.num_attention_heads),
        ("k_proj", config.num_key_value_heads),
        ("v_proj", config.num_key_value_heads),
    ):
        module, rows = _rows(attention, name, config)
        result.append(Projection(module, lambda tensor, rows=rows, n=n: tensor[..., rows].unflatten(-1, (n, -1))))
    return result[0], result[1], result[2]


def _norm(module: Any) -> RawNorm:
    """Return the gain and bias of a norm.

    Gemma stores gain − 1, and Cohere's LayerNorm has no bias.
    """
    if "LayerNorm" in type(module).__name__:
        bias = getattr(module, "bias", None)
        return RawNorm(module.weight, torch.zeros_like(module.weight) if bias is None else bias)
    return RawNorm(1 + module.weight if type(module).__name__.startswith("Gemma") else module.weight)


def _mlp_norm(block: nn.Module) -> Any:
    """Return the norm before the MLP.

    It is attention's own in a parallel block, and None for OLMo-2.
    """
    if hasattr(block, "pre_feedforward_layernorm"):
        return block.pre_feedforward_layernorm
    if not hasattr(block, "input_layernorm"):
        return None
    return block.input_layernorm if _parallel(block) else block.post_attention_layernorm


def _parallel(block: nn.Module) -> bool:
    return getattr(block, "post_attention_layernorm", None) is None


def _embedding_scale(hf: Any) -> float:
    """Return sqrt(d_model) for Gemma, rounded as the module rounds it, else 1."""
    scale = getattr(hf.model.embed_tokens, "embed_scale", None)
    return 1.0 if scale is None else float(scale.to(hf.model.embed_tokens.weight.dtype))


def _window(config: Any, block: Any) -> int | None:
    """Return the attention window of a layer.

    Mistral and Phi-3 give one to every layer.
    """
    if config.model_type in ("mistral", "phi3"):
        return config.sliding_window
    return getattr(block.self_attn, "sliding_window", None)
