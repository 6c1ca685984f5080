"""What is needed of a dictionary, and between which values of a model it stands.

The toolkit's autoencoders and transcoders fit (`saes.SAE`, `saes.DictionarySet`), and so does any object with the same
weights: attribution does not import the packages that train them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from interp.errors import UsageError
from interp.model import Spec

Written = Literal["resid_pre", "attn_out", "resid_mid", "mlp_out", "resid_post"]
WRITTEN: tuple[Written, ...] = ("resid_pre", "attn_out", "resid_mid", "mlp_out", "resid_post")
"""What a dictionary can decompose, in the order of a block."""

MLP_INPUTS = {"hook_resid_mid": "stream", "hook_mlp_in": "stream", "ln2.hook_normalized": "norm", "mlp.hook_in": "gain"}
"""Where a transcoder may read: the stream, the stream normed, or normed and multiplied by the norm's gain."""

READ = re.compile(r"blocks\.(\d+)\.(.+)")
FIT = 1e-2
"""Largest deviation of a latent's own value from its linear form, relative to the largest value: covers bfloat16."""


class Dictionary(Protocol):
    """Protocol of a sparse autoencoder or transcoder.

    f = activate(x W_enc + b_enc), reconstruction f W_dec + b_dec (+ x W_skipᵀ).

    The activation function chooses which latents are active and leaves those unchanged (ReLU, JumpReLU, TopK,
    BatchTopK), or as exp(r_mag) · x W_enc + b_mag (gated). `writes` names the hooks it reconstructs, where it is not
    the one that it reads. Part of a cross-layer transcoder names its own and later layers: d_out is then as many times
    d_model.
    """

    W_enc: Float[Tensor, "d_in width"]
    W_dec: Float[Tensor, "width d_out"]
    b_dec: Float[Tensor, " d_out"]

    def encode(self, x: Float[Tensor, "n d_in"]) -> Float[Tensor, "n width"]:
        """Return the latents' values, zero for those that are not active."""
        ...


@dataclass(frozen=True)
class Place:
    """Place of a dictionary: block, decomposed write and what it reads.

    It reads "write" if it is an autoencoder.
    """

    layer: int
    written: Written
    read: Literal["write", "stream", "norm", "gain"]

    @property
    def name(self) -> str:
        """Beginning of the names of its latents.

        Such as "MLP5", "L5.attn", "L5.resid_post".
        """
        if self.written == "mlp_out":
            return f"MLP{self.layer}"
        return f"L{self.layer}.attn" if self.written == "attn_out" else f"L{self.layer}.{self.written}"

    @property
    def order(self) -> tuple[int, int]:
        """Sort key: the order in which a run reaches places."""
        return self.layer, WRITTEN.index(self.written)


def places_of(hook: str, dictionary: Any, spec: Spec) -> tuple[Place, ...]:
    """Return the places of the dictionary that reads a hook.

    There is one for each layer it writes, first that of the layer it reads. Raises `UsageError` for hooks that nothing
    is linear between.
    """
    writes = _writes(dictionary)
    if len(writes) < 2:
        return (_place(hook, dictionary, spec),)
    layer, read = _parsed(hook, spec)
    written = [_parsed(each, spec) for each in writes]
    if (
        read not in MLP_INPUTS
        or written[0][0] != layer
        or any(name != "hook_mlp_out" for _, name in written)
        or any(later <= before for (before, _), (later, _) in pairwise(written))
    ):
        raise UsageError(
            f"The dictionary of {hook} writes {len(writes)} hooks. A cross-layer transcoder reads an MLP's input "
            f"({', '.join(MLP_INPUTS)}) and writes hook_mlp_out of its own layer and of later ones, in their order."
        )
    return tuple(Place(at, "mlp_out", MLP_INPUTS[read]) for at, _ in written)  # type: ignore[arg-type]


def _place(hook: str, dictionary: Any, spec: Spec) -> Place:
    """Return the place of a dictionary that writes one hook."""
    layer, read = _parsed(hook, spec)
    if read in MLP_INPUTS:
        writes = _writes(dictionary) or ((f"blocks.{layer}.hook_mlp_out",) if read != "hook_resid_mid" else (hook,))
    else:
        writes = _writes(dictionary) or (hook,)
    at, written = _parsed(writes[0], spec)
    name = written.removeprefix("hook_")
    if spec.parallel and name == "resid_mid":
        raise UsageError("A parallel block has no resid_mid: attention and MLP read the same residual stream.")
    if writes[0] == hook and name in WRITTEN:
        return Place(layer, name, "write")
    if at == layer and name == "mlp_out" and read in MLP_INPUTS:
        return Place(layer, "mlp_out", MLP_INPUTS[read])  # type: ignore[arg-type]
    raise UsageError(
        f"A dictionary that reads {hook} and writes {writes[0]} does not fit the model: it must decompose what it "
        f"reads ({', '.join(WRITTEN)}), or read an MLP's input ({', '.join(MLP_INPUTS)}) and write hook_mlp_out."
    )


