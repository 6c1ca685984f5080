"""Mass-mean probe.

Its direction goes from the mean of the false to the mean of the true statements.
"""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.errors import UsageError
from probes.batched.covariance import solve_symmetric, within_covariance
from probes.estimators.base import LabelProbe, Solution
from probes.estimators.capabilities import Linear


class MassMean(LabelProbe):
    """Difference of the class means, with the threshold midway between them.

    `direction_ = mean(true) - mean(false)` and `bias_ = -direction_ · (mean(true) + mean(false)) / 2`
    (Marks & Tegmark 2023, arXiv 2310.06824). The published form has no bias, which is correct only for activations
    centred on their own test rows; on raw activations its accuracy is at chance. Use `X @ direction_` to get it.

    `predict_proba` assumes Gaussians of equal variance along the direction: log-odds = score · |gap| / variance.

    Args:
        covariance: "none", or "shrunk" to whiten with the Ledoit-Wolf covariance within the classes,
            `direction_ = covariance^-1 (mean(true) - mean(false))`, the published form for independent inputs. Without
            shrinkage that fails unless there are many more rows than dimensions.

    Example:
        >>> X, y = [[0.0, 1.0], [0.0, 3.0], [2.0, 1.0], [2.0, 3.0]], [0, 0, 1, 1]
        >>> probes.MassMean().fit(X, y).direction_.tolist()
        [2.0, 0.0]
    """

    closed_form = True

    def __init__(self, covariance: Literal["none", "shrunk"] = "none"):
        self.covariance = covariance

    def fit_labelings(self, X: Float[Tensor, "n d"], labels: Int[Tensor, "draw n"]) -> Linear | None:
        """Fit every labeling of the same rows in two matrix products.

        Returns None for covariance="shrunk".

        >>> X, labels = torch.tensor([[0.0], [1.0], [2.0]]), torch.tensor([[0, 0, 1], [1, 0, 0]])
        >>> probes.MassMean().fit_labelings(X, labels).directions.tolist()
        [[1.5], [-1.5]]
        """
        if self.covariance != "none":
            return None
        weights = labels.double()
        shares = [side / side.sum(1, keepdim=True) for side in (weights, 1 - weights)]
        true, false = (share @ X.double() for share in shares)
        directions = true - false
        return Linear(directions, -((true + false) * directions).sum(1) / 2)

    def _solve(self, X: Float[Tensor, "layer n d"], y: Int[Tensor, " n"]) -> list[Solution]:
        if self.covariance not in ("none", "shrunk"):
            raise UsageError(f'covariance must be "none" or "shrunk", not {self.covariance!r}.')
        return [self._solve_layer(layer.double(), y.to(X.device)) for layer in X]

    def _solve_layer(self, X: Float[Tensor, "n d"], y: Int[Tensor, " n"]) -> Solution:
        false, true = X[y == 0].mean(0), X[y == 1].mean(0)
        direction = true - false
        if self.covariance == "shrunk":
            direction = solve_symmetric(within_covariance(X, y, "auto"), direction)
        bias = -float(direction @ (true + false)) / 2
        return Solution(direction, bias, gaussian_scale(X @ direction, y))


def gaussian_scale(scores: Float[Tensor, " n"], y: Int[Tensor, " n"]) -> float:
    """Return `log_odds_scale` of the scores of two classes.

    >>> gaussian_scale(torch.tensor([-2.0, 0.0, 1.0, 3.0]), torch.tensor([0, 0, 1, 1]))
    3.0
    """
    false, true = scores[y == 0], scores[y == 1]
    variance = torch.cat([false - false.mean(), true - true.mean()]).square().mean()
    return log_odds_scale(float(true.mean() - false.mean()), float(variance))


def log_odds_scale(gap: float, variance: float) -> float:
    """Return the log-odds per unit of score for Gaussian classes.

    The scale is the gap of the means / the variance within the classes. Returns 0 if the class means do not differ, and
    a large finite number for classes without variance.

    >>> log_odds_scale(3.0, 1.0)
    3.0
    """
    return 0.0 if gap <= 0 else gap / max(variance, 1e-12 * gap**2)
