"""Linear erasure: the smallest edit of activations after which no linear probe tells the classes apart.

LEACE (Belrose et al. 2023, arXiv 2306.03819) for two classes. With δ the difference of the class means, μ the mean
and Σ the covariance of all rows,

    r(x) = x − δ · (x − μ)ᵀ Σ⁻¹ δ / (δᵀ Σ⁻¹ δ)

Both classes then have the mean μ, which is equivalent to: no linear probe fitted on these rows does better than a
constant. Among all affine maps that do this it moves the rows least in the norm of Σ⁻¹. The guard holds on the rows it
was fitted on. On others something is left, and a nonlinear probe reads on: `erasure_report` measures both.

With nearly as many dimensions as rows, Σ is badly known and Σ⁻¹ δ points along its smallest errors: new rows are then
thrown far off. Ledoit and Wolf's shrinkage mends that at no loss, since the class means meet for any Σ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interp.errors import UsageError
from interp.results import Result
from probes.batched.covariance import ledoit_wolf, solve_symmetric
from probes.estimators.base import as_array, as_tensor, read_labels

SHRINKAGES = ("ledoit-wolf", None)


@dataclass(frozen=True, eq=False)
class Eraser(Result):
    """A fitted erasure: r(x) = x − write · ((x − mean) · read). Saves and loads as any result.

    Attributes:
        mean: (d,) of the rows it was fitted on.
        write: (d,) the difference of the class means.
        read: (d,) what measures how much of it to take; read · write = 1.
        n: rows it was fitted on.
        method: how `read` was found, in words.
        change: of those rows, see `changed`.
    """

    mean: np.ndarray
    write: np.ndarray
    read: np.ndarray
    n: int
    method: str
    change: float

    def apply(self, X: Any) -> Any:
        """The rows (n, d) with the class difference taken out, as an array or a tensor like those given.

        Raises `UsageError` for rows of another width.
        """
        given = X if isinstance(X, Tensor) else torch.from_numpy(np.asarray(X, np.float64))
        _check_width(given, self.mean)
        rows = given.double()
        mean, write, read = (torch.from_numpy(a).to(rows.device) for a in (self.mean, self.write, self.read))
        erased = rows - ((rows - mean) @ read)[:, None] * write
        return erased.to(given.dtype) if isinstance(X, Tensor) else erased.numpy()

    def changed(self, X: Any) -> float:
        """How far rows are moved, as a fraction: √(Σ |r(x) − x|² / Σ |x − mean|²)."""
        rows = as_array(X).astype(np.float64)
        _check_width(rows, self.mean)
        centred = rows - self.mean
        moved = centred @ self.read * np.linalg.norm(self.write)
        return float(np.linalg.norm(moved) / np.linalg.norm(centred))


@dataclass(frozen=True)
class Leace:
    """LEACE for two classes; see the module.

    Args:
        shrinkage: "ledoit-wolf", or None for the plain covariance, which overfits when rows are few.
    """

    shrinkage: str | None = "ledoit-wolf"

    def __post_init__(self) -> None:
        if self.shrinkage not in SHRINKAGES:
            raise UsageError(f'shrinkage={self.shrinkage!r} is unknown: choose "ledoit-wolf" or None.')

    def fit(self, X: Any, y: Any) -> Eraser:
        """The eraser of activations `X` (n, d) with labels `y`, float64.

        Raises `UsageError` for one class only, rows that are not finite, or classes with the same mean.
        """
        rows, _, write = _means(X, y)
        covariance = ledoit_wolf(rows) if self.shrinkage else torch.cov(rows.T, correction=0)
        how = "LEACE, Ledoit-Wolf" if self.shrinkage else "LEACE, no shrinkage"
        return eraser(rows.mean(0), write, covariance, rows, method=how)


@dataclass(frozen=True)
class MeanProjection:
    """The projection along the difference of the class means, for comparison: Σ = 1 in LEACE's formula."""

    def fit(self, X: Any, y: Any) -> Eraser:
        """The eraser of activations `X` (n, d) with labels `y`; raises `UsageError` as `Leace.fit` does."""
        rows, _, write = _means(X, y)
        return eraser(rows.mean(0), write, None, rows, method="projection along the mean difference")


def eraser(
    mean: Float[Tensor, " d"],
    difference: Float[Tensor, " d"],
    covariance: Float[Tensor, "d d"] | None,
    rows: Float[Tensor, "n d"],
    *,
    method: str = "LEACE",
) -> Eraser:
    """The eraser of known statistics, such as streamed ones; None for Σ stands for the identity.

    `rows` are those whose change is measured.
    """
    solved = difference if covariance is None else solve_symmetric(covariance, difference)
    read = solved / (solved @ difference)
    mine = Eraser(mean.numpy(), difference.numpy(), read.numpy(), len(rows), method, 0.0)
    return Eraser(mine.mean, mine.write, mine.read, mine.n, method, mine.changed(rows))


def _means(X: Any, y: Any) -> tuple[Float[Tensor, "n d"], np.ndarray, Float[Tensor, " d"]]:
    """(rows in float64, labels as 0 and 1, the mean of class 1 less that of class 0)."""
    array = as_array(X)
    if array.ndim != 2:
        raise UsageError(f"Activations to erase are (n, d), not {array.shape}.")
    rows = as_tensor(array.astype(np.float64))
    _, labels = read_labels(as_array(y))
    if len(labels) != len(rows):
        raise UsageError(f"{len(rows)} rows, but {len(labels)} labels.")
    if not torch.isfinite(rows).all():
        raise UsageError("The activations hold a NaN or an infinity.")
    true = torch.from_numpy(labels == 1)
    write = rows[true].mean(0) - rows[~true].mean(0)
    if float(write.norm()) == 0:
        raise UsageError("Both classes have the same mean: there is nothing for a linear probe to read, nor to erase.")
    return rows, labels, write


def _check_width(rows: Tensor | np.ndarray, mean: np.ndarray) -> None:
    if rows.ndim != 2 or rows.shape[1] != len(mean):
        raise UsageError(f"The eraser takes rows of {len(mean)} numbers, not {tuple(rows.shape)}.")
