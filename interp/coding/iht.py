"""Iterative hard thresholding."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from interp.coding.shapes import check, check_k


def iht(
    signals: Float[Tensor, "n d"], dictionary: Float[Tensor, "atoms d"], k: int, *, steps: int = 300
) -> Float[Tensor, "n atoms"]:
    """Compute codes with at most `k` atoms by iterative hard thresholding.

    Iterates x ← H_k(x + (y − x D) Dᵀ / ‖D‖²), where H_k keeps the k largest magnitudes.

    The error ‖y − x D‖ never increases (Blumensath and Davies 2008, arXiv 0805.0510).

    Args:
        signals: vectors to code.
        dictionary: atoms, one a row.
        k: most atoms of a code.
        steps: iterations.

    Returns:
        The codes.

    Raises:
        UsageError: as `omp`.

    >>> iht(torch.tensor([[0.0, 2.0, 0.5]]), torch.eye(3), 1)
    tensor([[0., 2., 0.]])
    """
    check(signals, dictionary)
    check_k(k, dictionary)
    rate = 1 / float(torch.linalg.matrix_norm(dictionary, 2)) ** 2
    x = signals.new_zeros(len(signals), len(dictionary))
    for _ in range(steps):
        moved = x + rate * ((signals - x @ dictionary) @ dictionary.T)
        largest = moved.abs().topk(k, dim=1).indices
        x = torch.zeros_like(moved).scatter_(1, largest, moved.gather(1, largest))
    return x
