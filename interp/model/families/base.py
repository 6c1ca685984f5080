"""The common form of the parameters of every family, and facts that several share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from interp.errors import UnsupportedModelError
from interp.model.spec import Rotary

ACTIVATIONS = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_bloom": "gelu_bloom",
    "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "quick_gelu": "quick_gelu",
    "relu": "relu",
}
"""`transformers` name -> ours; each is z·g(z), which is what makes a frozen MLP exactly linear."""

FIXED = ("default", "linear", "llama3", "yarn")
"""Rotary scalings whose frequencies do not depend on the length of the input."""
BY_LENGTH = ("longrope", "dynamic")
"""Rotary scalings that do: see `interp.model.spec.Rotary`."""


@dataclass(frozen=True)
class RawNorm:
    """Gain and bias of a norm.

    The gain is as it multiplies; the bias is None for RMSNorm.

    Gemma's 1 + w is already added.
    """

    gain: Float[Tensor, " width"]
    bias: Float[Tensor, " width"] | None = None


@dataclass(frozen=True)
class RawRouter:
    """Weights that score the experts of a layer.

    With their bias where there is one.
    """

    W: Float[Tensor, "d_model n_expert"]
    b: Float[Tensor, " n_expert"] | None = None


@dataclass(frozen=True)
class Layer:
    """The parameters of one block as stored, with an axis of heads.

    Nothing is folded; they are views of the model's own tensors where possible.

    Keys and values have n_kv_head heads. Anything a family lacks is None. With a `router`, the MLP's weights and biases
    are those of every expert, along a first axis n_expert. `sinks` are the scores of `Spec.attention_sinks`.
    """

    ln1: RawNorm
    W_Q: Float[Tensor, "n_head d_model d_head"]
    W_K: Float[Tensor, "n_kv_head d_model d_head"]
    W_V: Float[Tensor, "n_kv_head d_model d_head"]
    W_O: Float[Tensor, "n_head d_head d_model"]
    b_Q: Float[Tensor, "n_head d_head"] | None
    b_K: Float[Tensor, "n_kv_head d_head"] | None
    b_V: Float[Tensor, "n_kv_head d_head"] | None
    b_O: Float[Tensor, " d_model"] | None
    ln2: RawNorm
    W_in: Float[Tensor, "d_model d_mlp"]
    b_in: Float[Tensor, " d_mlp"] | None
    W_out: Float[Tensor, "d_mlp d_model"]
    b_out: Float[Tensor, " d_model"] | None
    W_gate: Float[Tensor, "d_model d_mlp"] | None = None
    b_gate: Float[Tensor, " d_mlp"] | None = None
    query_gain: Float[Tensor, " d_head"] | Float[Tensor, "n_head 1 d_head"] | None = None
    key_gain: Float[Tensor, " d_head"] | Float[Tensor, "n_kv_head 1 d_head"] | None = None
    attn_post: RawNorm | None = None
    mlp_post: RawNorm | None = None
    router: RawRouter | None = None
    sinks: Float[Tensor, " n_head"] | None = None


@dataclass(frozen=True)
class Projection:
    """Module and the part of its output that a hook reads.

    The part is queries, keys or values, or half of a gated MLP.

    Queries, keys and values are (..., heads, d_head).

    `view` finds the part, None being the whole; `put` writes it back where `view` makes a copy.
    """

    module: nn.Module
    view: Callable[[Tensor], Tensor] | None = None
    put: Callable[[Tensor, Tensor], object] | None = None


@dataclass(frozen=True)
class Parts:
    """Modules that hooks read from, and the outer weights as stored.

    Hooks read the inputs and outputs of these modules.

    Tuples have one entry per block.

    `attn_write` and `mlp_write` are the modules whose output, times `write_scale`, is added to the residual stream (the
    post-norm where there is one); `attn_output` is the output projection, whose input is the concatenated heads, and
    `projections` are those of queries, keys and values. The output of `mlp_pre` goes through the activation, that of
    `mlp_linear` multiplies it (the same module without a gate), and the input of `mlp_output` is the neurons'
    activations; experts have no such modules: a mixture of experts leaves the three empty. `embed_norm` normalises the
    token embeddings (BLOOM), `embed_scale` multiplies what `embed` puts out (Granite); with `flat_mlp` the MLP's
    modules see rows and positions as one axis (OPT); with `block_tuples` a block puts out the stream in a tuple.
    """

    embed: nn.Module
    blocks: tuple[nn.Module, ...]
    projections: tuple[tuple[Projection, Projection, Projection], ...]
    attn_output: tuple[nn.Module, ...]
    attn_write: tuple[Projection, ...]
    mlp_norm: tuple[nn.Module, ...]
    mlp_pre: tuple[Projection, ...]
    mlp_linear: tuple[Projection, ...]
    mlp_output: tuple[nn.Module, ...]
    mlp_write: tuple[Projection, ...]
    final_norm: nn.Module
    W_E: Float[Tensor, "d_vocab d_model"]
    W_pos: Float[Tensor, "n_ctx d_model"] | None
    W_U: Float[Tensor, "d_vocab d_model"]
    b_U: Float[Tensor, " d_vocab"] | None
    ln_final: RawNorm
    embed_norm: RawNorm | None = None
    embed_scale: float = 1.0
    write_scale: float = 1.0
    flat_mlp: bool = False
    block_tuples: bool = False


def split_heads(n: int) -> Callable[[Tensor], Tensor]:
    """Return a view function: (..., n · d_head) -> (..., n, d_head)."""
    return lambda tensor: tensor.unflatten(-1, (n, -1))


def heads(weight: Float[Tensor, "n_times_d_head d_model"], n: int) -> Float[Tensor, "n d_model d_head"]:
    """Return a view of the heads of a `Linear` weight.

    The module computes queries, keys or values.
    """
    return weight.unflatten(0, (n, -1)).transpose(1, 2)


def bias_heads(bias: Float[Tensor, " n_times_d_head"] | None, n: int) -> Float[Tensor, "n d_head"] | None:
    """Return a view of the heads of a bias."""
    return None if bias is None else bias.unflatten(0, (n, -1))


def head_gain(gain: Tensor, index: int) -> Float[Tensor, " d_head"]:
    """Return the gain of one head's query or key norm.

    Heads share it unless each has its own.
    """
    return (gain if gain.ndim == 1 else gain[index, 0]).detach()


def joint_gain(norm: Any, n: int) -> Float[Tensor, "n 1 d_head"]:
    """Return a per-head view of the gain of a joint norm.

    A joint norm is over all heads at once.
    """
    return norm.weight.unflatten(0, (n, 1, -1))


def activation(config: Any, name: str) -> str:
    """Return our name of an activation.

    Raises `UnsupportedModelError` for one that is not z·g(z).
    """
    if name not in ACTIVATIONS:
        raise UnsupportedModelError(
            f'{config.model_type}: the activation "{name}" is not supported; known: {", ".join(ACTIVATIONS)}.'
        )
    return ACTIVATIONS[name]


def rotaries(config: Any, module: Any, d_head: int) -> tuple[Rotary | None, ...]:
    """Return the rotation of each layer.

    Full and windowed layers may have different bases (Gemma-3).
    """
    kinds = getattr(config, "layer_types", None)
    if kinds is None or not hasattr(module, f"{kinds[0]}_inv_freq"):
        return (rotary(config, module, d_head),) * config.num_hidden_layers
    by_kind = {kind: rotary(config, module, d_head, kind) for kind in set(kinds)}
    return tuple(by_kind[kind] for kind in kinds)


def rotary(config: Any, module: Any, d_head: int, layer_type: str | None = None) -> Rotary:
    """Return the rotary facts from the model's own frequency table.

    They are those of the layers of one type, where there are several.

    Raises `UnsupportedModelError` for a scaling that is not written out.
    """
    parameters, prefix = config.rope_parameters, ""
    if layer_type is not None:
        parameters, prefix = parameters[layer_type], f"{layer_type}_"
    kind = parameters.get("rope_type", "default")
    known = FIXED if layer_type is not None else (*FIXED, *BY_LENGTH)
    if kind not in known:
        raise UnsupportedModelError(
            f'{config.model_type}: rotary scaling "{kind}" is not supported; known: {", ".join(known)}.'
        )
    stored = f"{prefix}original_inv_freq" if kind in BY_LENGTH else f"{prefix}inv_freq"
    frequencies = tuple(getattr(module, stored).float().tolist())
    dim = 2 * len(frequencies)
    return Rotary(
        base=float(parameters["rope_theta"]),
        dim=dim,
        fraction=dim / d_head,
        scaling=kind,
        frequencies=frequencies,
        factor=float(getattr(module, f"{prefix}attention_scaling")),
        **_by_length(config, parameters, kind),
    )


def _by_length(config: Any, parameters: Any, kind: str) -> dict[str, Any]:
    """Return the fields of `Rotary` for rotations that depend on input length."""
    if kind == "dynamic":
        return {"fixed_to": config.max_position_embeddings, "growth": float(parameters["factor"])}
    if kind != "longrope":
        return {}
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    fixed_to = parameters["original_max_position_embeddings"]
    longer, _ = ROPE_INIT_FUNCTIONS[kind](config, None, seq_len=fixed_to + 1)
    return {"fixed_to": fixed_to, "long_frequencies": tuple(longer.float().tolist())}


def context(config: Any) -> int:
    """Return how many tokens a model with rotary positions can read.

    Dynamic scaling reads `factor` times as many.
    """
    parameters = config.rope_parameters
    if parameters.get("rope_type") != "dynamic":
        return config.max_position_embeddings
    return int(config.max_position_embeddings * parameters["factor"])
