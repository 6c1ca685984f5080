"""Within-class covariance with shrinkage, and linear systems with it."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.errors import UsageError
from probes.batched.scaling import standardisation

Shrinkage = str | float
"""Ledoit-Wolf per class ("auto"), oracle approximating shrinkage ("oas"), or a number from 0 to 1."""


def check_shrinkage(shrinkage: Shrinkage) -> None:
    """Raise `UsageError` unless shrinkage is valid.

    Valid are "auto", "oas" and a number from 0 to 1.

    >>> check_shrinkage("oas")
    """
    if shrinkage in ("auto", "oas") or (not isinstance(shrinkage, str) and 0 <= shrinkage <= 1):
        return
    raise UsageError(f'shrinkage must be "auto" (Ledoit-Wolf), "oas" or a number from 0 to 1, not {shrinkage!r}.')


def within_covariance(X: Float[Tensor, "n d"], y: Int[Tensor, " n"], shrinkage: Shrinkage) -> Float[Tensor, "d d"]:
    """Compute the shrunk covariance within classes.

    It is the mean of the classes' covariances weighted by n_c / n.

    "auto" standardises and shrinks each class by itself (Ledoit and Wolf 2004), as scikit-learn's
    `LinearDiscriminantAnalysis(shrinkage="auto")` does; "oas" and a number shrink the pooled covariance.

    >>> X, y = torch.tensor([[0.0, 1.0], [0.0, 3.0], [2.0, 1.0], [2.0, 3.0]]), torch.tensor([0, 0, 1, 1])
    >>> within_covariance(X, y, 0.5).tolist()
    [[0.25, 0.0], [0.0, 0.75]]
    """
    check_shrinkage(shrinkage)
    classes = [X[y == label] for label in (0, 1)]
    if shrinkage == "auto":
        return sum((len(rows) / len(X)) * ledoit_wolf(rows) for rows in classes)  # pyright: ignore
    pooled = torch.cat([rows - rows.mean(0) for rows in classes])
    return shrink(pooled.T @ pooled / len(X), len(X), shrinkage)


def ledoit_wolf(X: Float[Tensor, "n d"]) -> Float[Tensor, "d d"]:
    """Compute the Ledoit-Wolf estimate on standardised rows, scaled back.

    On the unit scale it is (1 - a) S + a mean(diag S) 1.

    `a = min(b, t) / t` with `t = |S - m 1|^2 / d` and `b = (mean_i |x_i|^4 - |S|^2) / (n d)`, m the mean variance.

    >>> ledoit_wolf(torch.tensor([[0.0, 0.0], [2.0, 2.0], [0.0, 2.0]]).double()).numpy().round(2).tolist()
    [[0.89, 0.0], [0.0, 0.89]]
    """
    n, d = X.shape
    mean, scale = standardisation(X, X.new_ones(1, n))
    rows = (X - mean) / scale
    covariance = rows.T @ rows / n
    level = covariance.trace() / d
    square = (covariance**2).sum()
    spread = (square - d * level**2) / d
    noise = torch.minimum((((rows**2).sum(1) ** 2).mean() - square) / (n * d), spread)
    amount = 0.0 if d == 1 or noise <= 0 else float(noise / spread)
    return _towards_identity(covariance, amount) * scale.T * scale


def shrink(covariance: Float[Tensor, "d d"], n: int, shrinkage: Shrinkage) -> Float[Tensor, "d d"]:
    """Shrink a covariance matrix towards a multiple of the identity.

    A covariance S becomes (1 - a) S + a mean(diag S) 1.

    `shrinkage` is a, or "oas" for the oracle approximation (Chen et al. 2010, arXiv 0907.4698), which needs only S and
    the number of rows and therefore works with streamed statistics:
    `a = min(1, (mean(S^2) + m^2) / ((n + 1) (mean(S^2) - m^2 / d)))`, m the mean variance, mean over all entries.

    >>> shrink(torch.tensor([[3.0, 1.0], [1.0, 1.0]]), n=10, shrinkage=0.5).tolist()
    [[2.5, 0.5], [0.5, 1.5]]
    """
    if shrinkage != "oas":
        return _towards_identity(covariance, float(shrinkage))
    d = len(covariance)
    square, level = (covariance**2).mean(), (covariance.trace() / d) ** 2
    below = (n + 1) * (square - level / d)
    amount = 1.0 if below <= 0 else min(1.0, float((square + level) / below))
    return _towards_identity(covariance, 0.0 if d == 1 else amount)


def _towards_identity(covariance: Tensor, amount: float) -> Tensor:
    level = covariance.diagonal().mean()
    return (1 - amount) * covariance + amount * level * torch.eye(len(covariance), dtype=covariance.dtype).to(
        covariance
    )


def solve_symmetric(matrix: Float[Tensor, "d d"], target: Float[Tensor, " d"]) -> Float[Tensor, " d"]:
    """Solve a linear system with a symmetric matrix.

    Computes matrix^-1 target by Cholesky, or the minimum-norm solution if the matrix is singular. Directions without
    variance (below the rounding error of the largest) have solution 0.

    >>> solve_symmetric(2 * torch.eye(2), torch.tensor([2.0, 4.0])).tolist()
    [1.0, 2.0]
    """
    factor, failed = torch.linalg.cholesky_ex(matrix)
    smallest, largest = factor.diagonal().abs().aminmax()
    if int(failed) == 0 and smallest > 1e-7 * largest:
        return torch.cholesky_solve(target[:, None], factor)[:, 0]
    spectrum, basis = torch.linalg.eigh(matrix)
    positive = spectrum > len(matrix) * torch.finfo(matrix.dtype).eps * spectrum[-1].clamp_min(0)
    return basis[:, positive] @ ((basis[:, positive].T @ target) / spectrum[positive])