def _writes(dictionary: Any) -> tuple[str, ...]:
    named = getattr(dictionary, "writes", None) or ()
    return (named,) if isinstance(named, str) else tuple(named)


def _parsed(hook: str, spec: Spec) -> tuple[int, str]:
    match = READ.fullmatch(hook)
    if not match or int(match[1]) >= spec.n_layer:
        raise UsageError(
            f'"{hook}" is not a hook of this model\'s {spec.n_layer} blocks, such as blocks.0.mlp.hook_in.'
        )
    return int(match[1]), match[2]


@dataclass(frozen=True)
class Affine:
    """Linear form of a dictionary's latents while they are active.

    value = x · column + constant. A value is what `encode` returns, and `direction`s are what a value of 1 writes.
    """

    columns: Float[Tensor, "d_in width"]
    constants: Float[Tensor, " width"]
    directions: Float[Tensor, "width d_out"]
    bias: Float[Tensor, " d_out"]
    skip: Float[Tensor, "d_out d_in"] | None

    def values(self, dictionary: Dictionary, x: Float[Tensor, "n d_in"], name: str) -> Float[Tensor, "n width"]:
        """Compute the values of active latents by their linear form.

        They are checked against `encode`.

        Raises `UsageError` where the dictionary is not linear on its active latents.
        """
        theirs = dictionary.encode(x.to(dictionary.W_enc)).to(x)
        theirs = theirs.to_dense() if theirs.layout != torch.strided else theirs
        ours = torch.where(theirs != 0, x @ self.columns + self.constants, 0)
        missed, size = float((ours - theirs).abs().max()), float(theirs.abs().max())
        if not missed <= FIT * max(size, torch.finfo(x.dtype).tiny):
            raise UsageError(
                f"The active latents of the dictionary of {name} are not x · W_enc + b_enc: they miss it by "
                f"{missed:.1e}, their largest value being {size:.1e}."
            )
        return ours


def affine(dictionary: Any, name: str, d_model: int, like: Tensor, n_written: int = 1) -> Affine:
    """Return the linear form of a dictionary's latents.

    In the dtype of `like`.

    Raises `UsageError` for weights that are missing or do not fit the model and the number of layers written.
    """
    weights: dict[str, Any] = {key: getattr(dictionary, key, None) for key in ("W_enc", "W_dec", "b_dec")}
    lacking = [key for key, value in weights.items() if not isinstance(value, Tensor)]
    if lacking or not callable(getattr(dictionary, "encode", None)):
        raise UsageError(f"The dictionary of {name} needs W_enc, W_dec, b_dec and encode; {lacking or 'encode'} lacks.")
    encoder, decoder, bias = (weights[key].detach().to(like) for key in ("W_enc", "W_dec", "b_dec"))
    if encoder.shape[0] != d_model or tuple(decoder.shape) != (encoder.shape[1], n_written * d_model):
        layers = f", {n_written} times for the layers it writes" if n_written > 1 else ""
        raise UsageError(
            f"The dictionary of {name} has W_enc {tuple(encoder.shape)} and W_dec {tuple(decoder.shape)}; the model's "
            f"vectors have {d_model} numbers: W_enc is (d_model, width), W_dec (width, d_model){layers}."
        )
    settings = getattr(dictionary, "settings", None) or {}
    constants = bias.new_zeros(encoder.shape[1])
    if settings.get("apply_b_dec_to_input"):
        constants = constants - bias @ encoder
    if isinstance(magnitude := getattr(dictionary, "r_mag", None), Tensor):
        encoder, constants = encoder * magnitude.detach().to(like).exp(), constants * magnitude.detach().to(like).exp()
    own = getattr(dictionary, "b_mag", None)
    own = getattr(dictionary, "b_enc", None) if own is None else own
    if isinstance(own, Tensor):
        constants = constants + own.detach().to(like)
    if settings.get("rescale_acts_by_decoder_norm"):
        norms = decoder.norm(dim=1)
        encoder, constants, decoder = encoder * norms, constants * norms, decoder / norms[:, None]
    skip = getattr(dictionary, "W_skip", None)
    return Affine(encoder, constants, decoder, bias, skip.detach().to(like) if isinstance(skip, Tensor) else None)
