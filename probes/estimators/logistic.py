"""Logistic regression: the direction that best predicts truth under an L2 penalty."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor

from probes.batched.logistic import logistic_path
from probes.estimators.base import LabelProbe, Solution


class LogisticRegression(LabelProbe):
    """L2-regularised logistic regression on standardised activations, converged to rounding.

    Minimises `sum_i log(1 + exp(-(2 y_i - 1) s_i)) + |w|^2 / (2 C)` with `s = ((x - mean) / std) · w + b`, mean and
    standard deviation of the training rows; then `direction_ = w / std` and `bias_ = b - mean · direction_`. Equal to
    scikit-learn's `StandardScaler` and `LogisticRegression(C=C)`. The score is a log-odds in nats.

    Args:
        C: inverse strength of the penalty, on standardised inputs. The smaller, the closer to mass-mean; with more
            dimensions than rows, 0.01 is a sound beginning.
    """

    def __init__(self, C: float = 0.01):
        self.C = C

    def _solve(self, X: Float[Tensor, "layer n d"], y: Int[Tensor, " n"]) -> list[Solution]:
        path = logistic_path(X, y, [self.C])
        directions, biases = path.directions[0, :, 0], path.biases[0, :, 0]
        return [Solution(direction, float(bias)) for direction, bias in zip(directions, biases, strict=True)]
