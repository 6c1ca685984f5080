"""Large matrices known by two thin factors."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Complex, Float, Int
from torch import Tensor


@dataclass(frozen=True)
class LowRank:
    """M = left · rightᵀ, known by its factors.

    With d rows and columns and rank r, no method but `matrix` forms anything of size d × d.

    Norms and spectra are computed in float64 whatever the factors' dtype.

    >>> low_rank = LowRank(torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0], [1.0]]))
    >>> low_rank.matrix
    tensor([[3., 1.],
            [6., 2.]])
    """

    left: Float[Tensor, "rows rank"]
    right: Float[Tensor, "columns rank"]

    @property
    def matrix(self) -> Float[Tensor, "rows columns"]:
        """M itself."""
        return self.left @ self.right.T

    def form(self, x: Float[Tensor, "*batch rows"], y: Float[Tensor, "*batch columns"]) -> Float[Tensor, "*batch"]:
        """Return x M yᵀ, row by row; the batches broadcast.

        >>> low_rank.form(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0]))
        tensor(1.)
        """
        return ((x @ self.left) * (y @ self.right)).sum(-1)

    def energy(self) -> float:
        """Return the sum of squared entries.

        ‖M‖² = Σ (leftᵀ left) ∘ (rightᵀ right).

        >>> low_rank.energy()
        50.0
        """
        left, right = self.left.double(), self.right.double()
        return float(((left.T @ left) * (right.T @ right)).sum())

    def eigenvalues(self) -> Complex[Tensor, " rank"]:
        """Return the eigenvalues of a square M, largest magnitude first.

        Zeros of its kernel are left out: they are those of rightᵀ left.

        >>> low_rank.eigenvalues()
        tensor([5.+0.j], dtype=torch.complex128)
        """
        values = torch.linalg.eigvals(self.right.double().T @ self.left.double())
        return values[values.abs().argsort(descending=True, stable=True)]

    def svd(self) -> tuple[Float[Tensor, "rows k"], Float[Tensor, " k"], Float[Tensor, "columns k"]]:
        """Compute the singular value decomposition (U, s, V).

        M = U diag(s) Vᵀ, k = min(rank, rows, columns).

        >>> U, s, V = low_rank.svd()
        >>> s
        tensor([7.071], dtype=torch.float64)
        """
        left, left_core = torch.linalg.qr(self.left.double())
        right, right_core = torch.linalg.qr(self.right.double())
        u, s, vh = torch.linalg.svd(left_core @ right_core.T, full_matrices=False)
        return left @ u, s, right @ vh.T

    def symmetric_eigenvalues(self) -> Float[Tensor, " k"]:
        """Return the eigenvalues of the symmetric part, largest first.

        M is square, its symmetric part (M + Mᵀ)/2; k = min(2 rank, rows) of them.

        With QR = [left right], the symmetric part is ½ Q (R J Rᵀ) Qᵀ, J swapping the two halves.

        >>> low_rank.symmetric_eigenvalues()
        tensor([ 6.035, -1.036], dtype=torch.float64)
        """
        both = torch.cat([self.left, self.right], dim=1).double()
        core = torch.linalg.qr(both, mode="r").R
        swapped = core.roll(self.left.shape[1], dims=1)
        return torch.linalg.eigvalsh((core @ swapped.T) / 2).flip(0)

    def symmetric_fraction(self) -> float:
        """Return the share of the squared norm in the symmetric part.

        ‖(M + Mᵀ)/2‖² / ‖M‖²: 1 for a symmetric M, 0 for an antisymmetric one. It is ½ + tr(M²) / 2‖M‖².

        >>> low_rank.symmetric_fraction()
        0.75
        """
        inner = self.right.double().T @ self.left.double()
        return 0.5 + 0.5 * float((inner * inner.T).sum()) / self.energy()

    def split(self) -> tuple[LowRank, LowRank]:
        """Return the symmetric and antisymmetric parts, each of twice the rank.

        >>> symmetric, antisymmetric = low_rank.split()
        >>> symmetric.matrix, antisymmetric.matrix
        (tensor([[3.000, 3.500],
                [3.500, 2.000]]), tensor([[ 0.000, -2.500],
                [ 2.500,  0.000]]))
        """
        swapped = torch.cat([self.right, self.left], dim=1)
        symmetric = torch.cat([self.left, self.right], dim=1) / 2
        antisymmetric = torch.cat([self.left, -self.right], dim=1) / 2
        return LowRank(symmetric, swapped), LowRank(antisymmetric, swapped)


def signature(eigenvalues: Float[Tensor, " n"]) -> tuple[int, int]:
    """Count positive and negative eigenvalues.

    Zero is what float32 factors could have made by rounding.
    """
    noise = 64 * torch.finfo(torch.float32).eps * eigenvalues.abs().max()
    return int((eigenvalues > noise).sum()), int((eigenvalues < -noise).sum())


def positive_share(eigenvalues: Float[Tensor, " n"]) -> float:
    """Return the sum of positive eigenvalues over the sum of magnitudes.

    NaN where all are zero.
    """
    return float(eigenvalues.clamp_min(0).sum() / eigenvalues.abs().sum())


def working(tensor: Tensor) -> Tensor:
    """Return the tensor in float32 if it is of a half precision."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


@dataclass(frozen=True)
class Entries:
    """Largest entries of a matrix, and each row's largest column."""

    values: Float[Tensor, " k"]
    rows: Int[Tensor, " k"]
    columns: Int[Tensor, " k"]
    best_column: Int[Tensor, " n_row"]


def top_entries(
    left: Float[Tensor, "n_row rank"], right: Float[Tensor, "n_column rank"], k: int, block: int = 512
) -> Entries:
    """Return the k largest entries of left · rightᵀ.

    It is computed `block` rows at a time.

    An entry among the k largest stands in one of the k rows with the largest maxima, so only those are sorted.
    """
    n_column = right.shape[0]
    values, flat, best_columns = left.new_empty(0), torch.empty(0, dtype=torch.long, device=left.device), []
    for start in range(0, left.shape[0], block):
        part = left[start : start + block] @ right.T
        best, best_column = part.max(1)
        best_columns.append(best_column)
        rows = best.topk(min(k, len(best))).indices
        values_here, at = part[rows].flatten().topk(min(k, len(rows) * n_column))
        values = torch.cat([values, values_here])
        flat = torch.cat([flat, (rows[at // n_column] + start) * n_column + at % n_column])
        values, order = values.topk(min(k, len(values)))
        flat = flat[order]
    return Entries(values, flat // n_column, flat % n_column, torch.cat(best_columns))
