"""GPT-2: learned positions, LayerNorm with biases, one fused query-key-value projection stored transposed."""

from __future__ import annotations

from typing import Any

from interp.errors import UnsupportedModelError
from interp.model.families.base import Layer, Parts, Projection, RawNorm, activation, bias_heads
from interp.model.spec import Spec

MODEL_TYPES = ("gpt2",)


def spec(hf: Any) -> Spec:
    """Return the facts of a GPT-2.

    Raises `UnsupportedModelError` for cross-attention.
    """
    config = hf.config
    if config.add_cross_attention:
        raise UnsupportedModelError("gpt2: cross-attention is not supported, only a decoder on its own.")
    attention = hf.transformer.h[0].attn
    return Spec(
        family=config.model_type,
        n_layer=config.n_layer,
        n_head=config.n_head,
        n_kv_head=config.n_head,
        d_model=config.n_embd,
        d_head=attention.head_dim,
        d_mlp=hf.transformer.h[0].mlp.c_fc.nf,
        d_vocab=hf.lm_head.out_features,
        n_ctx=config.n_positions,
        norm="layer",
        norm_eps=config.layer_norm_epsilon,
        positional="learned",
        rotaries=(None,) * config.n_layer,
        attention_scale=tuple(float(block.attn.scaling) for block in hf.transformer.h),
        windows=(None,) * config.n_layer,
        activation=activation(config, config.activation_function),
        gated=False,
        parallel=False,
        tied=hf.lm_head.weight is hf.transformer.wte.weight,
        attention_bias=True,
        output_bias=True,
        mlp_bias=True,
    )


def parts(hf: Any) -> Parts:
    """Return the modules and outer weights of a GPT-2."""
    inner = hf.transformer
    blocks = tuple(inner.h)
    return Parts(
        embed=inner.wte,
        blocks=blocks,
        projections=tuple(_projections(block.attn.c_attn, hf.config.n_head) for block in blocks),
        attn_output=tuple(block.attn.c_proj for block in blocks),
        attn_write=tuple(Projection(block.attn) for block in blocks),
        mlp_norm=tuple(block.ln_2 for block in blocks),
        mlp_pre=tuple(Projection(block.mlp.c_fc) for block in blocks),
        mlp_linear=tuple(Projection(block.mlp.c_fc) for block in blocks),
        mlp_output=tuple(block.mlp.c_proj for block in blocks),
        mlp_write=tuple(Projection(block.mlp) for block in blocks),
        final_norm=inner.ln_f,
        W_E=inner.wte.weight,
        W_pos=inner.wpe.weight,
        W_U=hf.lm_head.weight,
        b_U=hf.lm_head.bias,
        ln_final=_norm(inner.ln_f),
    )


def layer(hf: Any, index: int) -> Layer:
    """Return the parameters of block `index`."""
    block, n = hf.transformer.h[index], hf.config.n_head
    query, key, value = (
        part.unflatten(1, (n, -1)).transpose(0, 1) for part in block.attn.c_attn.weight.chunk(3, dim=1)
    )
    b_query, b_key, b_value = block.attn.c_attn.bias.chunk(3)
    return Layer(
        ln1=_norm(block.ln_1),
        W_Q=query,
        W_K=key,
        W_V=value,
        W_O=block.attn.c_proj.weight.unflatten(0, (n, -1)),
        b_Q=bias_heads(b_query, n),
        b_K=bias_heads(b_key, n),
        b_V=bias_heads(b_value, n),
        b_O=block.attn.c_proj.bias,
        ln2=_norm(block.ln_2),
        W_in=block.mlp.c_fc.weight,
        b_in=block.mlp.c_fc.bias,
        W_out=block.mlp.c_proj.weight,
        b_out=block.mlp.c_proj.bias,
    )


def _projections(fused: Any, n: int) -> tuple[Projection, Projection, Projection]:
    """Return the projections of queries, keys and values.

    They are the three thirds of one projection's output.
    """
    query, key, value = (
        Projection(fused, lambda tensor, third=third: tensor.chunk(3, dim=-1)[third].unflatten(-1, (n, -1)))
        for third in range(3)
    )
    return query, key, value


def _norm(module: Any) -> RawNorm:
    return RawNorm(module.weight, module.bias)
