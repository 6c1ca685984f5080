"""Probes fitted from statistics, equal to fits on all rows at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interp.errors import UsageError
from probes.batched.covariance import check_shrinkage, shrink, solve_symmetric
from probes.batched.ridge import RidgePath, positive_alphas, solve_ridge
from probes.estimators.base import LinearProbe, Solution
from probes.estimators.lda import LDA
from probes.estimators.massmean import MassMean, log_odds_scale
from probes.estimators.ridge import Ridge
from probes.streaming.statistics import Statistics

Streamed = TypeVar("Streamed", bound=LinearProbe)


def fit(probe: Streamed, statistics: Statistics, label: int = 0) -> Streamed:
    """Fit a copy of a probe from statistics.

    The result equals the fit on the rows of the statistics.

    Args:
        probe: `MassMean()`, `Ridge(alpha)`, or `LDA` with shrinkage "oas" or a number.
        statistics: the statistics.
        label: index of the label vector.

    Returns:
        The fitted copy.

    Raises:
        UsageError: another probe, Ledoit-Wolf shrinkage (it needs fourth moments and therefore the rows), or a label
            vector with one class only.

    Example:
        >>> statistics = probes.Statistics(2).update(np.eye(2), [0, 1])
        >>> fit(probes.MassMean(), statistics).direction_.tolist()
        [-1.0, 1.0]
    """
    solve = {MassMean: _mass_mean, LDA: _lda, Ridge: _ridge}.get(type(probe))
    if solve is None:
        raise UsageError(f"{type(probe).__name__} cannot be fitted from statistics: MassMean, LDA and Ridge can.")
    return probe.with_solution(solve(probe, statistics, label), np.array([0, 1]))


def ridge_path(statistics: Statistics, alphas: Sequence[float], label: int = 0) -> RidgePath:
    """Fit ridge regression for several penalties with one eigendecomposition.

    Args:
        statistics: the statistics.
        alphas: the penalties.
        label: index of the label vector.

    Returns:
        Directions (1, alpha, d) and biases, as in `probes.batched.ridge_path`.

    Raises:
        UsageError: a penalty that is not positive, or a label vector with one class only.

    Example:
        >>> ridge_path(probes.Statistics(2).update(np.eye(2), [0, 1]), [1.0, 10.0]).directions.shape
        torch.Size([1, 2, 2])
    """
    alphas = positive_alphas(alphas)
    true, false = statistics.counts(label)
    low, high = statistics.class_means(label)
    target = (2 * true * false / statistics.n) * (high - low)  # sum of centred rows times labels of -1 and +1
    directions = solve_ridge(statistics.scatter, target[:, None], alphas)[..., 0]
    biases = (true - false) / statistics.n - directions @ statistics.mean
    return RidgePath(alphas, directions[None], biases[None])


def principal_components(statistics: Statistics, k: int) -> tuple[Float[Tensor, " k"], Float[Tensor, "k d"]]:
    """Compute the top k principal components.

    Returns variances (k,) and unit vectors (k, d). Raises `UsageError` unless k is from 1 to d.

    >>> principal_components(probes.Statistics(2).update([[0.0, 0.0], [2.0, 0.0]], [0, 1]), 1)[0].tolist()
    [1.0]
    """
    if not 1 <= k <= statistics.width:
        raise UsageError(f"k must be from 1 to {statistics.width}, the width of the activations, not {k}.")
    variances, vectors = torch.linalg.eigh(statistics.covariance())
    return variances[-k:].flip(0), vectors[:, -k:].T.flip(0)


def _mass_mean(probe: MassMean, statistics: Statistics, label: int) -> Solution:
    if probe.covariance != "none":
        raise UsageError(
            'Only MassMean(covariance="none") can be fitted from statistics; use LDA(shrinkage="oas") to whiten.'
        )
    low, high = statistics.class_means(label)
    direction = high - low
    return _solution(statistics, label, direction, -float(direction @ (high + low)) / 2)


def _lda(probe: LDA, statistics: Statistics, label: int) -> Solution:
    check_shrinkage(probe.shrinkage)
    if probe.shrinkage == "auto":
        raise UsageError('Ledoit-Wolf shrinkage needs the rows: use LDA(shrinkage="oas") or a number with statistics.')
    low, high = statistics.class_means(label)
    true, false = statistics.counts(label)
    covariance = shrink(statistics.within_covariance(label), statistics.n, probe.shrinkage)
    direction = solve_symmetric(covariance, high - low)
    return Solution(direction, math.log(true / false) - float(direction @ (high + low)) / 2)


def _ridge(probe: Ridge, statistics: Statistics, label: int) -> Solution:
    path = ridge_path(statistics, [probe.alpha], label)
    return _solution(statistics, label, path.directions[0, 0], float(path.biases[0, 0]))


def _solution(statistics: Statistics, label: int, direction: Tensor, bias: float) -> Solution:
    low, high = statistics.class_means(label)
    variance = float(direction @ statistics.within_covariance(label) @ direction)
    return Solution(direction, bias, log_odds_scale(float(direction @ (high - low)), variance))
