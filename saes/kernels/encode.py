"""The dense product of a step.

It computes the pre-activations of all latents, in a reused buffer.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor


class Scratch:
    """Named buffers that are allocated once.

    New memory pages cost as much as the arithmetic in them.
    """

    def __init__(self) -> None:
        self._buffers: dict[str, Tensor] = {}

    def get(self, name: str, shape: tuple[int, ...], like: Tensor, dtype: torch.dtype | None = None) -> Tensor:
        """Return an uninitialised buffer of a name and shape.

        It has the device and dtype of `like`.

        Args:
            name: name of the buffer.
            shape: its shape.
            like: tensor with the device and dtype.
            dtype: another dtype, if given.
        """
        dtype = dtype or like.dtype
        cached = self._buffers.get(name)
        if cached is None or cached.shape != shape or cached.dtype != dtype or cached.device != like.device:
            cached = self._buffers[name] = torch.empty(shape, dtype=dtype, device=like.device)
        return cached


def preactivations(
    x: Float[Tensor, "n d"],
    encoder: Float[Tensor, "width d"],
    bias: Float[Tensor, " width"],
    scratch: Scratch,
    half: bool = False,
) -> Float[Tensor, "n width"]:
    """Compute x encoderᵀ + bias for every latent.

    Args:
        x: (n, d) inputs.
        encoder: (width, d) encoder rows.
        bias: (width,) biases.
        scratch: buffers.
        half: whether to compute in bfloat16, which is enough to select the firing latents but not for their values.

    Example:
        >>> preactivations(torch.eye(2), torch.eye(2), torch.zeros(2), Scratch()).tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """
    dtype = torch.bfloat16 if half else x.dtype
    out = scratch.get("pre", (len(x), len(encoder)), x, dtype)
    if half:
        encoder = scratch.get("encoder.half", tuple(encoder.shape), x, dtype).copy_(encoder)
        x = scratch.get("x.half", tuple(x.shape), x, dtype).copy_(x)
    return torch.addmm(bias.to(dtype), x, encoder.T, out=out)


def zeros(shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Return zeros with the device and dtype of `like`.

    On a CPU NumPy allocates them: it asks the kernel for huge pages, whose first use costs a fifth of that of others.

    >>> zeros((2, 1), like=torch.ones(3)).tolist()
    [[0.0], [0.0]]
    """
    size = math.prod(shape) * like.element_size()
    if like.device.type != "cpu" or not size:
        return like.new_zeros(shape)
    memory = np.zeros(size, np.uint8)
    return torch.from_numpy(memory).view(like.dtype).view(shape)


def half_is_quicker(precision: str, device: torch.device) -> bool:
    """Return whether a step selects its latents in bfloat16.

    "auto" selects in bfloat16 if the hardware supports it.

    >>> half_is_quicker("float32", torch.device("cpu"))
    False
    """
    if precision != "auto":
        return precision == "bfloat16"
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    native = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return device.type == "cpu" and native is not None and bool(native())
