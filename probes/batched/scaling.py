"""Mean and standard deviation of a fold's rows, as scikit-learn's `StandardScaler` has them."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

EPSILON = torch.finfo(torch.float64).eps


def standardisation(
    X: Float[Tensor, "n d"], weights: Float[Tensor, "fold n"]
) -> tuple[Float[Tensor, "fold d"], Float[Tensor, "fold d"]]:
    """Weighted mean and standard deviation (divisor: the sum of weights); 1 for a coordinate that is constant.

    Constant means a variance within the rounding error of computing it, so that the coordinates which all statements
    share (the embedding of one closing token) are not blown up into noise.
    """
    total = weights.sum(1, keepdim=True)
    seen = weights.amax(0)
    shift = seen @ X / seen.sum()  # massive activations: the squares are of what is left of the mean
    rows = X - shift
    mean = weights @ rows / total
    square = weights @ rows**2 / total
    variance = (square - mean**2).clamp_min(0)
    floor = len(X) * EPSILON * square + (len(X) * (mean + shift) * EPSILON) ** 2
    scale = torch.where(variance <= floor, 1.0, variance.sqrt())
    return mean + shift, scale
