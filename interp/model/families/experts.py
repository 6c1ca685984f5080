"""Mixtures of experts on Llama's layout: Mixtral, Qwen3-MoE, OLMoE, gpt-oss."""

from __future__ import annotations

from typing import Any

from interp.errors import UnsupportedModelError
from interp.model.families.base import (
    Layer,
    Parts,
    Projection,
    RawNorm,
    RawRouter,
    activation,
    bias_heads,
    context,
    heads,
    joint_gain,
    rotaries,
    split_heads,
)
from interp.model.spec import Spec

MODEL_TYPES = ("mixtral", "qwen3_moe", "olmoe", "gpt_oss")


def spec(hf: Any) -> Spec:
    """Return the facts of a mixture of experts.

    Raises `UnsupportedModelError` where only some layers have experts.
    """
    config, blocks = hf.config, hf.model.layers
    _check_layers(hf)
    attention = blocks[0].self_attn
    router = _router(blocks[0])
    return Spec(
        family=config.model_type,
        n_layer=config.num_hidden_layers,
        n_head=config.num_attention_heads,
        n_kv_head=config.num_key_value_heads,
        d_model=config.hidden_size,
        d_head=attention.head_dim,
        d_mlp=_expert_weights(blocks[0])["W_out"].shape[1],
        d_vocab=hf.lm_head.out_features,
        n_ctx=context(config),
        norm="rms",
        norm_eps=config.rms_norm_eps,
        positional="rotary",
        rotaries=rotaries(config, hf.model.rotary_emb, attention.head_dim),
        attention_scale=tuple(float(block.self_attn.scaling) for block in blocks),
        windows=tuple(_window(config, block) for block in blocks),
        activation=_activation(hf),
        gated=True,
        parallel=False,
        tied=hf.lm_head.weight is hf.model.embed_tokens.weight,
        query_key_norm=hasattr(attention, "q_norm"),
        joint_query_key_norm=config.model_type == "olmoe",
        attention_bias=attention.q_proj.bias is not None,
        output_bias=attention.o_proj.bias is not None,
        mlp_bias=_expert_weights(blocks[0])["b_out"] is not None,
        attention_sinks=hasattr(attention, "sinks"),
        activation_limit=_limit(hf),
        n_expert=router.num_experts,
        n_expert_used=router.top_k,
        expert_shares="chosen" if getattr(router, "norm_topk_prob", True) else "all",
    )


def parts(hf: Any) -> Parts:
    """Return the modules and outer weights of a mixture of experts."""
    blocks = tuple(hf.model.layers)
    return Parts(
        embed=hf.model.embed_tokens,
        blocks=blocks,
        projections=tuple(_projections(block.self_attn, hf.config) for block in blocks),
        attn_output=tuple(block.self_attn.o_proj for block in blocks),
        attn_write=tuple(Projection(block.self_attn) for block in blocks),
        mlp_norm=tuple(block.post_attention_layernorm for block in blocks),
        mlp_pre=(),
        mlp_linear=(),
        mlp_output=(),
        mlp_write=tuple(Projection(block.mlp) for block in blocks),
        final_norm=hf.model.norm,
        W_E=hf.model.embed_tokens.weight,
        W_pos=None,
        W_U=hf.lm_head.weight,
        b_U=hf.lm_head.bias,
        ln_final=RawNorm(hf.model.norm.weight),
    )


def layer(hf: Any, index: int) -> Layer:
    """Return the parameters of block `index` as views.

    Those of the experts are included.
    """
    block, config = hf.model.layers[index], hf.config
    attention, router = block.self_attn, _router(block)
    n, n_kv = config.num_attention_heads, config.num_key_value_heads
    return Layer(
        ln1=RawNorm(block.input_layernorm.weight),
        W_Q=heads(attention.q_proj.weight, n),
        W_K=heads(attention.k_proj.weight, n_kv),
        W_V=heads(attention.v_proj.weight, n_kv),
        W_O=attention.o_proj.weight.T.unflatten(0, (n, -1)),
        b_Q=bias_heads(attention.q_proj.bias, n),
        b_K=bias_heads(attention.k_proj.bias, n_kv),
        b_V=bias_heads(attention.v_proj.bias, n_kv),
        b_O=attention.o_proj.bias,
        ln2=RawNorm(block.post_attention_layernorm.weight),
        **_expert_weights(block),
        query_gain=_gain(config, attention, "q_norm", n),
        key_gain=_gain(config, attention, "k_norm", n_kv),
        router=RawRouter(router.weight.T, getattr(router, "bias", None)),
        sinks=getattr(attention, "sinks", None),
    )


