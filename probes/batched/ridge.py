"""Ridge regression on labels -1 and +1 for every layer.

Every λ of a layer uses the same decomposition. The problem

    minimise  sum_i (t_i - x_i · w - b)^2 + λ |w|^2,      t = 2 y - 1,      b not penalised

is solved in centred coordinates by w = (XᵀX + λ)^-1 Xᵀ t. With the eigenvectors V and eigenvalues e of XᵀX this is
V (e + λ)^-1 Vᵀ Xᵀ t, so that another λ costs one product. When n < d the kernel form Xᵀ (X Xᵀ + λ)^-1 t is used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from interp.errors import UsageError


@dataclass(frozen=True, eq=False)
class RidgePath:
    """Ridge regressions for every layer and alpha.

    Directions and biases are in raw activation space (float64): `score = x @ direction + bias`, near -1 or +1.

    >>> path = ridge_path(torch.tensor([[[0.0], [2.0]]]), torch.tensor([0, 1]), [2.0, 6.0])
    >>> path.alphas, path.biases.numpy().round(2).tolist()
    ((2.0, 6.0), [[-0.5, -0.25]])
    """

    alphas: tuple[float, ...]
    directions: Float[Tensor, "layer alpha d"]
    biases: Float[Tensor, "layer alpha"]


def ridge_path(X: Float[Tensor, "layer n d"], y: Tensor, alphas: Sequence[float]) -> RidgePath:
    """Fit ridge regression for every layer and λ, equal to scikit-learn's `RidgeClassifier(alpha)`.

    Args:
        X: (layer, n, d) activations.
        y: (n,) labels, 0 or 1.
        alphas: values of λ, in squared units of the activations.

    Returns:
        `RidgePath` with directions (layer, alpha, d).

    Raises:
        UsageError: a λ that is not positive.

    Example:
        >>> X, y = torch.tensor([[[0.0], [2.0]]]), torch.tensor([0, 1])
        >>> ridge_path(X, y, [2.0, 6.0]).directions.squeeze().numpy().round(2).tolist()
        [0.5, 0.25]
    """
    alphas = positive_alphas(alphas)
    labels = 2 * torch.as_tensor(y, device=X.device).double() - 1
    fits = [_fit_layer(layer.double(), labels, alphas) for layer in X]
    return RidgePath(alphas, torch.stack([w for w, _ in fits]), torch.stack([b for _, b in fits]))


def positive_alphas(alphas: Sequence[float]) -> tuple[float, ...]:
    """Check that all alphas are positive and return them as floats.

    Raises `UsageError` unless each is a positive number.

    >>> positive_alphas([1, 10])
    (1.0, 10.0)
    """
    alphas = tuple(float(a) for a in alphas)
    if not alphas or not all(0 < a < float("inf") for a in alphas):
        raise UsageError(f"Ridge strengths (λ) must be positive numbers, not {alphas}.")
    return alphas


def solve_ridge(
    gram: Float[Tensor, "m m"], target: Float[Tensor, "m k"], alphas: Sequence[float]
) -> Float[Tensor, "alpha m k"]:
    """Compute (gram + λ)^-1 target for every λ.

    One λ is solved by Cholesky, several by eigendecomposition.

    >>> solve_ridge(torch.eye(2), torch.tensor([[2.0], [4.0]]), [1.0]).squeeze().numpy().round(6).tolist()
    [1.0, 2.0]
    """
    if len(alphas) == 1:
        lifted = gram + alphas[0] * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
        factor, failed = torch.linalg.cholesky_ex(lifted)
        if int(failed) == 0:
            return torch.cholesky_solve(target, factor)[None]
    spectrum, basis = torch.linalg.eigh(gram)
    coordinates = basis.T @ target
    # Eigenvalues of a Gram matrix are not negative, but rounding can make them so, and λ may be small.
    shrunk = [coordinates / (spectrum.clamp_min(0) + alpha)[:, None] for alpha in alphas]
    return basis @ torch.stack(shrunk)


def _fit_layer(
    X: Float[Tensor, "n d"], labels: Float[Tensor, " n"], alphas: Sequence[float]
) -> tuple[Float[Tensor, "alpha d"], Float[Tensor, " alpha"]]:
    mean, middle = X.mean(0), labels.mean()
    rows, target = X - mean, (labels - middle)[:, None]
    if len(rows) < rows.shape[1]:
        directions = solve_ridge(rows @ rows.T, target, alphas)[..., 0] @ rows
    else:
        directions = solve_ridge(rows.T @ rows, rows.T @ target, alphas)[..., 0]
    return directions, middle - directions @ mean
