"""The lasso and the elastic net by proximal gradient: ISTA and FISTA.

    F(x) = ½ ‖y − x D‖² + l1 ‖x‖₁ + ½ l2 ‖x‖²      (optionally over x ≥ 0)

In scikit-learn's terms, with d the length of a signal: alpha (l1_ratio) = l1/d and alpha (1 − l1_ratio) = l2/d.
Beck and Teboulle 2009, with the restart of O'Donoghue and Candès 2012 (arXiv 1204.3982).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from interp.coding.shapes import check
from interp.errors import UsageError


def ista(
    signals: Float[Tensor, "n d"],
    dictionary: Float[Tensor, "atoms d"],
    l1: float,
    *,
    l2: float = 0.0,
    nonnegative: bool = False,
    steps: int = 1000,
) -> Float[Tensor, "n atoms"]:
    """Compute `steps` proximal gradient steps of length 1/(‖D‖² + l2) from 0.

    F never increases from one step to the next.

    Args:
        signals: vectors to code.
        dictionary: atoms, one a row.
        l1: penalty on |x|.
        l2: penalty on x² / 2.
        nonnegative: whether codes are at least 0.
        steps: iterations.

    Returns:
        The codes.

    Raises:
        UsageError: shapes that do not fit, or negative penalties.

    >>> ista(torch.tensor([[0.0, 2.0, 0.5]]), torch.eye(3), 1.0)
    tensor([[0., 1., 0.]])
    """
    _check(signals, dictionary, l1, l2)
    rate, x = _rate(dictionary, l2), signals.new_zeros(len(signals), len(dictionary))
    for _ in range(steps):
        x = _proximal_step(x, signals, dictionary, l1, l2, rate=rate, nonnegative=nonnegative)
    return x


def fista(
    signals: Float[Tensor, "n d"],
    dictionary: Float[Tensor, "atoms d"],
    l1: float,
    *,
    l2: float = 0.0,
    nonnegative: bool = False,
    steps: int = 5000,
    tolerance: float = 1e-12,
) -> Float[Tensor, "n atoms"]:
    """Return the minimiser of F for every signal, by accelerated proximal steps.

    Stops when no coefficient moves by more than `tolerance` of the largest in a step, or after `steps`. Each signal's
    momentum restarts when it points uphill. Zero when l1 ≥ ‖D y‖∞. `kkt_violation` measures how close to the minimum a
    code is.

    Args:
        signals: vectors to code.
        dictionary: atoms, one a row.
        l1: penalty on |x|.
        l2: penalty on x² / 2.
        nonnegative: whether codes are at least 0.
        steps: most iterations.
        tolerance: of the largest coefficient, below which a step counts as none.

    Returns:
        The codes.

    Raises:
        UsageError: shapes that do not fit, or negative penalties.

    >>> fista(torch.tensor([[0.0, 2.0, 0.5]]), torch.eye(3), 1.0)
    tensor([[0., 1., 0.]])
    """
    _check(signals, dictionary, l1, l2)
    rate, x = _rate(dictionary, l2), signals.new_zeros(len(signals), len(dictionary))
    ahead, momentum = x, signals.new_ones(len(signals), 1)
    for _ in range(steps):
        new = _proximal_step(ahead, signals, dictionary, l1, l2, rate=rate, nonnegative=nonnegative)
        uphill = ((ahead - new) * (new - x)).sum(dim=1, keepdim=True) > 0
        momentum = torch.where(uphill, 1.0, momentum)
        following = (1 + (1 + 4 * momentum**2).sqrt()) / 2
        ahead = new + torch.where(uphill, 0.0, (momentum - 1) / following) * (new - x)
        moved, x, momentum = (new - x).abs().max() if new.numel() else new.sum(), new, following
        if moved <= tolerance * x.abs().max().clamp_min(1e-30) if x.numel() else True:
            break
    return x


def objective(
    codes: Float[Tensor, "n atoms"],
    signals: Float[Tensor, "n d"],
    dictionary: Float[Tensor, "atoms d"],
    l1: float,
    *,
    l2: float = 0.0,
) -> Float[Tensor, " n"]:
    """Return F of the code of each signal.

    Args:
        codes: of the signals.
        signals: vectors.
        dictionary: atoms, one a row.
        l1: penalty on |x|.
        l2: penalty on x² / 2.

    Returns:
        (n,) values of F.

    >>> objective(torch.tensor([[0.0, 1.0, 0.0]]), torch.tensor([[0.0, 2.0, 0.5]]), torch.eye(3), l1=1.0)
    tensor([1.625])
    """
    error = (signals - codes @ dictionary).square().sum(1) / 2
    return error + l1 * codes.abs().sum(1) + l2 / 2 * codes.square().sum(1)


def kkt_violation(
    codes: Float[Tensor, "n atoms"],
    signals: Float[Tensor, "n d"],
    dictionary: Float[Tensor, "atoms d"],
    l1: float,
    *,
    l2: float = 0.0,
    nonnegative: bool = False,
) -> Float[Tensor, " n"]:
    """Compute how much each code violates the optimality conditions.

    The violation is in the units of l1, and 0 exactly at the minimum. With g = D (y − x D) − l2 x: g = l1 sign(x) where
    x ≠ 0, |g| ≤ l1 elsewhere (g ≤ l1 when non-negative).

    Args:
        codes: of the signals.
        signals: vectors.
        dictionary: atoms, one a row.
        l1: penalty on |x|.
        l2: penalty on x² / 2.
        nonnegative: whether codes are at least 0.

    Returns:
        (n,) violations.

    >>> kkt_violation(torch.tensor([[0.0, 1.0, 0.0]]), torch.tensor([[0.0, 2.0, 0.5]]), torch.eye(3), l1=1.0)
    tensor([0.])
    """
    g = (signals - codes @ dictionary) @ dictionary.T - l2 * codes
    outside = (g if nonnegative else g.abs()) - l1
    return torch.where(codes != 0, (g - l1 * codes.sign()).abs(), outside.clamp_min(0)).amax(dim=1)


def _proximal_step(
    x: Tensor, y: Tensor, dictionary: Tensor, l1: float, l2: float, *, rate: float, nonnegative: bool
) -> Tensor:
    """Return x − rate ∇(smooth part) after the soft threshold at rate · l1."""
    moved = x + rate * ((y - x @ dictionary) @ dictionary.T - l2 * x)
    if nonnegative:
        return (moved - rate * l1).clamp_min_(0)
    return torch.nn.functional.softshrink(moved, rate * l1)


def _rate(dictionary: Tensor, l2: float) -> float:
    """Return 1/L for L = ‖D‖² + l2, the largest curvature."""
    return 1 / (float(torch.linalg.matrix_norm(dictionary, 2)) ** 2 + l2)


def _check(signals: Tensor, dictionary: Tensor, l1: float, l2: float) -> None:
    check(signals, dictionary)
    if not (l1 >= 0 and l2 >= 0):
        raise UsageError(f"l1 is {l1} and l2 {l2}; a penalty must be 0 or more.")
