"""Ridge regression of the labels -1 and +1."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from probes.batched.ridge import ridge_path
from probes.estimators.base import LabelProbe, Solution
from probes.estimators.capabilities import Linear
from probes.estimators.massmean import gaussian_scale


class Ridge(LabelProbe):
    """Least squares on labels of -1 and +1 with an L2 penalty; equal to scikit-learn's `RidgeClassifier(alpha)`.

    Minimises `sum_i (t_i - x_i · w - b)^2 + alpha |w|^2`, t = ±1, on raw activations. Adding noise of variance s to
    every coordinate of n rows amounts to alpha = n s. For every alpha at once see `probes.batched.ridge_path`; for
    more rows than memory holds, `probes.Statistics`.

    `predict_proba` supposes equal Gaussians along the direction: log-odds = score · gap / variance.

    Args:
        alpha: strength of the penalty, in squared units of the activations.
    """

    strength = ("alpha", (1.0, 10.0, 100.0, 1e3, 1e4))
    closed_form = True

    def __init__(self, alpha: float = 1.0):
        self.alpha = alpha

    def fit_path(
        self, X: Float[Tensor, "layer n d"], y: Tensor, strengths: Sequence[float], weights: Float[Tensor, "fold n"]
    ) -> Linear:
        """Fit every fold (rows of weight 1), layer and strength, each fold by one decomposition a layer."""
        paths = [ridge_path(X[:, mask], y[mask], strengths) for mask in weights > 0]
        return Linear(torch.stack([p.directions for p in paths]), torch.stack([p.biases for p in paths]))

    def _solve(self, X: Float[Tensor, "layer n d"], y: Int[Tensor, " n"]) -> list[Solution]:
        path = ridge_path(X, y, [self.alpha])
        y = y.to(X.device)
        return [
            Solution(direction, float(bias), gaussian_scale(layer.double() @ direction, y))
            for layer, direction, bias in zip(X, path.directions[:, 0], path.biases[:, 0], strict=True)
        ]
