"""GPT-NeoX and Pythia: parallel blocks, partial rotary, one projection with query, key and value per head."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from interp.model.families.base import Layer, Parts, Projection, RawNorm, activation, context, rotary
from interp.model.spec import Spec

MODEL_TYPES = ("gpt_neox",)


def spec(hf: Any) -> Spec:
    """Return the facts of a GPT-NeoX."""
    config, inner = hf.config, hf.gpt_neox
    attention = inner.layers[0].attention
    return Spec(
        family=config.model_type,
        n_layer=config.num_hidden_layers,
        n_head=config.num_attention_heads,
        n_kv_head=config.num_attention_heads,
        d_model=config.hidden_size,
        d_head=attention.head_size,
        d_mlp=config.intermediate_size,
        d_vocab=hf.get_output_embeddings().out_features,
        n_ctx=context(config),
        norm="layer",
        norm_eps=config.layer_norm_eps,
        positional="rotary",
        rotaries=(rotary(config, inner.rotary_emb, attention.head_size),) * config.num_hidden_layers,
        attention_scale=tuple(float(block.attention.scaling) for block in inner.layers),
        windows=(None,) * config.num_hidden_layers,
        activation=activation(config, config.hidden_act),
        gated=False,
        parallel=config.use_parallel_residual,
        tied=hf.get_output_embeddings().weight is inner.embed_in.weight,
        attention_bias=attention.query_key_value.bias is not None,
        output_bias=attention.dense.bias is not None,
        mlp_bias=True,
    )


def parts(hf: Any) -> Parts:
    """Return the modules and outer weights of a GPT-NeoX."""
    inner, blocks = hf.gpt_neox, tuple(hf.gpt_neox.layers)
    return Parts(
        embed=inner.embed_in,
        blocks=blocks,
        projections=tuple(
            _projections(block.attention.query_key_value, hf.config.num_attention_heads) for block in blocks
        ),
        attn_output=tuple(block.attention.dense for block in blocks),
        attn_write=tuple(Projection(block.attention) for block in blocks),
        mlp_norm=tuple(block.post_attention_layernorm for block in blocks),
        mlp_pre=tuple(Projection(block.mlp.dense_h_to_4h) for block in blocks),
        mlp_linear=tuple(Projection(block.mlp.dense_h_to_4h) for block in blocks),
        mlp_output=tuple(block.mlp.dense_4h_to_h for block in blocks),
        mlp_write=tuple(Projection(block.mlp) for block in blocks),
        final_norm=inner.final_layer_norm,
        W_E=inner.embed_in.weight,
        W_pos=None,
        W_U=hf.get_output_embeddings().weight,
        b_U=hf.get_output_embeddings().bias,
        ln_final=_norm(inner.final_layer_norm),
    )


def layer(hf: Any, index: int) -> Layer:
    """Return the parameters of block `index`."""
    block, n = hf.gpt_neox.layers[index], hf.config.num_attention_heads
    fused = block.attention.query_key_value
    query, key, value = fused.weight.unflatten(0, (n, 3, -1)).unbind(1)
    biases: tuple[Tensor | None, ...] = (None, None, None)
    if fused.bias is not None:
        biases = fused.bias.unflatten(0, (n, 3, -1)).unbind(1)
    return Layer(
        ln1=_norm(block.input_layernorm),
        W_Q=query.transpose(1, 2),
        W_K=key.transpose(1, 2),
        W_V=value.transpose(1, 2),
        W_O=block.attention.dense.weight.T.unflatten(0, (n, -1)),
        b_Q=biases[0],
        b_K=biases[1],
        b_V=biases[2],
        b_O=block.attention.dense.bias,
        ln2=_norm(block.post_attention_layernorm),
        W_in=block.mlp.dense_h_to_4h.weight.T,
        b_in=block.mlp.dense_h_to_4h.bias,
        W_out=block.mlp.dense_4h_to_h.weight.T,
        b_out=block.mlp.dense_4h_to_h.bias,
    )


def _projections(fused: Any, n: int) -> tuple[Projection, Projection, Projection]:
    """Return the projections of queries, keys and values.

    They lie side by side for each head.
    """
    query, key, value = (
        Projection(fused, lambda tensor, part=part: tensor.unflatten(-1, (n, 3, -1))[..., part, :]) for part in range(3)
    )
    return query, key, value


def _norm(module: Any) -> RawNorm:
    return RawNorm(module.weight, module.bias)
