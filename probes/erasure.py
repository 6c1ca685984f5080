"""LEACE: linear erasure of a class from activations.

It is the smallest linear edit of activations after which no linear probe can separate the classes.

LEACE (Belrose et al. 2023, arXiv 2306.03819) for two classes. With δ the difference of the class means, μ the mean
and Σ the covariance of all rows,

    r(x) = x − δ · (x − μ)ᵀ Σ⁻¹ δ / (δᵀ Σ⁻¹ δ)

Both classes then have the mean μ, which is equivalent to: no linear probe fitted on these rows does better than a
constant. Among all affine maps with this property it moves the rows least in the norm of Σ⁻¹. The guarantee holds on
the rows of the fit. On new rows some of the information remains, and a nonlinear probe may still read it:
`erasure_report` measures both.

With nearly as many dimensions as rows, Σ is estimated badly and Σ⁻¹ δ points along its smallest errors, so that new
rows are moved far. Ledoit-Wolf shrinkage avoids this at no cost, since the class means coincide for any Σ.
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
    """Fitted linear erasure of the difference between two classes.

    r(x) = x − write · ((x − mean) · read).

    Attributes:
        mean: (d,) mean of the rows of the fit.
        write: (d,) difference of the class means.
        read: (d,) direction that measures how much of `write` to remove; read · write = 1.
        n: number of rows of the fit.
        method: name of the method.
        change: relative shift of the rows of the fit, as `changed` defines it.

    Example:
        >>> X, y = np.array([[0.0, 1.0], [0.0, 3.0], [2.0, 1.0], [2.0, 3.0]]), [0, 0, 1, 1]
        >>> probes.Leace(shrinkage=None).fit(X, y).apply(X).tolist()
        [[1.0, 1.0], [1.0, 3.0], [1.0, 1.0], [1.0, 3.0]]
    """

    mean: np.ndarray
    write: np.ndarray
    read: np.ndarray
    n: int
    method: str
    change: float

    def apply(self, X: Any) -> Any:
        """Return the rows (n, d) without the class difference.

        The result is an array or a tensor, like the input. Raises `UsageError` for rows of another width.

        >>> X, y = np.array([[0.0, 1.0], [0.0, 3.0], [2.0, 1.0], [2.0, 3.0]]), [0, 0, 1, 1]
        >>> probes.Leace(shrinkage=None).fit(X, y).apply([[5.0, 2.0]]).round(6).tolist()
        [[1.0, 2.0]]
        """
        given = X if isinstance(X, Tensor) else torch.from_numpy(np.asarray(X, np.float64))
        _check_width(given, self.mean)
        rows = given.double()
        mean, write, read = (torch.from_numpy(a).to(rows.device) for a in (self.mean, self.write, self.read))
        erased = rows - ((rows - mean) @ read)[:, None] * write
        return erased.to(given.dtype) if isinstance(X, Tensor) else erased.numpy()

    def changed(self, X: Any) -> float:
        """Return how far the erasure moves rows, as a fraction.

        The relative shift is √(Σ |r(x) − x|² / Σ |x − mean|²).

        >>> X, y = np.array([[0.0, 1.0], [0.0, 3.0], [2.0, 1.0], [2.0, 3.0]]), [0, 0, 1, 1]
        >>> round(probes.Leace(shrinkage=None).fit(X, y).changed(X), 3)
        0.707
        """
        rows = as_array(X).astype(np.float64)
        _check_width(rows, self.mean)
        centred = rows - self.mean
        moved = centred @ self.read * np.linalg.norm(self.write)
        return float(np.linalg.norm(moved) / np.linalg.norm(centred))


@dataclass(frozen=True)
class Leace:
    """LEACE for two classes (Belrose et al. 2023, arXiv 2306.03819).

    Args:
        shrinkage: "ledoit-wolf"; "oas" (arXiv 0907.4698), which needs no rows and therefore works with streamed
            statistics; or None for the plain covariance, which overfits if there are few rows.

    Example:
        >>> X, y = np.array([[0.0, 1.0], [0.0, 3.0], [2.0, 1.0], [2.0, 3.0]]), [0, 0, 1, 1]
        >>> probes.Leace().fit(X, y).method
        'LEACE, Ledoit-Wolf'
    """

    shrinkage: str | None = "ledoit-wolf"

    def __post_init__(self) -> None:
        checked_fields(self)
        if self.shrinkage not in SHRINKAGES:
            raise UsageError(f'shrinkage={self.shrinkage!r} is unknown: choose "ledoit-wolf", "oas" or None.')

    def fit(self, X: Any, y: Any) -> Eraser:
        """Fit on activations `X` (n, d) and labels `y`.

        Computes in float64 and returns an `Eraser`. Raises `UsageError` for one class only, rows that are not finite,
        or classes with the same mean.

        >>> X, y = np.array([[0.0, 1.0], [0.0, 3.0], [2.0, 1.0], [2.0, 3.0]]), [0, 0, 1, 1]
        >>> eraser = probes.Leace(shrinkage=None).fit(X, y)
        >>> eraser.write.round(6).tolist(), eraser.read.round(6).tolist()
        ([2.0, 0.0], [0.5, 0.0])
        """
        rows, write = _means(X, y)
        spread = torch.cov(rows.T, correction=0)
        metric = ledoit_wolf(rows) if self.shrinkage == "ledoit-wolf" else self._shrunk(spread, len(rows))
        return _eraser(rows.mean(0), write, spread, metric, len(rows), self._method())

    def from_statistics(self, statistics: Statistics, label: int = 0) -> Eraser:
        """Fit on streamed `probes.Statistics`; the result equals `fit` on their rows.

        Raises `UsageError` for Ledoit-Wolf shrinkage, which needs the rows, and in the cases of `fit`.

        >>> X, y = np.array([[0.0, 1.0], [0.0, 3.0], [2.0, 1.0], [2.0, 3.0]]), [0, 0, 1, 1]
        >>> statistics = probes.Statistics(width=2).update(X, y)
        >>> probes.Leace(shrinkage=None).from_statistics(statistics).read.round(6).tolist()
        [0.5, 0.0]
        """
        if self.shrinkage == "ledoit-wolf":
            raise UsageError('Ledoit-Wolf shrinkage needs the rows: use Leace(shrinkage="oas") with statistics.')
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
    """Projection along the difference of the class means, for comparison.

    It is LEACE with Σ = 1.

    Example:
        >>> X, y = np.array([[0.0, 1.0], [2.0, 1.0]]), [0, 1]
        >>> MeanProjection().fit(X, y).apply(X).tolist()
        [[1.0, 1.0], [1.0, 1.0]]
    """

    def fit(self, X: Any, y: Any) -> Eraser:
        """Fit on activations `X` (n, d) and labels `y`.

        Raises `UsageError` as `Leace.fit` does.
        """
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
    """Return the eraser for the metric Σ (None: identity).

    The plain covariance `spread` gives the rows' change.
    """
    if float(write.norm()) == 0:
        raise UsageError("Both classes have the same mean: a linear probe can read nothing, so nothing can be erased.")
    solved = write if metric is None else solve_symmetric(metric, write)
    read = solved / (solved @ write)
    change = (read @ spread @ read).clamp_min(0).sqrt() * write.norm() / spread.trace().sqrt()
    arrays = (array.cpu().numpy().copy() for array in (mean, write, read))
    return Eraser(*arrays, n=n, method=method, change=float(change))


def _means(X: Any, y: Any) -> tuple[Float[Tensor, "n d"], Float[Tensor, " d"]]:
    """Return the float64 rows and the difference of the class means.

    The difference is the mean of class 1 minus the mean of class 0.
    """
    array = as_array(X)
    if array.ndim != 2:
        raise UsageError(f"Activations must have shape (n, d), not {array.shape}.")
    rows = as_tensor(array.astype(np.float64))
    _, labels = read_labels(as_array(y))
    if len(labels) != len(rows):
        raise UsageError(f"There are {len(rows)} rows but {len(labels)} labels.")
    if not torch.isfinite(rows).all():
        raise UsageError("The activations contain NaN or infinity.")
    true = torch.from_numpy(labels == 1)
    return rows, rows[true].mean(0) - rows[~true].mean(0)


def _check_width(rows: Tensor | np.ndarray, mean: np.ndarray) -> None:
    if rows.ndim != 2 or rows.shape[1] != len(mean):
        raise UsageError(f"The eraser expects rows of shape (n, {len(mean)}), not {tuple(rows.shape)}.")
