"""Orthogonal matching pursuit for a whole batch of signals at once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.coding.shapes import check, check_k, unit

CORRELATIONS_AT_ONCE = 2**24
"""Signals are coded in blocks so that (block, atoms) stays under this many numbers."""


@dataclass(frozen=True)
class Pursuit:
    """The steps of orthogonal matching pursuit for each signal.

    Attributes:
        support: the atoms in the order they were taken.
        values: their final coefficients; 0 for a step after the pursuit had stopped.
        left: |residual|² / |signal|² after each step.

    >>> pursuit = coding.pursue(torch.tensor([[0.0, 2.0, 0.5]]), torch.eye(3), k=2)
    >>> pursuit.support, pursuit.left.round(decimals=3)
    (tensor([[1, 2]]), tensor([[0.059, 0.000]]))
    """

    support: Int[Tensor, "n k"]
    values: Float[Tensor, "n k"]
    left: Float[Tensor, "n k"]


def omp(
    signals: Float[Tensor, "n d"], dictionary: Float[Tensor, "atoms d"], k: int, *, tolerance: float = 1e-12
) -> Float[Tensor, "n atoms"]:
    """Compute codes with at most `k` atoms by orthogonal matching pursuit.

    k times, the atom most correlated with the residual is added, and all chosen atoms are refitted.

    The residual stays orthogonal to the atoms taken by a Gram-Schmidt basis Q of them; the coefficients solve the
    triangular system R c = Q y at the end. A signal stops early when its residual is below `tolerance` of its length
    or the next atom depends on those taken. Exact for every signal made of k < (1 + 1/μ)/2 atoms, μ the coherence
    (Tropp 2004). Atoms need not have length 1; selection is by the cosine.

    Args:
        signals: vectors to code.
        dictionary: atoms, one a row.
        k: most atoms of a code.
        tolerance: of a signal's length, at which its pursuit stops.

    Returns:
        The codes.

    Raises:
        UsageError: shapes that do not fit, k outside 1..min(atoms, d), or values that are not finite.

    >>> omp(torch.tensor([[0.0, 2.0, 0.5]]), torch.eye(3), 1)
    tensor([[0., 2., 0.]])
    """
    result = pursue(signals, dictionary, k, tolerance=tolerance)
    return signals.new_zeros(len(signals), len(dictionary)).scatter_(1, result.support, result.values)


def pursue(
    signals: Float[Tensor, "n d"], dictionary: Float[Tensor, "atoms d"], k: int, *, tolerance: float = 1e-12
) -> Pursuit:
    """Run `omp` and return its steps.

    These are the atoms in order, their coefficients, and what each step leaves.

    Args:
        signals: vectors to code.
        dictionary: atoms, one a row.
        k: most atoms of a code.
        tolerance: of a signal's length, at which its pursuit stops.

    Returns:
        The steps.

    >>> pursue(torch.tensor([[0.0, 2.0, 0.5]]), torch.eye(3), k=2).support
    tensor([[1, 2]])
    """
    check(signals, dictionary)
    check_k(k, dictionary, most=min(dictionary.shape))
    atoms, length = unit(dictionary)
    block = max(1, CORRELATIONS_AT_ONCE // len(atoms))
    parts = [_pursue(part, atoms, k, tolerance) for part in signals.split(block)]
    support, values, left = (torch.cat(part) for part in zip(*parts, strict=True))
    return Pursuit(support, values / length[:, 0][support], left)


def _pursue(y: Tensor, atoms: Tensor, k: int, tolerance: float) -> tuple[Tensor, Tensor, Tensor]:
    count = len(y)
    rows = torch.arange(count, device=y.device)
    basis, triangle = (
        y.new_zeros(count, k, y.shape[1]),
        torch.eye(k, dtype=y.dtype, device=y.device).repeat(count, 1, 1),
    )
    support = torch.zeros(count, k, dtype=torch.long, device=y.device)
    taken = torch.zeros(count, len(atoms), dtype=torch.bool, device=y.device)
    residual, floor = y.clone(), tolerance * y.norm(dim=1)
    going, left = residual.norm(dim=1) > floor, y.new_zeros(count, k)
    energy = y.square().sum(1).clamp_min(torch.finfo(y.dtype).tiny)
    for step in range(k):
        choice = (residual @ atoms.T).abs().masked_fill_(taken, -1).argmax(dim=1)
        fresh, along = _orthogonal(atoms[choice], basis[:, :step])
        size = fresh.norm(dim=1)
        # An atom this close to the span of those taken adds nothing but rounding errors.
        going = going & (size > 1e3 * torch.finfo(y.dtype).eps)
        direction = torch.where(going[:, None], fresh / size.clamp_min(torch.finfo(y.dtype).tiny)[:, None], 0)
        basis[:, step], support[:, step] = direction, choice
        triangle[:, :step, step] = torch.where(going[:, None], along, 0)
        triangle[:, step, step] = torch.where(going, size, 1)
        taken[rows, choice] = True
        for _ in range(2):
            residual = residual - (residual * direction).sum(1, keepdim=True) * direction
        going = going & (residual.norm(dim=1) > floor)
        left[:, step] = residual.square().sum(1) / energy
    values = torch.linalg.solve_triangular(triangle, basis @ y.unsqueeze(2), upper=True).squeeze(2)
    return support, values, left


def _orthogonal(fresh: Tensor, basis: Tensor) -> tuple[Tensor, Tensor]:
    """Return vectors without their part in a span, and that part.

    `fresh` without its part in the span of `basis` (n, t, d).

    Projected twice for accuracy; the part is given by its coordinates.
    """
    along = fresh.new_zeros(basis.shape[:2])
    for _ in range(2):
        part = (basis @ fresh.unsqueeze(2)).squeeze(2)
        fresh, along = fresh - (part.unsqueeze(1) @ basis).squeeze(1), along + part
    return fresh, along
