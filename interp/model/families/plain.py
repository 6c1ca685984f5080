"""Decoders like GPT-2 with other module names: BLOOM, Falcon, GPT-J, MPT, OPT, Phi.

They differ in what they call their modules, in how queries, keys and values share a projection, and in how positions
enter; `NAMES` states the first, `_views` the second, `spec` the third.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from operator import attrgetter
from typing import Any, TypeAlias

import torch
from torch import Tensor

from interp.errors import UnsupportedModelError
from interp.model.families.base import Layer, Parts, Projection, RawNorm, activation, rotary
from interp.model.spec import Alibi, Rotary, Spec

View: TypeAlias = Callable[[Tensor], Tensor]
Put: TypeAlias = Callable[[Tensor, Tensor], object]


@dataclass(frozen=True)
class Names:
    """Paths of the modules of a family.

    `query` names three projections or, with one name, the fused one.

    A block whose two norms are one is parallel. `attn_write` and `mlp_write` put out what is added to the stream.
    """

    inner: str
    embed: str
    blocks: str
    ln1: str
    query: tuple[str, ...]
    output: str
    attn_write: str
    ln2: str
    mlp_in: str
    mlp_out: str
    mlp_write: str
    final_norm: str


NAMES = {
    "bloom": Names(
        "transformer", "word_embeddings", "h", "input_layernorm", ("self_attention.query_key_value",),
        "self_attention.dense", "self_attention.dense", "post_attention_layernorm",
        "mlp.dense_h_to_4h", "mlp.dense_4h_to_h", "mlp.dense_4h_to_h", "ln_f",
    ),
    "falcon": Names(
        "transformer", "word_embeddings", "h", "input_layernorm", ("self_attention.query_key_value",),
        "self_attention.dense", "self_attention", "post_attention_layernorm",
        "mlp.dense_h_to_4h", "mlp.dense_4h_to_h", "mlp", "ln_f",
    ),
    "gptj": Names(
        "transformer", "wte", "h", "ln_1", ("attn.q_proj", "attn.k_proj", "attn.v_proj"),
        "attn.out_proj", "attn", "ln_1", "mlp.fc_in", "mlp.fc_out", "mlp", "ln_f",
    ),
    "mpt": Names(
        "transformer", "wte", "blocks", "norm_1", ("attn.Wqkv",), "attn.out_proj", "attn", "norm_2",
        "ffn.up_proj", "ffn.down_proj", "ffn.down_proj", "norm_f",
    ),
    "opt": Names(
        "model.decoder", "embed_tokens", "layers", "self_attn_layer_norm",
        ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"), "self_attn.out_proj", "self_attn",
        "final_layer_norm", "fc1", "fc2", "fc2", "final_layer_norm",
    ),
    "phi": Names(
        "model", "embed_tokens", "layers", "input_layernorm",
        ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"), "self_attn.dense", "self_attn",
        "input_layernorm", "mlp.fc1", "mlp.fc2", "mlp", "final_layernorm",
    ),
}  # fmt: skip
MODEL_TYPES = tuple(NAMES)


def spec(hf: Any) -> Spec:
    """Return the facts of one of these models.

    Raises `UnsupportedModelError` for features that are not implemented.
    """
    _check(hf.config)
    config, names, block = hf.config, _names(hf), _blocks(hf)[0]
    n, n_kv, d_head = _shape(hf)
    n_layer, unembed = config.num_hidden_layers, hf.get_output_embeddings()
    turns, alibi = _rotary(hf), _alibi(hf)
    learned = config.model_type == "opt"
    scale = getattr(getattr(config, "attn_config", None), "softmax_scale", None) or 1 / math.sqrt(d_head)
    return Spec(
        family=config.model_type,
        n_layer=n_layer,
        n_head=n,
        n_kv_head=n_kv,
        d_model=config.hidden_size,
        d_head=d_head,
        d_mlp=_get(block, names.mlp_in).weight.shape[0],
        d_vocab=unembed.weight.shape[0],
        n_ctx=_context(config),
        norm="layer",
        norm_eps=float(_get(block, names.ln1).eps),
        positional="learned" if learned else "rotary" if turns else "alibi" if alibi else "none",
        rotaries=(turns,) * n_layer,
        attention_scale=(scale,) * n_layer,
        windows=(None,) * n_layer,
        activation=activation(config, _activation(config)),
        gated=False,
        parallel=names.ln2 in (names.ln1, "ln_mlp"),
        tied=unembed.weight is _get(_inner(hf), names.embed).weight,
        attention_bias=_get(block, names.query[0]).bias is not None,
        output_bias=_get(block, names.output).bias is not None,
        mlp_bias=_get(block, names.mlp_out).bias is not None,
        alibi=alibi,
    )


def parts(hf: Any) -> Parts:
    """Return the modules and outer weights of one of these models."""
    names, inner, blocks, unembed = _names(hf), _inner(hf), tuple(_blocks(hf)), hf.get_output_embeddings()
    embed_norm = getattr(inner, "word_embeddings_layernorm", None)
    W_pos = inner.embed_positions.weight[inner.embed_positions.offset :] if hf.config.model_type == "opt" else None
    # Falcon adds attention's output to the MLP's in place: what is read there must be a copy.
    copied = (torch.clone, Tensor.copy_) if hf.config.model_type == "falcon" else (None, None)
    return Parts(
        embed=_get(inner, names.embed) if embed_norm is None else embed_norm,
        blocks=blocks,
        projections=tuple(_projections(hf, block) for block in blocks),
        attn_output=tuple(_get(block, names.output) for block in blocks),
        attn_write=tuple(Projection(_get(block, names.attn_write)) for block in blocks),
        mlp_norm=tuple(_get(block, names.ln2) for block in blocks),
        mlp_pre=tuple(Projection(_get(block, names.mlp_in)) for block in blocks),
        mlp_linear=tuple(Projection(_get(block, names.mlp_in)) for block in blocks),
        mlp_output=tuple(_get(block, names.mlp_out) for block in blocks),
        mlp_write=tuple(Projection(_get(block, names.mlp_write), *copied) for block in blocks),
        final_norm=_get(inner, names.final_norm),
        W_E=_get(inner, names.embed).weight,
        W_pos=W_pos,
        W_U=unembed.weight,
        b_U=unembed.bias,
        ln_final=_norm(_get(inner, names.final_norm)),
        embed_norm=None if embed_norm is None else _norm(embed_norm),
        flat_mlp=hf.config.model_type == "opt",
        block_tuples=hf.config.model_type in ("bloom", "falcon", "gptj", "mpt"),
    )


def layer(hf: Any, index: int) -> Layer:
    """Return the parameters of block `index`."""
    names, block = _names(hf), _blocks(hf)[index]
    output, mlp_in, mlp_out = (_get(block, name) for name in (names.output, names.mlp_in, names.mlp_out))
    W_Q, W_K, W_V = _split(hf, block, "weight")
    b_Q, b_K, b_V = _split(hf, block, "bias")
    return Layer(
        ln1=_norm(_get(block, names.ln1)),
        W_Q=W_Q,
        W_K=W_K,
        W_V=W_V,
        W_O=output.weight.T.unflatten(0, (_shape(hf)[0], -1)),
        b_Q=b_Q,
        b_K=b_K,
        b_V=b_V,
        b_O=output.bias,
        ln2=_norm(_get(block, names.ln2)),
        W_in=mlp_in.weight.T,
        b_in=mlp_in.bias,
        W_out=mlp_out.weight.T,
        b_out=mlp_out.bias,
    )


def _check(config: Any) -> None:
    """Raise `UnsupportedModelError` for a feature that changes the arithmetic.

    The error names the feature.
    """
    refused = {
        "apply_residual_connection_post_layernorm": "a residual stream taken after the norm",
        "alibi": "ALiBi, which transformers computes in two ways that disagree,",
        "qk_layernorm": "LayerNorm of queries and keys",
        "_remove_final_layer_norm": "leaving out the final norm",
    }
    result = [text for name, text in refused.items() if getattr(config, name, False)]
    if getattr(getattr(config, "attn_config", None), "clip_qkv", None):
        result.append("clipping of queries, keys and values")
    if not getattr(config, "do_layer_norm_before", True):
        result.append("a norm after the sum")
    if getattr(config, "word_embed_proj_dim", config.hidden_size) != config.hidden_size:
        result.append("a projection of the embeddings")
    if not getattr(config, "layer_norm_elementwise_affine", True):
        result.append("a norm without gain")
    if config.model_type == "gptj" and config.rotary_dim is None:
        result.append("rotary positions over all heads at once")
    if result:
        raise UnsupportedModelError(f"{config.model_type}: {result[0]} is not supported.")


def _names(hf: Any) -> Names:
    """Return the names of a model's modules.

    Falcon's norms depend on its variant.
    """
    names, config = NAMES[hf.config.model_type], hf.config
    if config.model_type != "falcon" or not (config.new_decoder_architecture or config.parallel_attn):
        return names
    if hasattr(hf.transformer.h[0], "ln_attn"):
        return replace(names, ln1="ln_attn", ln2="ln_mlp")
    return replace(names, ln2=names.ln1)


def _get(module: Any, path: str) -> Any:
    return attrgetter(path)(module)


def _inner(hf: Any) -> Any:
    return _get(hf, NAMES[hf.config.model_type].inner)


def _blocks(hf: Any) -> Any:
    return _get(_inner(hf), NAMES[hf.config.model_type].blocks)


def _norm(module: Any) -> RawNorm:
    """Return a norm; those of MPT have no bias."""
    return RawNorm(module.weight, torch.zeros_like(module.weight) if module.bias is None else module.bias)


def _shape(hf: Any) -> tuple[int, int, int]:
    """Return (query heads, key-value heads, d_head)."""
    config, n = hf.config, hf.config.num_attention_heads
    n_kv = getattr(config, "num_key_value_heads", None) or n
    if config.model_type == "falcon":
        n_kv = config.num_kv_heads if config.new_decoder_architecture else 1 if config.multi_query else n
    return n, n_kv, config.hidden_size // n


def _views(hf: Any) -> tuple[tuple[View, ...], Put | None]:
    """Return views of queries, keys and values in a projection's last axis.

    Each view is (..., heads, d_head).

    Also returns how to write queries, where a view cannot.
    """
    (n, n_kv, d_head), kind = _shape(hf), hf.config.model_type
    if kind == "mpt":
        return tuple(lambda x, i=i: x.unflatten(-1, (3, n, d_head))[..., i, :, :] for i in range(3)), None
    if kind == "bloom" or (kind == "falcon" and n_kv == n):
        return tuple(lambda x, i=i: x.unflatten(-1, (n, 3, d_head))[..., i, :] for i in range(3)), None
    if kind != "falcon":
        return tuple(lambda x, heads=heads: x.unflatten(-1, (heads, d_head)) for heads in (n, n_kv, n_kv)), None

    def grouped(x: Tensor) -> Tensor:
        return x.unflatten(-1, (n_kv, n // n_kv + 2, d_head))

    def put(x: Tensor, query: Tensor) -> None:
        grouped(x)[..., :-2, :].copy_(query.unflatten(-2, (n_kv, -1)))

    views = (
        lambda x: grouped(x)[..., :-2, :].flatten(-3, -2),
        lambda x: grouped(x)[..., -2, :],
        lambda x: grouped(x)[..., -1, :],
    )
    return views, put


def _projections(hf: Any, block: Any) -> tuple[Projection, Projection, Projection]:
    views, put = _views(hf)
    modules = [_get(block, name) for name in _names(hf).query]
    modules = modules * 3 if len(modules) == 1 else modules
    query, key, value = (Projection(module, view) for module, view in zip(modules, views, strict=True))
    return replace(query, put=put), key, value


def _split(hf: Any, block: Any, name: str) -> tuple[Any, Any, Any]:
    """Return the weights or biases of queries, keys and values.

    Weights are (heads, d_model, d_head), biases (heads, d_head).

    None without a bias.
    """
    result = []
    for part in _projections(hf, block):
        stored = getattr(part.module, name)
        result.append(None if stored is None or part.view is None else part.view(stored.t()))
    query, key, value = result if name == "bias" else (part.transpose(0, 1) for part in result)
    return query, key, value


def _rotary(hf: Any) -> Rotary | None:
    config, (_, _, d_head) = hf.config, _shape(hf)
    if config.model_type in ("falcon", "phi"):
        return rotary(config, _inner(hf).rotary_emb, d_head)
    if config.model_type != "gptj":
        return None
    dim = config.rotary_dim
    frequencies = 1.0 / (10000 ** (torch.arange(0, dim, 2, dtype=torch.int64) / dim))
    return Rotary(10000.0, dim, dim / d_head, "default", tuple(frequencies.tolist()), adjacent=True)


def _alibi(hf: Any) -> Alibi | None:
    """Return the ALiBi slopes.

    They are read from the model's own table of the first two positions.
    """
    n = hf.config.num_attention_heads
    if hf.config.model_type == "bloom":
        table = hf.transformer.build_alibi_tensor(torch.ones(1, 2), n, torch.float32)
        return Alibi(tuple(table[:, 0, 1].tolist()))
    if hf.config.model_type == "mpt":
        return Alibi(tuple((-hf.transformer.build_mpt_alibi_tensor(n, 2)[:, 0, 0]).tolist()), from_last=True)
    return None


def _context(config: Any) -> int:
    """Return the longest input.

    The positions of BLOOM have no end: it is the length of its training.
    """
    names = ("max_position_embeddings", "max_seq_len", "seq_length")
    return next((length for name in names if (length := getattr(config, name, None))), 2048)


def _activation(config: Any) -> str:
    if config.model_type in ("bloom", "mpt"):
        return {"bloom": "gelu_bloom", "mpt": "gelu"}[config.model_type]
    names = ("activation_function", "activation", "hidden_act")
    return next(result for name in names if (result := getattr(config, name, None)))
