"""Ridge regression on the labels -1 and +1."""

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
    """Ridge regression on labels -1 and +1, equal to scikit-learn's `RidgeClassifier`.

    Minimises `sum_i (t_i - x_i · w - b)^2 + alpha |w|^2`, t = ±1, on raw activations. Adding noise of variance s to
    every coordinate of n rows is equivalent to alpha = n s. See `probes.batched.ridge_path` for many alphas at once and
    `probes.Statistics` for more rows than fit in memory.

    `predict_proba` assumes Gaussians of equal variance along the direction: log-odds = score · gap / variance.

    Args:
        alpha: strength of the penalty, in squared units of the activations.

    Example:
        >>> X, y = [[0.0, 1.0], [0.0, 3.0], [2.0, 1.0], [2.0, 3.0]], [0, 0, 1, 1]
        >>> probes.Ridge(alpha=4.0).fit(X, y).direction_.round(3).tolist()
        [0.5, 0.0]
    """

    strength = ("alpha", (1.0, 10.0, 100.0, 1e3, 1e4))
    closed_form = True

    def __init__(self, alpha: float = 1.0):
        self.alpha = alpha

    def fit_path(
        self, X: Float[Tensor, "layer n d"], y: Tensor, strengths: Sequence[float], weights: Float[Tensor, "fold n"]
    ) -> Linear:
        """Fit every fold, layer and strength.

        Each fold and layer needs only one decomposition.

        Args:
            X: (layer, n, d) activations.
            y: (n,) labels, 0 or 1.
            strengths: values of alpha.
            weights: (fold, n), above 0 for the rows of a fold.

        Returns:
            `Linear` with directions (fold, layer, strength, d).

        Raises:
            UsageError: an alpha that is not positive.

        Example:
            >>> X, y, weights = torch.rand(3, 6, 2), torch.tensor([0, 1] * 3), torch.ones(1, 6)
            >>> probes.Ridge().fit_path(X, y, [1.0, 10.0], weights).directions.shape
            torch.Size([1, 3, 2, 2])
        """
        paths = [ridge_path(X[:, mask], y[mask], strengths) for mask in weights > 0]
        return Linear(torch.stack([p.directions for p in paths]), torch.stack([p.biases for p in paths]))

    def _solve(self, X: Float[Tensor, "layer n d"], y: Int[Tensor, " n"]) -> list[Solution]:
        path = ridge_path(X, y, [self.alpha])
        y = y.to(X.device)
        return [
            Solution(direction, float(bias), gaussian_scale(layer.double() @ direction, y))
            for layer, direction, bias in zip(X, path.directions[:, 0], path.biases[:, 0], strict=True)
        ]
