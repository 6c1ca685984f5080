"""Checks of the input of every coder."""

from __future__ import annotations

import torch
from torch import Tensor

from interp.errors import UsageError


def check(signals: Tensor, dictionary: Tensor) -> None:
    """Raise `UsageError` unless these are signals (n, d) and atoms (atoms, d).

    Both must be finite and of one dtype, and no atom zero.
    """
    if signals.ndim != 2 or dictionary.ndim != 2 or signals.shape[1] != dictionary.shape[1]:
        raise UsageError(
            f"Signals are {tuple(signals.shape)} and the dictionary {tuple(dictionary.shape)}; expected (n, d) and "
            "(atoms, d) with one d: an atom is a row (transpose the unembedding)."
        )
    if signals.dtype != dictionary.dtype or signals.device != dictionary.device:
        raise UsageError(
            f"Signals are {signals.dtype} on {signals.device}, the dictionary {dictionary.dtype} on "
            f"{dictionary.device}; convert one to the other."
        )
    if not torch.isfinite(signals).all() or not torch.isfinite(dictionary).all():
        raise UsageError("Signals or dictionary hold NaN or infinite values; remove them first.")
    if len(dictionary) == 0 or not dictionary.norm(dim=1).all():
        raise UsageError("The dictionary has no atoms, or one that is zero and has no direction; remove it first.")


def check_k(k: int, dictionary: Tensor, *, most: int | None = None) -> None:
    """Check that k is between 1 and a maximum.

    Raises `UsageError` unless 1 <= k <= `most` (the number of atoms by default).
    """
    most = len(dictionary) if most is None else most
    if not 1 <= k <= most:
        raise UsageError(f"k is {k}; with a dictionary of shape {tuple(dictionary.shape)} it must be from 1 to {most}.")


def unit(dictionary: Tensor) -> tuple[Tensor, Tensor]:
    """Return atoms of length 1, and the lengths they had (atoms, 1)."""
    length = dictionary.norm(dim=1, keepdim=True)
    return dictionary / length, length
