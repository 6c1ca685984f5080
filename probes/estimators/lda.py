"""Linear discriminant analysis with a shrunk covariance."""

from __future__ import annotations

import math

from jaxtyping import Float, Int
from torch import Tensor

from probes.batched.covariance import Shrinkage, solve_symmetric, within_covariance
from probes.estimators.base import LabelProbe, Solution


class LDA(LabelProbe):
    """Linear discriminant: `direction_ = S^-1 (mean(true) - mean(false))`, S the shrunk covariance within the classes.

    `bias_ = -direction_ · (mean(true) + mean(false)) / 2 + log(n_true / n_false)`. Equal to scikit-learn's
    `LinearDiscriminantAnalysis(solver="lsqr", shrinkage=...)`. The score is a log-odds in nats, too sure of itself
    when there are few rows for the dimensions.

    Args:
        shrinkage: "auto" for Ledoit-Wolf, "oas" for the oracle approximation (arXiv 0907.4698), which streamed
            statistics can compute too, or a number from 0 (no shrinkage) to 1.
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
