"""Sparse autoencoder with final weights: encode and decode."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from interp.arguments import checked
from interp.cache.tensors import check_finite
from interp.errors import UsageError, nearest
from saes.architectures import architecture as _architecture
from saes.architectures.base import Final
from saes.config import ARCHITECTURES, VARIANTS
from saes.kernels.encode import zeros
from saes.settings import BY_LAYER, check_tensors, checked_settings
from saes.sparse_codes import SparseCodes

PRE_ACTIVATIONS = 2**22
"""Pre-activations in memory at a time: few enough for the processor's cache."""


class SAE(nn.Module):
    """Sparse autoencoder, transcoder or crosscoder.

    f = activate((x − b_dec) W_enc + b_enc), x̂ = f W_dec + b_dec (+ x W_skipᵀ). Created by `build`, `train` or `load`.

    Attributes:
        architecture: standard, gated, topk, batchtopk, jumprelu or matryoshka.
        variant: autoencoder, transcoder (W_dec writes another space), crosscoder (inputs are (..., layer, d)) or
            crosslayer (one layer's part of a cross-layer transcoder, whose reconstruction is (..., layer, d) for its
            own and later layers).
        settings: settings of inference besides the tensors:
            k: number of active latents of topk.
            apply_b_dec_to_input: whether b_dec is subtracted from the input.
            rescale_acts_by_decoder_norm: whether topk selects by activation times decoder norm.
            groups: widths of the nested prefixes of a matryoshka.
            layers: number of layers of a crosscoder, with d_in = d_out = layers · d, or number of layers that a
                crosslayer writes, with d_out = layers · d.
        metadata: origin of the autoencoder: model_name, hook_name, ... and the training configuration.
        history: training metrics, an array for each name; empty if loaded.
        W_enc, W_dec, b_dec: (d_in, width), (width, d_out), (d_out). The architecture adds further parameters: b_enc and
            threshold, or b_gate, b_mag and r_mag, each (width). W_skip (d_out, d_in).

    Example:
        >>> sae  # sae = saes.load("folder")
        SAE(topk autoencoder, 8 latents of 4)
    """

    W_enc: nn.Parameter
    W_dec: nn.Parameter
    b_dec: nn.Parameter
    W_skip: nn.Parameter

    def __init__(
        self,
        architecture: str,
        variant: str,
        tensors: dict[str, Tensor],
        settings: dict[str, Any],
        metadata: dict[str, Any],
    ) -> None:
        super().__init__()
        self.architecture, self.variant = architecture, variant
        self.settings, self.metadata = settings, metadata
        self.history: dict[str, np.ndarray] = {}
        self._rule = _architecture(architecture)
        for name, tensor in tensors.items():
            self.register_parameter(name, nn.Parameter(tensor.detach(), requires_grad=False))
        self.d_in, self.width = self.W_enc.shape
        self.d_out = self.W_dec.shape[1]

    @property
    def reads(self) -> str | None:
        """Hook whose value is encoded, from the metadata; None if unknown."""
        return self.metadata.get("hook_name")

    @property
    def writes(self) -> tuple[str, ...]:
        """Hooks whose values are reconstructed; () if unknown."""
        if self.variant == "crosslayer":
            return tuple(self.metadata.get("hook_names_out", ()))
        named = self.metadata.get("hook_name_out") if self.variant == "transcoder" else self.reads
        return () if named is None else (named,)

    def extra_repr(self) -> str:
        """Return a short description for `repr`.

        >>> sae.extra_repr()  # sae = saes.load("folder")
        'topk autoencoder, 8 latents of 4'
        """
        ends = f"{self.d_in}" if self.d_in == self.d_out else f"{self.d_in} to {self.d_out}"
        hook = self.metadata.get("hook_name")
        return f"{self.architecture} {self.variant}, {self.width} latents of {ends}" + (f", {hook}" if hook else "")

    def encode(self, x: Float[Tensor, "... d_in"]) -> Float[Tensor, "... width"]:
        """Encode activations into latents, in the dtype of the weights.

        Args:
            x: (..., d_in) activations; (..., layer, d) for a crosscoder.

        Returns:
            Latents (..., width).

        Raises:
            NotFiniteError: inputs that are NaN or infinite, or too large for the dtype.

        Example:
            >>> sae.encode(torch.tensor([3.0, -2.0, 0.0, 0.0])).tolist()
            [3.0, 0.0, 0.0, 0.0, 0.0, 2.0, 0.0, 0.0]
        """
        flat = self._centred(x)
        if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (flat, *self.parameters())):
            pre = flat @ self.W_enc
            _check_finite(pre, *self._too_large)
            return self._rule.activate(pre, self._final)
        code = zeros((*flat.shape[:-1], self.width), like=flat)
        by_row = code.view(-1, self.width)
        for first, pre in self._preactivations(flat.reshape(-1, self.d_in)):
            self._rule.fill(by_row[first : first + len(pre)], pre, self._final)
        return code

    @torch.no_grad()
    def sparse_codes(self, x: Float[Tensor, "n d_in"]) -> SparseCodes:
        """Encode a matrix of activations into the latents that fire.

        The values are those of `encode`; of equal ones at the k-th place another may be chosen. No dense matrix of all
        rows is made, and the time is little more than that of the product x W_enc.

        Args:
            x: (n, d_in) activations; (n, layer, d) for a crosscoder.

        Raises:
            UsageError: an input with more axes.
            NotFiniteError: as for `encode`.

        Example:
            >>> codes = sae.sparse_codes(torch.tensor([[3.0, -2.0, 0.0, 0.0]]))
            >>> codes.latents.tolist(), codes.values.tolist()
            ([0, 5], [3.0, 2.0])
        """
        flat = self._centred(x)
        if flat.ndim != 2:
            raise UsageError(f"sparse_codes takes a matrix of inputs, not the shape {tuple(x.shape)}: flatten it.")
        parts = [SparseCodes(*self._rule.pairs(pre, self._final)) for _, pre in self._preactivations(flat)]
        return SparseCodes.joined(parts)

    @torch.no_grad()
    def decode_sparse(self, codes: SparseCodes) -> Float[Tensor, "n ... d_out"]:
        """Reconstruct from the decoder rows of the latents that fire.

        The result equals that of `decode` up to rounding.

        >>> codes = sae.sparse_codes(torch.tensor([[3.0, -2.0, 0.5, 0.0]]))  # sae = saes.load("folder")
        >>> sae.decode_sparse(codes).tolist()
        [[3.0, -2.0, 0.0, 0.0]]
        """
        values = codes.values.to(self.W_dec)
        if self.settings.get("rescale_acts_by_decoder_norm"):
            values = values / torch.linalg.vector_norm(self.W_dec, dim=1)[codes.latents]
        out = codes.support.combine(values, self.W_dec) + self.b_dec
        _check_finite(out, "reconstructions", f"the codes are not finite or overflow {_format(out)}")
        return self._by_layer(out)

    @torch.no_grad()
    def run_sparse(self, x: Float[Tensor, "n d_in"]) -> tuple[SparseCodes, Float[Tensor, "n ... d_out"]]:
        """Return sparse codes and reconstruction of x; see `run`.

        >>> codes, reconstruction = sae.run_sparse(torch.tensor([[3.0, -2.0, 0.5, 0.0]]))  # sae = saes.load("folder")
        >>> codes.latents.tolist(), reconstruction.tolist()
        ([0, 5], [[3.0, -2.0, 0.0, 0.0]])
        """
        codes = self.sparse_codes(x)
        return codes, self._with_skip(self.decode_sparse(codes), x)

    def encode_sparse(
        self, x: Float[Tensor, "n d_in"]
    ) -> tuple[Float[Tensor, "n k"], Int[Tensor, "n k"]] | Float[Tensor, "n width"]:
        """Encode activations and return the latents without zeros.

        Args:
            x: (n, d_in) activations.

        Returns:
            (values, indices), each (n, k), for topk; otherwise a sparse CSR matrix (n, width). Rows with fewer than k
                positive latents are filled with values of 0.

        Raises:
            UsageError: an input with more axes.

        Example:
            >>> values, latents = sae.encode_sparse(torch.tensor([[3.0, -2.0, 0.5, 0.0]]))  # sae = saes.load("folder")
            >>> values.tolist(), latents.tolist()
            ([[3.0, 2.0]], [[0, 5]])
        """
        code = self.encode(x)
        if code.ndim != 2:
            raise UsageError(f"encode_sparse takes inputs of shape (n, d_in), not {tuple(x.shape)}: flatten them.")
        if self.architecture != "topk":
            return code.to_sparse_csr()
        values, latents = code.topk(self.settings["k"], dim=1)
        return values, latents

    @checked
    def decode(self, code: Float[Tensor, "... width"]) -> Float[Tensor, "... d_out"]:
        """Decode latents into a reconstruction, without the skip path of a transcoder.

        Args:
            code: (..., width) latents.

        Returns:
            Reconstruction (..., d_out), or (..., layer, d) for several layers.

        Raises:
            NotFiniteError: a reconstruction that is NaN or infinite.

        Example:
            >>> sae.decode(torch.tensor([3.0, 0.0, 0.0, 0.0, 0.0, 2.0, 0.0, 0.0])).tolist()
            [3.0, -2.0, 0.0, 0.0]
        """
        if code.shape[-1:] != (self.width,):
            raise UsageError(f"A code of shape {tuple(code.shape)} does not fit {self.width} latents.")
        if self.settings.get("rescale_acts_by_decoder_norm"):
            code = code / torch.linalg.vector_norm(self.W_dec, dim=1)
        out = code.to(self.W_dec) @ self.W_dec + self.b_dec
        _check_finite(out, "reconstructions", f"the codes are not finite or overflow {_format(out)}")
        return self._by_layer(out)

    def forward(self, x: Float[Tensor, "... d_in"]) -> Float[Tensor, "... d_out"]:
        """Return the reconstruction of x, including the skip path of a transcoder.

        >>> sae(torch.tensor([3.0, -2.0, 0.5, 0.0])).tolist()  # sae = saes.load("folder")
        [3.0, -2.0, 0.0, 0.0]
        """
        return self.run(x)[1]

    def run(self, x: Float[Tensor, "... d_in"]) -> tuple[Float[Tensor, "... width"], Float[Tensor, "... d_out"]]:
        """Return the latents and the reconstruction of x.

        Both are on the device and in the dtype of the weights.

        >>> latents, reconstruction = sae.run(torch.tensor([3.0, -2.0, 0.5, 0.0]))  # sae = saes.load("folder")
        >>> latents.shape, reconstruction.tolist()
        (torch.Size([8]), [3.0, -2.0, 0.0, 0.0])
        """
        code = self.encode(x)
        return code, self._with_skip(self.decode(code), x)

    @checked
    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Save into a folder that SAELens and `saes.load` read.

        Returns the folder.

        >>> sorted(file.name for file in sae.save(folder).iterdir())  # folder = "out/sae"
        ['cfg.json', 'interp.json', 'sae_weights.safetensors']
        """
        from saes.interop import saelens

        return saelens.write(self, folder)

    def _with_skip(self, out: Tensor, x: Tensor) -> Tensor:
        if "W_skip" not in self._parameters:
            return out
        out = out + self._by_layer(x.to(out) @ self.W_skip.T)
        _check_finite(out, "reconstructions", f"the skip path overflows {_format(out)}")
        return out

    @property
    def _final(self) -> Final:
        return Final(dict(self.named_parameters()), self.settings)

    def _preactivations(self, flat: Float[Tensor, "n d_in"]) -> Iterator[tuple[int, Float[Tensor, "rows width"]]]:
        """Yield the first row and x W_enc of some rows at a time, in a buffer that is written again."""
        rows = max(1, PRE_ACTIVATIONS // self.width)
        buffer = flat.new_empty(min(rows, len(flat)), self.width)
        for first in range(0, max(len(flat), 1), rows):
            part = flat[first : first + rows]
            pre = torch.mm(part, self.W_enc, out=buffer[: len(part)])
            _check_finite(pre, *self._too_large, first=first)
            yield first, pre

    @property
    def _too_large(self) -> tuple[str, str]:
        """What overflows, and the advice, for `_check_finite`."""
        return "pre-activations", f"they overflow {_format(self.W_enc)}, load the autoencoder in a wider format"

    def _centred(self, x: Tensor) -> Float[Tensor, "... d_in"]:
        """Return the inputs as the encoder multiplies them, in one last axis."""
        flat = self._flat(x)
        _check_finite(flat, "inputs", "give finite activations")
        return flat - self.b_dec if self.settings["apply_b_dec_to_input"] else flat

    def _by_layer(self, out: Tensor) -> Tensor:
        """Reshape to (..., layer, d) if several layers are written."""
        layers = self.settings.get("layers")
        return out.unflatten(-1, (layers, -1)) if layers else out

    def _flat(self, x: Tensor) -> Tensor:
        if not isinstance(x, Tensor):
            raise UsageError(f"Inputs must be a tensor, not {type(x).__name__}: convert them with torch.as_tensor.")
        layers = self.settings.get("layers") if self.variant == "crosscoder" else None
        wanted = (layers, self.d_in // layers) if layers else (self.d_in,)
        if tuple(x.shape[-len(wanted) :]) != wanted:
            shape = ", ".join(["...", *map(str, wanted)])
            raise UsageError(f"Inputs of shape {tuple(x.shape)} do not fit this {self.variant}: expected ({shape}).")
        x = x.to(self.W_enc)
        return x.flatten(-2) if layers else x


def _check_finite(values: Tensor, what: str, fix: str, first: int = 0) -> None:
    """Raise `NotFiniteError` with the row numbers, counted over all leading axes."""
    check_finite(values.reshape(-1, values.shape[-1]), what, first=first, fix=fix)


def _format(values: Tensor) -> str:
    return str(values.dtype).removeprefix("torch.")


def build(
    architecture: str,
    variant: str,
    tensors: dict[str, Tensor],
    settings: dict[str, Any],
    metadata: dict[str, Any] | None = None,
) -> SAE:
    """Build an SAE from weights, after checking their names and shapes.

    Args:
        architecture: one of `saes.config.ARCHITECTURES`.
        variant: one of `saes.config.VARIANTS`.
        tensors: weights by name, see `SAE`.
        settings: settings of inference, see `SAE`.
        metadata: origin of the autoencoder.

    Returns:
        The `SAE`, with these tensors as its weights.

    Raises:
        UsageError: an unknown architecture, variant or setting, or a missing, unknown or misshapen tensor.

    Example:
        >>> weights = {"W_enc": torch.eye(4), "W_dec": torch.eye(4), "b_enc": torch.zeros(4), "b_dec": torch.zeros(4)}
        >>> build("standard", "autoencoder", weights, {})
        SAE(standard autoencoder, 4 latents of 4)
    """
    for what, value, known in (("architecture", architecture, ARCHITECTURES), ("variant", variant, VARIANTS)):
        if value not in known:
            hint = nearest(value, known)
            raise UsageError(f'{what} "{value}" is not known{hint}: choose one of {", ".join(known)}.')
    settings = checked_settings(architecture, variant, settings)
    check_tensors(architecture, variant, tensors)
    width = tensors["W_enc"].shape[1]
    if architecture == "topk" and not 1 <= settings["k"] <= width:
        raise UsageError(f"k={settings['k']} must be from 1 to the width of {width} latents.")
    if variant in BY_LAYER and tensors["W_dec"].shape[1] % settings["layers"]:
        raise UsageError(f"d_out={tensors['W_dec'].shape[1]} is not a multiple of the {settings['layers']} layers.")
    return SAE(architecture, variant, tensors, settings, dict(metadata or {}))
