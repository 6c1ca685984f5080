"""Llama and the families built on its layout: Mistral, Qwen2, Qwen3, Gemma, Gemma-2, Gemma-3."""

from __future__ import annotations

from typing import Any

from torch import nn

from interp.errors import UnsupportedModelError
from interp.model.families.base import (
    Layer,
    Parts,
    Projection,
    RawNorm,
    activation,
    bias_heads,
    heads,
    rotaries,
    split_heads,
)
from interp.model.spec import Spec

MODEL_TYPES = ("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text")


def spec(hf: Any) -> Spec:
    """The facts of a Llama-like model. Raises `UnsupportedModelError` for bidirectional attention."""
    config = hf.config
    if getattr(config, "use_bidirectional_attention", False):
        raise UnsupportedModelError(f"{config.model_type}: bidirectional attention is not supported, only causal.")
    attention = hf.model.layers[0].self_attn
    mlp = hf.model.layers[0].mlp
    return Spec(
        family=config.model_type,
        n_layer=config.num_hidden_layers,
        n_head=config.num_attention_heads,
        n_kv_head=config.num_key_value_heads,
        d_model=config.hidden_size,
        d_head=attention.head_dim,
        d_mlp=config.intermediate_size,
        d_vocab=hf.lm_head.out_features,
        n_ctx=config.max_position_embeddings,
        norm="rms",
        norm_eps=config.rms_norm_eps,
        positional="rotary",
        rotaries=rotaries(config, hf.model.rotary_emb, attention.head_dim),
        attention_scale=tuple(float(block.self_attn.scaling) for block in hf.model.layers),
        windows=tuple(_window(config, block) for block in hf.model.layers),
        activation=activation(config, getattr(config, "hidden_activation", None) or config.hidden_act),
        gated=True,
        parallel=False,
        tied=hf.lm_head.weight is hf.model.embed_tokens.weight,
        query_key_norm=hasattr(attention, "q_norm"),
        post_norms=_post_norms(hf.model.layers[0]),
        attention_bias=attention.q_proj.bias is not None,
        output_bias=attention.o_proj.bias is not None,
        mlp_bias=mlp.down_proj.bias is not None,
        attention_softcap=getattr(config, "attn_logit_softcapping", None),
        logit_softcap=getattr(config, "final_logit_softcapping", None),
        embedding_scale=_embedding_scale(hf),
    )


def parts(hf: Any) -> Parts:
    """The modules and outer weights of a Llama-like model."""
    blocks = tuple(hf.model.layers)
    post = _post_norms(blocks[0])
    return Parts(
        embed=hf.model.embed_tokens,
        blocks=blocks,
        projections=tuple(_projections(block.self_attn, hf.config) for block in blocks),
        attn_output=tuple(block.self_attn.o_proj for block in blocks),
        attn_write=tuple(block.post_attention_layernorm if post else block.self_attn for block in blocks),
        mlp_norm=tuple(block.pre_feedforward_layernorm if post else block.post_attention_layernorm for block in blocks),
        mlp_pre=tuple(block.mlp.gate_proj for block in blocks),
        mlp_linear=tuple(block.mlp.up_proj for block in blocks),
        mlp_output=tuple(block.mlp.down_proj for block in blocks),
        mlp_write=tuple(block.post_feedforward_layernorm if post else block.mlp for block in blocks),
        final_norm=hf.model.norm,
        rms_norms=tuple(module for module in hf.modules() if type(module).__name__.endswith("RMSNorm")),
        W_E=hf.model.embed_tokens.weight,
        W_pos=None,
        W_U=hf.lm_head.weight,
        b_U=hf.lm_head.bias,
        ln_final=_norm(hf.model.norm),
    )


def layer(hf: Any, index: int) -> Layer:
    """The parameters of block `index`."""
    block, config = hf.model.layers[index], hf.config
    attention, mlp = block.self_attn, block.mlp
    n, n_kv = config.num_attention_heads, config.num_key_value_heads
    post = _post_norms(block)
    return Layer(
        ln1=_norm(block.input_layernorm),
        W_Q=heads(attention.q_proj.weight, n),
        W_K=heads(attention.k_proj.weight, n_kv),
        W_V=heads(attention.v_proj.weight, n_kv),
        W_O=attention.o_proj.weight.T.unflatten(0, (n, -1)),
        b_Q=bias_heads(attention.q_proj.bias, n),
        b_K=bias_heads(attention.k_proj.bias, n_kv),
        b_V=bias_heads(attention.v_proj.bias, n_kv),
        b_O=attention.o_proj.bias,
        ln2=_norm(block.pre_feedforward_layernorm if post else block.post_attention_layernorm),
        W_in=mlp.up_proj.weight.T,
        b_in=mlp.up_proj.bias,
        W_out=mlp.down_proj.weight.T,
        b_out=mlp.down_proj.bias,
        W_gate=mlp.gate_proj.weight.T,
        b_gate=mlp.gate_proj.bias,
        query_gain=_norm(attention.q_norm).gain if hasattr(attention, "q_norm") else None,
        key_gain=_norm(attention.k_norm).gain if hasattr(attention, "k_norm") else None,
        attn_post=_norm(block.post_attention_layernorm) if post else None,
        mlp_post=_norm(block.post_feedforward_layernorm) if post else None,
    )


def _projections(attention: Any, config: Any) -> tuple[Projection, Projection, Projection]:
    query, keys = split_heads(config.num_attention_heads), split_heads(config.num_key_value_heads)
    return (
        Projection(attention.q_proj, query),
        Projection(attention.k_proj, keys),
        Projection(attention.v_proj, keys),
    )


def _norm(module: Any) -> RawNorm:
    """Gemma stores the gain as its distance from one."""
    return RawNorm(1 + module.weight if type(module).__name__.startswith("Gemma") else module.weight)


def _post_norms(block: nn.Module) -> bool:
    return hasattr(block, "post_feedforward_layernorm")


def _embedding_scale(hf: Any) -> float:
    """Gemma multiplies its embeddings by sqrt(d_model), rounded as the module rounds it."""
    scale = getattr(hf.model.embed_tokens, "embed_scale", None)
    return 1.0 if scale is None else float(scale.to(hf.model.embed_tokens.weight.dtype))


def _window(config: Any, block: Any) -> int | None:
    """Mistral gives one window to every layer; the others state it per layer."""
    if config.model_type == "mistral":
        return config.sliding_window
    return getattr(block.self_attn, "sliding_window", None)