def _gain(config: Any, attention: Any, name: str, n: int) -> Any:
    """Return the gain of the norm of queries or keys.

    OLMoE's is over all heads.
    """
    if not hasattr(attention, name):
        return None
    norm = getattr(attention, name)
    return joint_gain(norm, n) if config.model_type == "olmoe" else norm.weight


def _expert_weights(block: Any) -> dict[str, Any]:
    """Return the experts' weights and biases by the names of `Layer`.

    Experts are the first axis.
    """
    experts = block.mlp.experts
    if not hasattr(experts, "gate_up_proj_bias"):
        W_gate, W_in = experts.gate_up_proj.transpose(1, 2).chunk(2, dim=2)
        return dict(
            W_in=W_in, b_in=None, W_gate=W_gate, b_gate=None, W_out=experts.down_proj.transpose(1, 2), b_out=None
        )
    both, biases = experts.gate_up_proj, experts.gate_up_proj_bias
    return dict(
        W_in=both[..., 1::2],
        b_in=biases[..., 1::2] + 1,  # gpt-oss multiplies the activation by one more than what it projects
        W_gate=both[..., ::2],
        b_gate=biases[..., ::2],
        W_out=experts.down_proj,
        b_out=experts.down_proj_bias,
    )


def _router(block: Any) -> Any:
    return block.mlp.router if hasattr(block.mlp, "router") else block.mlp.gate


def _check_layers(hf: Any) -> None:
    if getattr(hf.config, "clip_qkv", None) is not None:
        raise UnsupportedModelError(f"{hf.config.model_type}: clipped queries, keys and values are not supported.")
    dense = [str(i) for i, block in enumerate(hf.model.layers) if not hasattr(block.mlp, "experts")]
    if dense:
        raise UnsupportedModelError(
            f"{hf.config.model_type}: layers without experts ({', '.join(dense)}) together with layers with "
            "experts are not supported; every layer must be a mixture of experts."
        )


def _activation(hf: Any) -> str:
    """Return the activation of the experts; gpt-oss writes its own, z·sigmoid(1.702 z)."""
    if not hasattr(hf.model.layers[0].mlp.experts, "alpha"):
        return activation(hf.config, hf.config.hidden_act)
    alpha, limit = hf.model.layers[0].mlp.experts.alpha, _limit(hf)
    if alpha != 1.702 or limit is None or limit <= 1:
        raise UnsupportedModelError(
            f"{hf.config.model_type}: a gated activation with swiglu_alpha={alpha} and swiglu_limit={limit} is not "
            "supported; only 1.702 and a limit above 1 are."
        )
    return "quick_gelu"


def _limit(hf: Any) -> float | None:
    limit = getattr(hf.model.layers[0].mlp.experts, "limit", None)
    return None if limit is None else float(limit)


def _window(config: Any, block: Any) -> int | None:
    """Return the attention window of a layer.

    Mixtral gives one to every layer, the others state it per layer.
    """
    if config.model_type == "mixtral":
        return config.sliding_window
    return getattr(block.self_attn, "sliding_window", None)


def _projections(attention: Any, config: Any) -> tuple[Projection, Projection, Projection]:
    query, keys = split_heads(config.num_attention_heads), split_heads(config.num_key_value_heads)
    return (
        Projection(attention.q_proj, query),
        Projection(attention.k_proj, keys),
        Projection(attention.v_proj, keys),
    )
