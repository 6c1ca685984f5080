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

from interp.arguments import checked_fields
from interp.errors import UsageError
from interp.results import Result
from probes.batched.covariance import ledoit_wolf, shrink, solve_symmetric
from probes.estimators.base import as_array, as_tensor, read_labels
from probes.streaming.statistics import Statistics

SHRINKAGES = ("ledoit-wolf", "oas", None)


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
        shrinkage: "ledoit-wolf"; "oas", which needs no rows and so serves streamed statistics (arXiv 0907.4698); or
            None for the plain covariance, which overfits when rows are few.
    """

    shrinkage: str | None = "ledoit-wolf"

    def __post_init__(self) -> None:
        checked_fields(self)
        if self.shrinkage not in SHRINKAGES:
            raise UsageError(f'shrinkage={self.shrinkage!r} is unknown: choose "ledoit-wolf", "oas" or None.')

    def fit(self, X: Any, y: Any) -> Eraser:
        """The eraser of activations `X` (n, d) with labels `y`, float64.

        Raises `UsageError` for one class only, rows that are not finite, or classes with the same mean.
        """
        rows, write = _means(X, y)
        spread = torch.cov(rows.T, correction=0)
        metric = ledoit_wolf(rows) if self.shrinkage == "ledoit-wolf" else self._shrunk(spread, len(rows))
        return _eraser(rows.mean(0), write, spread, metric, len(rows), self._method())

    def from_statistics(self, statistics: Statistics, label: int = 0) -> Eraser:
        """The eraser of streamed `probes.Statistics`, equal to `fit` on their rows.

        Raises `UsageError` for Ledoit and Wolf's shrinkage, which needs the rows, and as `fit` does.
        """
        if self.shrinkage == "ledoit-wolf":
            raise UsageError('Ledoit and Wolf\'s shrinkage needs the rows themselves: use Leace(shrinkage="oas").')
        false, true = statistics.class_means(label)
        spread = statistics.covariance()
        metric = self._shrunk(spread, statistics.n)
        return _eraser(statistics.mean, true - false, spread, metric, statistics.n, self._method())

    def _shrunk(self, spread: Float[Tensor, "d d"], n: int) -> Float[Tensor, "d d"]:
        return spread if self.shrinkage is None else shrink(spread, n, "oas")

    def _method(self) -> str:
        names = {"ledoit-wolf": "Ledoit-Wolf", "oas": "oracle approximating shrinkage", None: "no shrinkage"}
        return f"LEACE, {names[self.shrinkage]}"


@dataclass(frozen=True)
class MeanProjection:
    """The projection along the difference of the class means, for comparison: Σ = 1 in LEACE's formula."""

    def fit(self, X: Any, y: Any) -> Eraser:
        """The eraser of activations `X` (n, d) with labels `y`; raises `UsageError` as `Leace.fit` does."""
        rows, write = _means(X, y)
        spread = torch.cov(rows.T, correction=0)
        return _eraser(rows.mean(0), write, spread, None, len(rows), "projection along the mean difference")


def _eraser(
    mean: Float[Tensor, " d"],
    write: Float[Tensor, " d"],
    spread: Float[Tensor, "d d"],
    metric: Float[Tensor, "d d"] | None,
    n: int,
    method: str,
) -> Eraser:
    """The eraser for the metric Σ (None: the identity); `spread`, the plain covariance, gives the rows' change."""
    if float(write.norm()) == 0:
        raise UsageError("Both classes have the same mean: there is nothing for a linear probe to read, nor to erase.")
    solved = write if metric is None else solve_symmetric(metric, write)
    read = solved / (solved @ write)
    change = (read @ spread @ read).clamp_min(0).sqrt() * write.norm() / spread.trace().sqrt()
    arrays = (array.cpu().numpy().copy() for array in (mean, write, read))
    return Eraser(*arrays, n=n, method=method, change=float(change))


def _means(X: Any, y: Any) -> tuple[Float[Tensor, "n d"], Float[Tensor, " d"]]:
    """(rows in float64, the mean of class 1 less that of class 0)."""
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
    return rows, rows[true].mean(0) - rows[~true].mean(0)


def _check_width(rows: Tensor | np.ndarray, mean: np.ndarray) -> None:
    if rows.ndim != 2 or rows.shape[1] != len(mean):
        raise UsageError(f"The eraser takes rows of {len(mean)} numbers, not {tuple(rows.shape)}.")
