"""Mean and standard deviation of each fold's rows, as in scikit-learn's `StandardScaler`."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

EPSILON = torch.finfo(torch.float64).eps


def standardisation(
    X: Float[Tensor, "n d"], weights: Float[Tensor, "fold n"]
) -> tuple[Float[Tensor, "fold d"], Float[Tensor, "fold d"]]:
    """Compute the weighted mean and standard deviation of each coordinate.

    The divisor is the sum of the weights. Constant coordinates have standard deviation 1. A coordinate is constant if
    its variance is within rounding error, so that coordinates which all statements share (the embedding of the same
    last token) are not amplified into noise.

    >>> mean, deviation = standardisation(torch.tensor([[0.0, 5.0], [2.0, 5.0]]), torch.ones(1, 2))
    >>> mean.tolist(), deviation.tolist()
    ([[1.0, 5.0]], [[1.0, 1.0]])
    """
    total = weights.sum(1, keepdim=True)
    seen = weights.amax(0)
    shift = seen @ X / seen.sum()  # with massive activations, squares must be taken after centring
    rows = X - shift
    mean = weights @ rows / total
    square = weights @ rows**2 / total
    variance = (square - mean**2).clamp_min(0)
    floor = len(X) * EPSILON * square + (len(X) * (mean + shift) * EPSILON) ** 2
    scale = torch.where(variance <= floor, 1.0, variance.sqrt())
    return mean + shift, scale
