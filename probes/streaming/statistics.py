"""Sufficient statistics of activations and labels: count, means and one scatter matrix."""

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
"""Rows per matrix product, which is added to the float64 accumulator. Longer sums round more."""
BLOCK = 1024
"""Columns per matrix product: only blocks on and above the diagonal are computed."""


class Statistics:
    """Sufficient statistics for mass-mean, LDA, ridge, PCA and LEACE in O(d²) memory.

    Stored in float64: the number of rows, their mean, the scatter `sum_i (x_i - mean)(x_i - mean)ᵀ`, and for each label
    vector the number and the mean of its true rows. The scatter within the classes follows from these, so that one
    matrix is enough for all labels. Chunks and shards are merged by the formula of Chan, Golub and LeVeque,

        scatter = scatter_a + scatter_b + (n_a n_b / n) δ δᵀ,      δ = mean_b - mean_a.

    Each chunk is shifted by its own mean before it is multiplied: a coordinate with mean 3,000 and variance 1, as in
    massive activations, would otherwise lose its variance to rounding. float32 rows are multiplied in float32
    (variances accurate to about 1e-6), float64 rows in float64.

    Args:
        width: d, the width of the activations.
        labels: number of label vectors.
        device: device of the accumulators.

    Example:
        >>> statistics = probes.Statistics(width=2).update([[0.0, 1.0], [2.0, 1.0]], [0, 1])
        >>> statistics.n, statistics.mean.tolist()
        (2, [1.0, 1.0])
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
        """Add rows `X` (n, d) with labels `y` of 0 and 1.

        Args:
            X: (n, d) activations.
            y: (n,) labels, or (n, labels) for several label vectors.

        Raises:
            UsageError: another width, values that are not finite, or other labels; nothing is added then.

        Example:
            >>> statistics = probes.Statistics(width=2, labels=2)
            >>> statistics.update([[0.0, 1.0], [2.0, 1.0]], [[0, 1], [1, 1]]).n_true.tolist()
            [1, 2]
        """
        rows = self._rows(X)
        labels = self._labels(y, len(rows))
        for part, marks in zip(rows.split(ROWS), labels.split(ROWS), strict=True):
            self._add(part, marks)
        return self

    def merge(self, other: Statistics) -> Statistics:
        """Return the statistics of both sets of rows as a new object.

        The order of merging affects rounding only. Raises `UsageError` for another width or number of label vectors.

        >>> first = probes.Statistics(width=2).update([[0.0, 1.0], [2.0, 1.0]], [0, 1])
        >>> both = first.merge(probes.Statistics(width=2).update([[4.0, 1.0]], [1]))
        >>> both.n, both.mean.numpy().round(6).tolist()
        (3, [2.0, 1.0])
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
        """Return the means of the false and of the true rows.

        `label` is the index of the label vector.

        Raises `UsageError` if the label vector does not exist or has one class only.

        >>> statistics = probes.Statistics(width=2).update([[0.0, 1.0], [0.0, 3.0], [2.0, 1.0]], [0, 0, 1])
        >>> [mean.numpy().round(6).tolist() for mean in statistics.class_means()]
        [[0.0, 2.0], [2.0, 1.0]]
        """
        true, false = self.counts(label)
        mean_true = self.mean_true[label]
        return self.mean + (true / false) * (self.mean - mean_true), mean_true

    def counts(self, label: int = 0) -> tuple[int, int]:
        """Return the numbers of true and false rows; raises as `class_means` does.

        >>> probes.Statistics(width=2).update([[0.0, 1.0], [0.0, 3.0], [2.0, 1.0]], [0, 0, 1]).counts()
        (1, 2)
        """
        if not 0 <= label < self.labels:
            raise UsageError(
                f"Label vector {label} does not exist: there are {self.labels}, numbered 0 to {self.labels - 1}."
            )
        true = int(self.n_true[label])
        if not 0 < true < self.n:
            raise UsageError(f"{true} of {self.n} rows are true: a probe needs true and false statements.")
        return true, self.n - true

    def covariance(self) -> Float[Tensor, "d d"]:
        """Return the covariance of all rows (divisor n).

        >>> probes.Statistics(width=2).update([[0.0, 1.0], [2.0, 1.0]], [0, 1]).covariance().numpy().round(6).tolist()
        [[1.0, 0.0], [0.0, 0.0]]
        """
        return self.scatter / max(self.n, 1)

    def within_covariance(self, label: int = 0) -> Float[Tensor, "d d"]:
        """Return the covariance within the classes of a label vector (divisor n).

        It is the covariance of all rows minus that of the class means.

        >>> X, y = [[0.0, 1.0], [0.0, 3.0], [2.0, 1.0], [2.0, 3.0]], [0, 0, 1, 1]
        >>> probes.Statistics(width=2).update(X, y).within_covariance().numpy().round(6).tolist()
        [[0.0, 0.0], [0.0, 1.0]]
        """
        true, false = self.counts(label)
        low, high = self.class_means(label)
        return (self.scatter - (true * false / self.n) * torch.outer(high - low, high - low)) / self.n

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Save the statistics as a result (safetensors and JSON).

        Returns the folder.

        >>> path = probes.Statistics(width=2).update([[0.0, 1.0], [2.0, 1.0]], [0, 1]).save(folder)  # folder = "out"
        >>> sorted(file.name for file in path.iterdir())
        ['arrays.safetensors', 'result.json']
        """
        arrays = (self.n_true, self.mean, self.mean_true, self.scatter)
        return SavedStatistics(self.n, *(array.cpu().numpy() for array in arrays)).save(folder)

    @classmethod
    def load(cls, folder: str | os.PathLike[str], device: str | torch.device = "cpu") -> Statistics:
        """Load the statistics saved in `folder`.

        Args:
            folder: folder that `save` wrote.
            device: device of the accumulators.

        Raises:
            MissingInputError: the folder has no statistics.
            DamagedFileError: the files were altered since they were written.

        Example:
            >>> _ = probes.Statistics(width=2).update([[0.0, 1.0], [2.0, 1.0]], [0, 1]).save(folder)  # folder = "out"
            >>> probes.Statistics.load(folder).mean.tolist()
            [1.0, 1.0]
        """
        saved = SavedStatistics.load(folder)
        loaded = cls(len(saved.mean), len(saved.n_true), device)
        loaded.n = saved.n
        arrays = (saved.n_true, saved.mean, saved.mean_true, saved.scatter)
        loaded.n_true, loaded.mean, loaded.mean_true, loaded.scatter = (torch.tensor(a, device=device) for a in arrays)
        return loaded

    def _rows(self, X: Any) -> Float[Tensor, "n d"]:
        rows = X.detach() if isinstance(X, Tensor) else torch.tensor(np.asarray(X))
        if rows.ndim != 2 or rows.shape[1] != self.width:
            raise UsageError(f"Rows must have shape (n, {self.width}), not {tuple(rows.shape)}.")
        rows = rows.to(self.mean.device, torch.float64 if rows.dtype == torch.float64 else torch.float32)
        # A finite sum proves that every value is finite, without a copy of the rows. An overflow is refused as well.
        if not all(bool(torch.isfinite(part.sum(dtype=torch.float64))) for part in rows.split(ROWS)):
            raise UsageError("The rows contain NaN or infinity: collect the activations in a wider dtype.")
        return rows

    def _labels(self, y: Any, n: int) -> Float[Tensor, "n label"]:
        labels = torch.as_tensor(y if isinstance(y, Tensor) else np.asarray(y), device=self.mean.device)
        labels = labels[:, None] if labels.ndim == 1 else labels
        if labels.shape != (n, self.labels):
            raise UsageError(f"Labels must have shape ({n}, {self.labels}) for these rows, not {tuple(labels.shape)}.")
        if not bool(((labels == 0) | (labels == 1)).all()):
            raise UsageError("Labels must be 0 (false) and 1 (true).")
        return labels.double()

    def _add(self, rows: Float[Tensor, "m d"], labels: Float[Tensor, "m label"]) -> None:
        if not len(rows):
            return
        pivot = rows.mean(0)  # in the dtype of the rows, to minimise rounding in the subtraction
        shifted = rows - pivot
        sums = shifted.sum(0, dtype=torch.float64)
        _add_gram(shifted, self.scatter)
        off = sums / len(rows)  # rounding error of the pivot
        self.scatter.addr_(off, off, alpha=-len(rows))
        n_true = labels.sum(0)
        mean_true = labels.to(shifted).T @ shifted / n_true.clamp_min(1)[:, None].to(shifted)
        pivot = pivot.double()
        self._absorb(len(rows), pivot + off, n_true.long(), pivot + mean_true.double())

    def _absorb(self, n: int, mean: Tensor, n_true: Tensor, mean_true: Tensor) -> None:
        """Add the counts and means of n more rows.

        The scatter of the rows about their own mean was added before.
        """
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
    """Add rowsᵀ rows to `total`, computing each block above the diagonal once."""
    for i in range(0, rows.shape[1], BLOCK):
        left = rows[:, i : i + BLOCK]
        for j in range(i, rows.shape[1], BLOCK):
            product = left.T @ rows[:, j : j + BLOCK]
            total[i : i + BLOCK, j : j + BLOCK] += product
            if i != j:
                total[j : j + BLOCK, i : i + BLOCK] += product.T


@dataclass(frozen=True, eq=False)
class SavedStatistics(Result):
    """`Statistics` as saved in a result folder.

    >>> _ = probes.Statistics(width=2).update([[0.0, 1.0], [2.0, 1.0]], [0, 1]).save(folder)  # folder = "out"
    >>> SavedStatistics.load(folder).n
    2
    """

    n: int
    n_true: np.ndarray
    mean: np.ndarray
    mean_true: np.ndarray
    scatter: np.ndarray
