"""Sufficient statistics of activations and labels: count, means and one scatter matrix, merged chunk by chunk."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.arguments import checked
from interp.errors import UsageError
from interp.results import Result

ROWS = 1024
"""Rows multiplied at a time; their product is then added to the float64 accumulator. Longer sums round more."""
BLOCK = 1024
"""Columns of one product: only blocks on and above the diagonal are computed."""


class Statistics:
    """What mass-mean, LDA, ridge, PCA and LEACE need to know of any number of rows: O(d²) memory, whatever n is.

    Kept in float64: the number of rows, their mean, the scatter `sum_i (x_i - mean)(x_i - mean)ᵀ` about it, and for
    each label vector the number and the mean of its true rows. The scatter within the classes follows from these, so
    one matrix serves every label. Chunks and shards are merged by Chan, Golub and LeVeque's formula,

        scatter = scatter_a + scatter_b + (n_a n_b / n) δ δᵀ,      δ = mean_b - mean_a,

    each chunk shifted by its own mean before anything is multiplied: a coordinate with mean 3,000 and variance 1, as
    massive activations have it, would otherwise lose its variance to rounding. Rows in float32 are multiplied in
    float32 (variances right to about 1e-6), rows in float64 in float64.

    Args:
        width: d, the width of the activations.
        labels: how many label vectors the rows carry.
        device: where the accumulators live.
    """

    @checked
    def __init__(self, width: int, labels: int = 1, device: str | torch.device = "cpu"):
        if width < 1 or labels < 1:
            raise UsageError(f"width and labels must be at least 1, not {width} and {labels}.")
        self.width, self.labels = width, labels
        self.n = 0
        self.mean: Float[Tensor, " d"] = torch.zeros(width, dtype=torch.float64, device=device)
        self.scatter: Float[Tensor, "d d"] = torch.zeros(width, width, dtype=torch.float64, device=device)
        self.n_true: Int[Tensor, " label"] = torch.zeros(labels, dtype=torch.int64, device=device)
        self.mean_true: Float[Tensor, "label d"] = torch.zeros(labels, width, dtype=torch.float64, device=device)

    def update(self, X: Float[Tensor, "n d"] | Any, y: Any) -> Self:
        """Take in rows `X` (n, d) with labels `y` of 0 and 1: (n,), or (n, labels) for several label vectors.

        Raises `UsageError` for another width, values that are not finite or other labels; then nothing was taken in.
        """
        rows = self._rows(X)
        labels = self._labels(y, len(rows))
        for part, marks in zip(rows.split(ROWS), labels.split(ROWS), strict=True):
            self._take(part, marks)
        return self

    def merge(self, other: Statistics) -> Statistics:
        """The statistics of both sets of rows, as a new object; the order of merging matters to rounding only.

        Raises `UsageError` unless both have the same width and number of label vectors.
        """
        if (self.width, self.labels) != (other.width, other.labels):
            raise UsageError(
                f"Statistics of width {self.width} with {self.labels} label vectors cannot be merged with those of "
                f"width {other.width} with {other.labels}."
            )
        merged = Statistics(self.width, self.labels, self.mean.device)
        merged.n, merged.n_true = self.n, self.n_true.clone()
        merged.mean, merged.scatter, merged.mean_true = self.mean.clone(), self.scatter.clone(), self.mean_true.clone()
        merged.scatter += other.scatter.to(self.mean.device)
        merged._absorb(other.n, other.mean, other.n_true, other.mean_true)
        return merged

    def class_means(self, label: int = 0) -> tuple[Float[Tensor, " d"], Float[Tensor, " d"]]:
        """(mean of the false rows, mean of the true rows) of a label vector.

        Raises `UsageError` if there is no such label vector or it holds one class only.
        """
        true, false = self.counts(label)
        mean_true = self.mean_true[label]
        return self.mean + (true / false) * (self.mean - mean_true), mean_true

    def counts(self, label: int = 0) -> tuple[int, int]:
        """(number of true rows, number of false rows); raises as `class_means` does."""
        if not 0 <= label < self.labels:
            raise UsageError(f"There are {self.labels} label vectors, numbered from 0; {label} is none of them.")
        true = int(self.n_true[label])
        if not 0 < true < self.n:
            raise UsageError(f"Of {self.n} rows {true} are true: a probe needs true and false statements.")
        return true, self.n - true

    def covariance(self) -> Float[Tensor, "d d"]:
        """The covariance of all rows (divisor n)."""
        return self.scatter / max(self.n, 1)

    def within_covariance(self, label: int = 0) -> Float[Tensor, "d d"]:
        """The covariance within the classes of a label vector (divisor n): all of it less that of the class means."""
        true, false = self.counts(label)
        low, high = self.class_means(label)
        return (self.scatter - (true * false / self.n) * torch.outer(high - low, high - low)) / self.n

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write the statistics into `folder` as a result (safetensors and JSON, whole or not at all)."""
        arrays = (self.n_true, self.mean, self.mean_true, self.scatter)
        return SavedStatistics(self.n, *(array.cpu().numpy() for array in arrays)).save(folder)

    @classmethod
    def load(cls, folder: str | os.PathLike[str], device: str | torch.device = "cpu") -> Statistics:
        """The statistics saved in `folder`; raises `MissingInputError` or `DamagedFileError` as results do."""
        saved = SavedStatistics.load(folder)
        found = cls(len(saved.mean), len(saved.n_true), device)
        found.n = saved.n
        arrays = (saved.n_true, saved.mean, saved.mean_true, saved.scatter)
        found.n_true, found.mean, found.mean_true, found.scatter = (torch.tensor(a, device=device) for a in arrays)
        return found

    def _rows(self, X: Any) -> Float[Tensor, "n d"]:
        rows = X.detach() if isinstance(X, Tensor) else torch.tensor(np.asarray(X))
        if rows.ndim != 2 or rows.shape[1] != self.width:
            raise UsageError(f"Rows of width {self.width} were expected: (n, {self.width}), not {tuple(rows.shape)}.")
        rows = rows.to(self.mean.device, torch.float64 if rows.dtype == torch.float64 else torch.float32)
        # The sum is finite only if every value is, or if it overflows, which is as bad: no copy of the rows is made.
        if not all(bool(torch.isfinite(part.sum(dtype=torch.float64))) for part in rows.split(ROWS)):
            raise UsageError("The rows hold NaN or infinity: collect the activations in a wider dtype.")
        return rows

    def _labels(self, y: Any, n: int) -> Float[Tensor, "n label"]:
        labels = torch.as_tensor(y if isinstance(y, Tensor) else np.asarray(y), device=self.mean.device)
        labels = labels[:, None] if labels.ndim == 1 else labels
        if labels.shape != (n, self.labels):
            raise UsageError(f"Labels must be ({n}, {self.labels}) for these rows, not {tuple(labels.shape)}.")
        if not bool(((labels == 0) | (labels == 1)).all()):
            raise UsageError("Labels must be 0 (false) and 1 (true).")
        return labels.double()

    def _take(self, rows: Float[Tensor, "m d"], labels: Float[Tensor, "m label"]) -> None:
        if not len(rows):
            return
        pivot = rows.mean(0)  # in the rows' own dtype, so that subtracting it rounds as little as can be
        shifted = rows - pivot
        sums = shifted.sum(0, dtype=torch.float64)
        _add_gram(shifted, self.scatter)
        off = sums / len(rows)  # what the pivot misses of the mean, by rounding
        self.scatter.addr_(off, off, alpha=-len(rows))
        n_true = labels.sum(0)
        mean_true = labels.to(shifted).T @ shifted / n_true.clamp_min(1)[:, None].to(shifted)
        pivot = pivot.double()
        self._absorb(len(rows), pivot + off, n_true.long(), pivot + mean_true.double())

    def _absorb(self, n: int, mean: Tensor, n_true: Tensor, mean_true: Tensor) -> None:
        """Take in the counts and means of n more rows, whose scatter about their own mean was added already."""
        total = self.n + n
        if total == 0:
            return
        device = self.mean.device
        step = mean.to(device) - self.mean
        self.scatter.addr_(step, step, alpha=self.n * n / total)
        self.mean = self.mean + step * (n / total)
        both = self.n_true + n_true.to(device)
        share = (n_true.to(device).double() / both.clamp_min(1))[:, None]
        self.mean_true = self.mean_true + (mean_true.to(device) - self.mean_true) * share
        self.n, self.n_true = total, both


def _add_gram(rows: Float[Tensor, "m d"], total: Float[Tensor, "d d"]) -> None:
    """Add rowsᵀ rows to `total`, each block above the diagonal computed once and mirrored."""
    for i in range(0, rows.shape[1], BLOCK):
        left = rows[:, i : i + BLOCK]
        for j in range(i, rows.shape[1], BLOCK):
            product = left.T @ rows[:, j : j + BLOCK]
            total[i : i + BLOCK, j : j + BLOCK] += product
            if i != j:
                total[j : j + BLOCK, i : i + BLOCK] += product.T


@dataclass(frozen=True, eq=False)
class SavedStatistics(Result):
    """`Statistics` as a result folder holds them."""

    n: int
    n_true: np.ndarray
    mean: np.ndarray
    mean_true: np.ndarray
    scatter: np.ndarray
