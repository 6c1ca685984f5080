"""Orthogonal matching pursuit for a whole batch of signals at once."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from saes.coding.shapes import check, check_k, unit

CORRELATIONS_AT_ONCE = 2**24
"""Signals are coded in blocks so that (block, atoms) stays under this many numbers."""


def omp(
    signals: Float[Tensor, "n d"], dictionary: Float[Tensor, "atoms d"], k: int, *, tolerance: float = 1e-12
) -> Float[Tensor, "n atoms"]:
    """Codes with at most `k` atoms: k times take the atom most correlated with the residual, then refit all taken.

    The residual is kept orthogonal to the atoms taken by a Gram-Schmidt basis Q of them; the coefficients solve the
    triangular system R c = Q y at the end. A signal stops early when its residual is below `tolerance` of its length
    or the next atom depends on those taken. Exact for every signal made of k < (1 + 1/μ)/2 atoms, μ the coherence
    (Tropp 2004). Atoms need not have length 1; selection is by the cosine.

    Raises `UsageError` for shapes that do not fit, k outside 1..min(atoms, d), or values that are not finite.
    """
    check(signals, dictionary)
    check_k(k, dictionary, most=min(dictionary.shape))
    atoms, length = unit(dictionary)
    block = max(1, CORRELATIONS_AT_ONCE // len(atoms))
    codes = [_omp(part, atoms, k, tolerance) for part in signals.split(block)]
    return torch.cat(codes) / length.T if codes else signals.new_zeros(0, len(atoms))


def _omp(y: Tensor, atoms: Tensor, k: int, tolerance: float) -> Tensor:
    count = len(y)
    rows = torch.arange(count, device=y.device)
    basis, triangle = (
        y.new_zeros(count, k, y.shape[1]),
        torch.eye(k, dtype=y.dtype, device=y.device).repeat(count, 1, 1),
    )
    support = torch.zeros(count, k, dtype=torch.long, device=y.device)
    taken = torch.zeros(count, len(atoms), dtype=torch.bool, device=y.device)
    residual, floor = y.clone(), tolerance * y.norm(dim=1)
    going = residual.norm(dim=1) > floor
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
    values = torch.linalg.solve_triangular(triangle, basis @ y.unsqueeze(2), upper=True).squeeze(2)
    return y.new_zeros(count, len(atoms)).scatter_(1, support, values)


def _orthogonal(fresh: Tensor, basis: Tensor) -> tuple[Tensor, Tensor]:
    """`fresh` minus its part in the span of `basis` (n, t, d), twice for accuracy, and that part's coordinates."""
    along = fresh.new_zeros(basis.shape[:2])
    for _ in range(2):
        part = (basis @ fresh.unsqueeze(2)).squeeze(2)
        fresh, along = fresh - (part.unsqueeze(1) @ basis).squeeze(1), along + part
    return fresh, along
