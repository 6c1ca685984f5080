"""Checks of tensors: that every number is finite, and a digest of their bytes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import torch
from torch import Tensor

from interp.errors import NotFiniteError

AT_ONCE = 65_536
"""Rows whose bytes are read at a time."""


def all_finite(values: Tensor) -> bool:
    """Return whether no value is NaN or infinite.

    A finite sum proves it in one pass; only otherwise every value is checked.
    """
    return bool(torch.isfinite(values.sum())) or bool(torch.isfinite(values).all())


def check_finite(values: Tensor, what: str, *, first: int = 0, fix: str = "remove these rows first") -> None:
    """Raise `NotFiniteError` if values are NaN or infinite.

    The error names the rows (counted from `first`) with such values.

    `what` is the plural subject of the sentence, such as "input activations"; `fix` is the advice at its end.
    """
    if all_finite(values):
        return
    bad = (~torch.isfinite(values)).reshape(len(values), -1).any(1).nonzero()[:, 0]
    shown = ", ".join(str(first + row) for row in bad[:3].tolist()) + (", ..." if len(bad) > 3 else "")
    raise NotFiniteError(
        f"The {what} hold NaN or infinite values in {len(bad)} of {len(values)} rows (row {shown}): {fix}."
    )


def sha256(parts: Iterable[tuple[str, Tensor]], start: str = "") -> str:
    """Return the SHA-256 of `start` and of each tensor's label and bytes."""
    digest = hashlib.sha256(start.encode())
    for label, tensor in parts:
        digest.update(label.encode())
        for rows in tensor.detach().cpu().split(AT_ONCE) if tensor.ndim else (tensor.detach().cpu(),):
            digest.update(rows.contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
