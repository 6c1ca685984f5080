"""What identifies a model: its name, edits, tokenizer and the digest of its parameters."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from interp.model.model import Model


def weights_sha256(hf: Any) -> str:
    """Return the SHA-256 digest of name, dtype, shape and bytes of every parameter."""
    digest = hashlib.sha256()
    for name, value in sorted(hf.state_dict().items()):
        if not isinstance(value, Tensor) or value.is_quantized or value.is_meta:  # as quantised layers have them
            digest.update(f"{name} {value};".encode())
            continue
        digest.update(f"{name} {value.dtype} {tuple(value.shape)};".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def identity(model: Model) -> dict[str, str]:
    """Return what a `Provenance` records of a model."""
    return {
        "model": " | ".join((model.name, *(one.edit.text for one in model.edits))),
        "weights_sha256": model.weights_sha256,
        "tokenizer": type(model.tokenizer).__name__ if model.has_tokenizer else "",
        "dtype": str(model.dtype).removeprefix("torch."),
        "device": str(model.device),
        **({"weights": model.origin} if model.origin else {}),
    }
