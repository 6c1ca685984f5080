"""Online ridge regression, updated after every batch by the Woodbury identity."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interp.errors import UsageError
from probes.estimators.base import Solution, as_array
from probes.estimators.massmean import log_odds_scale
from probes.estimators.ridge import Ridge


class LiveRidge:
    """Online ridge regression on labels -1 and +1.

    An update with k rows takes O(k d²).

    It stores P = (XᵀX + α)^-1 of all rows so far, about the mean of the first batch, and adds k rows by Woodbury,

        P  ←  P - P Xᵀ (1 + X P Xᵀ)^-1 X P,

    which for one row is the Sherman-Morrison formula. The unpenalised bias is one more such step of rank 1, with the
    mean of all rows and a minus sign. Rounding accumulates slowly: 1e-11 of the weights after 1,000 rows in float64.
    If only the final probe is needed, `Statistics` is faster and more exact.

    Args:
        width: d, the width of the activations.
        alpha: strength of the penalty, as in `Ridge`.

    Example:
        >>> LiveRidge(2, alpha=1.0).update(np.eye(2), [0, 1]).probe().direction_.round(3).tolist()
        [-0.5, 0.5]
    """

    def __init__(self, width: int, alpha: float = 1.0):
        if width < 1 or not 0 < alpha < float("inf"):
            raise UsageError(f"width must be at least 1 and alpha positive, not {width} and {alpha}.")
        self.width, self.alpha = width, float(alpha)
        self.n = 0
        self.inverse: Float[Tensor, "d d"] = torch.eye(width, dtype=torch.float64) / alpha
        self._shift = torch.zeros(width, dtype=torch.float64)
        self._sum = torch.zeros(width, dtype=torch.float64)  # of the shifted rows
        self._moment = torch.zeros(width, dtype=torch.float64)  # of the shifted rows times their label
        self._balance = 0.0  # the sum of the labels

    def update(self, X: Any, y: Any) -> Self:
        """Add rows `X` (k, d) with labels `y` (k,).

        The labels are 0 and 1. A few hundred rows at a time are most efficient.

        Raises:
            UsageError: another width, values that are not finite, or other labels; nothing is added then.

        Example:
            >>> from probes.streaming import LiveRidge
            >>> live = LiveRidge(2).update(np.eye(2), [0, 1]).update([[2.0, 0.0]], [0])
            >>> live.n
            3
        """
        rows = torch.tensor(np.asarray(as_array(X), dtype=np.float64))
        labels = torch.tensor(np.asarray(as_array(y), dtype=np.float64))
        if rows.ndim != 2 or rows.shape[1] != self.width or labels.shape != rows.shape[:1]:
            raise UsageError(
                f"Rows must have shape (k, {self.width}) and labels (k,), "
                f"not {tuple(rows.shape)} and {tuple(labels.shape)}."
            )
        if not bool(torch.isfinite(rows).all()) or not bool(((labels == 0) | (labels == 1)).all()):
            raise UsageError("Rows must be finite and labels 0 (false) or 1 (true).")
        if not len(rows):
            return self
        if not self.n:
            self._shift = rows.mean(0)
        self._add(rows - self._shift, 2 * labels - 1)
        return self

    def probe(self) -> Ridge:
        """Return the fitted `Ridge` of all rows so far.

        Raises `UsageError` if a class is missing.

        >>> from probes.streaming import LiveRidge
        >>> LiveRidge(2, alpha=1.0).update(np.eye(2), [0, 1]).probe().predict(np.eye(2)).tolist()
        [0, 1]
        """
        if abs(self._balance) == self.n:
            raise UsageError(f"All {self.n} rows have one class: a probe needs true and false statements.")
        mean, middle = self._sum / self.n, self._balance / self.n
        target = self._moment - middle * self._sum
        plain, pulled = self.inverse @ target, self.inverse @ mean
        weights = plain + pulled * (self.n * (mean @ plain) / (1 - self.n * (mean @ pulled)))
        bias = middle - float(weights @ (mean + self._shift))
        return Ridge(self.alpha).with_solution(self._solution(weights, target, bias), np.array([0, 1]))

    def _add(self, rows: Float[Tensor, "k d"], labels: Float[Tensor, " k"]) -> None:
        reach = rows @ self.inverse
        inner = torch.eye(len(rows), dtype=torch.float64) + reach @ rows.T
        factor = torch.linalg.cholesky((inner + inner.T) / 2)
        half = torch.linalg.solve_triangular(factor, reach, upper=False)
        self.inverse -= half.T @ half  # symmetric by construction after any number of updates
        self._sum += rows.sum(0)
        self._moment += rows.T @ labels
        self._balance += float(labels.sum())
        self.n += len(rows)

    def _solution(self, weights: Tensor, target: Tensor, bias: float) -> Solution:
        """Return the solution with the log-odds scale of equal Gaussians.

        The variance follows from the stored sums: w·S w = w·target - α w·w, where S is the scatter.
        """
        true = (self.n + self._balance) / 2
        false = self.n - true
        gap = float(weights @ target) * self.n / (2 * true * false)
        scatter = float(weights @ target) - self.alpha * float(weights @ weights)
        return Solution(weights, bias, log_odds_scale(gap, (scatter - true * false / self.n * gap**2) / self.n))
