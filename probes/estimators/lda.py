"""Linear discriminant analysis with a shrunk covariance."""

from __future__ import annotations

import math

from jaxtyping import Float, Int
from torch import Tensor

from probes.batched.covariance import Shrinkage, solve_symmetric, within_covariance
from probes.estimators.base import LabelProbe, Solution


class LDA(LabelProbe):
    """Linear discriminant analysis with shrinkage.

    `direction_ = S^-1 (mean(true) - mean(false))`, where S is the shrunk covariance within the classes, and
    `bias_ = -direction_ · (mean(true) + mean(false)) / 2 + log(n_true / n_false)`. Equal to scikit-learn's
    `LinearDiscriminantAnalysis(solver="lsqr", shrinkage=...)`. The score is a log-odds in nats, overconfident if there
    are few rows for the number of dimensions.

    Args:
        shrinkage: "auto" for Ledoit-Wolf, "oas" for the oracle approximation (arXiv 0907.4698), which can also be
            computed from streamed statistics, or a number from 0 (no shrinkage) to 1.

    Example:
        >>> X, y = [[0.0, 1.0], [0.0, 3.0], [2.0, 1.0], [2.0, 3.0]], [0, 0, 1, 1]
        >>> probes.LDA(shrinkage=1.0).fit(X, y).direction_.round(3).tolist()
        [4.0, 0.0]
    """

    closed_form = True

    def __init__(self, shrinkage: Shrinkage = "auto"):
        self.shrinkage = shrinkage

    def _solve(self, X: Float[Tensor, "layer n d"], y: Int[Tensor, " n"]) -> list[Solution]:
        return [self._solve_layer(layer.double(), y.to(X.device)) for layer in X]

    def _solve_layer(self, X: Float[Tensor, "n d"], y: Int[Tensor, " n"]) -> Solution:
        false, true = X[y == 0].mean(0), X[y == 1].mean(0)
        direction = solve_symmetric(within_covariance(X, y, self.shrinkage), true - false)
        prior = math.log(int((y == 1).sum()) / int((y == 0).sum()))
        return Solution(direction, prior - float(direction @ (true + false)) / 2)
