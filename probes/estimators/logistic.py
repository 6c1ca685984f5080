"""L2-regularised logistic regression."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from probes.batched.logistic import logistic_path
from probes.estimators.base import LabelProbe, Solution
from probes.estimators.capabilities import Linear


class LogisticRegression(LabelProbe):
    """L2-regularised logistic regression on standardised activations, converged to machine precision.

    Minimises `sum_i log(1 + exp(-(2 y_i - 1) s_i)) + |w|^2 / (2 C)` with `s = ((x - mean) / std) · w + b`, where mean
    and std are those of the training rows. Then `direction_ = w / std` and `bias_ = b - mean · direction_`. Equal to
    scikit-learn's `StandardScaler` followed by `LogisticRegression(C=C)`. The score is a log-odds in nats.

    Args:
        C: inverse strength of the penalty on standardised inputs. Smaller values are closer to mass-mean; 0.01 is a
            good default if there are more dimensions than rows.

    Example:
        >>> X, y = [[0.0, 1.0], [0.0, 3.0], [2.0, 1.0], [2.0, 3.0]], [0, 0, 1, 1]
        >>> probes.LogisticRegression(C=1.0).fit(X, y).predict(X).tolist()
        [0, 0, 1, 1]
    """

    strength = ("C", (1e-4, 1e-3, 1e-2, 1e-1))
    closed_form = True  # not literally, but all labelings are fitted as one path

    def __init__(self, C: float = 0.01):
        self.C = C

    def fit_path(
        self, X: Float[Tensor, "layer n d"], y: Tensor, strengths: Sequence[float], weights: Float[Tensor, "fold n"]
    ) -> Linear:
        """Fit every fold, layer and strength jointly.

        Args:
            X: (layer, n, d) activations.
            y: (n,) labels, 0 or 1.
            strengths: values of C.
            weights: (fold, n) row weights; 0 leaves a row out of a fold.

        Returns:
            `Linear` with directions (fold, layer, strength, d).

        Raises:
            UsageError: a strength that is not positive, or a fold without both classes.
            CheckFailedError: a fit that does not converge.

        Example:
            >>> X, y, weights = torch.rand(3, 6, 2), torch.tensor([0, 1] * 3), torch.ones(1, 6)
            >>> probes.LogisticRegression().fit_path(X, y, [0.01, 0.1], weights).directions.shape
            torch.Size([1, 3, 2, 2])
        """
        path = logistic_path(X, y, strengths, weights)
        return Linear(path.directions, path.biases)

    def fit_labelings(self, X: Float[Tensor, "n d"], labels: Int[Tensor, "draw n"]) -> Linear:
        """Fit every labeling of the same rows jointly.

        Every row occurs twice, as true and as false, so that a labeling is a set of row weights of one path.

        >>> X, labels = torch.tensor([[0.0], [1.0], [2.0]]), torch.tensor([[0, 0, 1], [1, 0, 0]])
        >>> probes.LogisticRegression(C=1.0).fit_labelings(X, labels).directions.round(decimals=3).tolist()
        [[0.927], [-0.927]]
        """
        both = torch.arange(2, device=X.device).flip(0).repeat_interleave(len(X))
        weights = torch.cat([labels, 1 - labels], dim=1)
        path = logistic_path(torch.cat([X, X])[None], both, [self.C], weights)
        return Linear(path.directions[:, 0, 0], path.biases[:, 0, 0])

    def _solve(self, X: Float[Tensor, "layer n d"], y: Int[Tensor, " n"]) -> list[Solution]:
        path = logistic_path(X, y, [self.C])
        directions, biases = path.directions[0, :, 0], path.biases[0, :, 0]
        return [Solution(direction, float(bias)) for direction, bias in zip(directions, biases, strict=True)]
