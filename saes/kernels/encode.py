"""The one dense product of a step: every latent's pre-activation, in a buffer that is used again."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


class Scratch:
    """Named buffers, allocated once: on a processor, fresh pages cost as much as the arithmetic in them."""

    def __init__(self) -> None:
        self._held: dict[str, Tensor] = {}

    def get(self, name: str, shape: tuple[int, ...], like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """A buffer of that name and shape, holding anything, on the device of `like` and in its number format."""
        dtype = dtype or like.dtype
        held = self._held.get(name)
        if held is None or held.shape != shape or held.dtype != dtype or held.device != like.device:
            held = self._held[name] = torch.empty(shape, dtype=dtype, device=like.device)
        return held


def preactivations(
    x: Float[Tensor, "n d"],
    encoder: Float[Tensor, "width d"],
    bias: Float[Tensor, " width"],
    scratch: Scratch,
    half: bool = False,
) -> Float[Tensor, "n width"]:
    """Of every latent, x encoderᵀ + bias; in bfloat16 if `half`: enough to find which latents fire, not for values."""
    dtype = torch.bfloat16 if half else x.dtype
    out = scratch.get("pre", (len(x), len(encoder)), x, dtype)
    if half:
        encoder = scratch.get("encoder.half", tuple(encoder.shape), x, dtype).copy_(encoder)
        x = scratch.get("x.half", tuple(x.shape), x, dtype).copy_(x)
    return torch.addmm(bias.to(dtype), x, encoder.T, out=out)


def half_is_quicker(precision: str, device: torch.device) -> bool:
    """Whether a step finds its latents in bfloat16: as asked, or ("auto") where the hardware multiplies it itself."""
    if precision != "auto":
        return precision == "bfloat16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    native = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return device.type == "cpu" and native is not None and bool(native())
