"""Settings of inference and tensors of an autoencoder, checked against its architecture and variant."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from interp.errors import UsageError, nearest
from saes.architectures import architecture as _architecture

SETTINGS: dict[str, tuple[Any, str]] = {
    "k": (int, "a whole number of at least 1"),
    "apply_b_dec_to_input": (bool, "True or False"),
    "rescale_acts_by_decoder_norm": (bool, "True or False"),
    "groups": (list | tuple, "whole numbers"),
    "layers": (int, "a whole number of at least 1"),
}
"""Settings of inference: the type of each, and its description."""
ACROSS = ("transcoder", "crosslayer")
"""Variants whose output space differs from their input space."""
BY_LAYER = ("crosscoder", "crosslayer")
"""Variants whose reconstruction has several layers."""


def checked_settings(architecture: str, variant: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Check the settings and return them with defaults.

    Raises `UsageError` for an unknown or missing setting.
    """
    for name in settings:
        if name not in SETTINGS:
            raise UsageError(f'setting "{name}" is not known{nearest(name, SETTINGS)}.')
    needed = [name for name, needs in (("k", architecture == "topk"), ("layers", variant in BY_LAYER)) if needs]
    for name in needed:
        if name not in settings:
            raise UsageError(f'A {architecture} {variant} needs the setting "{name}".')
    for name, value in settings.items():
        kind, words = SETTINGS[name]
        fits = isinstance(value, kind) and (kind is not int or (not isinstance(value, bool) and value >= 1))
        if value is not None and not fits:
            raise UsageError(f"The setting {name}={value!r} must be {words}.")
    given = {"apply_b_dec_to_input": variant not in ACROSS, **settings}
    if given["apply_b_dec_to_input"] and variant in ACROSS:
        raise UsageError("apply_b_dec_to_input is for inputs and outputs in one space, not for a transcoder.")
    return given


def check_tensors(architecture: str, variant: str, tensors: dict[str, Tensor]) -> None:
    """Raise `UsageError` unless names and shapes are those of the architecture."""
    latents = _architecture(architecture).latents
    needed = ("W_enc", "W_dec", "b_dec", *latents)
    known = (*needed, "W_skip") if variant in ACROSS else needed
    missing = [name for name in needed if name not in tensors]
    unknown = [name for name in tensors if name not in known]
    if missing or unknown:
        raise UsageError(
            f"A {architecture} {variant} has the tensors {', '.join(known)}; given were {', '.join(tensors)}."
        )
    for name, tensor in tensors.items():
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
            kind = str(tensor.dtype) if isinstance(tensor, Tensor) else type(tensor).__name__
            raise UsageError(f"{name} is {kind}; weights are tensors of floating-point numbers.")
        if (tensor.dtype, tensor.device) != (tensors["W_enc"].dtype, tensors["W_enc"].device):
            raise UsageError(f"{name} is {tensor.dtype} on {tensor.device}, unlike W_enc: convert one to the other.")
    if tensors["W_enc"].ndim != 2 or tensors["W_dec"].ndim != 2:
        raise UsageError("W_enc must be (d_in, width) and W_dec (width, d_out).")
    (d_in, width), d_out = tensors["W_enc"].shape, tensors["W_dec"].shape[1]
    wanted = {"W_dec": (width, d_out), "b_dec": (d_out,), "W_skip": (d_out, d_in)} | {n: (width,) for n in latents}
    for name, tensor in tensors.items():
        shape = wanted.get(name, tuple(tensor.shape))
        if tuple(tensor.shape) != shape:
            raise UsageError(
                f"{name} has shape {tuple(tensor.shape)}, but with W_enc {(d_in, width)} it must be {shape}."
            )
    if variant not in ACROSS and d_in != d_out:
        raise UsageError(f"An {variant} reads and writes one space, but d_in={d_in} and d_out={d_out}.")
