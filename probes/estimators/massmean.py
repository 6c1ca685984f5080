"""Mass-mean: the direction from the mean of the false statements to the mean of the true ones."""

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
    """Difference of the class means, with the threshold midway between them (arXiv 2310.06824).

    `direction_ = mean(true) - mean(false)` and `bias_ = -direction_ · (mean(true) + mean(false)) / 2`. The published
    form has no bias: it is right only for activations centred with their own test rows, and on raw ones its accuracy
    falls to chance. It cannot be asked for here; whoever wants it takes `X @ direction_`.

    `predict_proba` supposes equal Gaussians along the direction: log-odds = score · |gap| / variance.

    Args:
        covariance: "none", or "shrunk" to whiten by the Ledoit-Wolf covariance within the classes,
            `direction_ = covariance^-1 (mean(true) - mean(false))`, the published form for independent inputs; without
            shrinkage it collapses when there are not many more rows than dimensions.
    """

    closed_form = True

    def __init__(self, covariance: Literal["none", "shrunk"] = "none"):
        self.covariance = covariance

    def fit_labelings(self, X: Float[Tensor, "n d"], labels: Int[Tensor, "draw n"]) -> Linear | None:
        """Fit every labeling of the same rows in two products; None where the covariance is of the labels too."""
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
    """`log_odds_scale` of these scores."""
    false, true = scores[y == 0], scores[y == 1]
    variance = torch.cat([false - false.mean(), true - true.mean()]).square().mean()
    return log_odds_scale(float(true.mean() - false.mean()), float(variance))


def log_odds_scale(gap: float, variance: float) -> float:
    """Log-odds per unit of score, were the classes Gaussians of one variance: gap of the means / variance within.

    0 when the scores of the classes do not differ: such a probe knows nothing. Classes without any spread are
    separated without doubt, which is written as a large finite number.
    """
    return 0.0 if gap <= 0 else gap / max(variance, 1e-12 * gap**2)
