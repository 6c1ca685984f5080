"""Matching pursuit: greedy, without refitting."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from interp.coding.shapes import check, check_k, unit


def matching_pursuit(
    signals: Float[Tensor, "n d"], dictionary: Float[Tensor, "atoms d"], steps: int
) -> Float[Tensor, "n atoms"]:
    """Compute codes by `steps` rounds of matching pursuit.

    A round adds the atom d most correlated with the residual r, and subtracts ⟨r, d⟩ d from it.

    Energy is conserved at each round, ‖r‖² = ‖r'‖² + ⟨r, d⟩², so the residual shrinks (Mallat and Zhang 1993). An atom
    may be taken again; a code has at most `steps` atoms.

    Args:
        signals: vectors to code.
        dictionary: atoms, one a row.
        steps: rounds.

    Returns:
        The codes.

    Raises:
        UsageError: as `omp`.

    >>> matching_pursuit(torch.tensor([[0.0, 2.0, 0.5]]), torch.eye(3), 1)
    tensor([[0., 2., 0.]])
    """
    check(signals, dictionary)
    check_k(min(steps, 1), dictionary)
    atoms, length = unit(dictionary)
    rows = torch.arange(len(signals), device=signals.device)
    residual, codes = signals.clone(), signals.new_zeros(len(signals), len(atoms))
    for _ in range(steps):
        correlation = residual @ atoms.T
        choice = correlation.abs().argmax(dim=1)
        amount = correlation[rows, choice]
        codes[rows, choice] += amount
        residual -= amount[:, None] * atoms[choice]
    return codes / length.T
