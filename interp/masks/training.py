"""Training of many small networks in one loop.

Adam on a dictionary of tensors whose first axis counts networks.

Losses are summed over networks and Adam works on single numbers, so no network depends on another's.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from interp.errors import CheckFailedError, UsageError

Weights = dict[str, Tensor]
"""Named tensors of shape (instances, ...)."""
Objective = Callable[[Weights], Float[Tensor, " instances"]]
Loss = Callable[[Weights, int], Float[Tensor, " instances"]]
"""The loss of every network on the batch of a step: a pure function, so that a run can be repeated."""
After = Callable[[Weights, int], None]
"""Called after a step with the weights, which it may change in place."""

BETAS, EPSILON = (0.9, 0.98), 1e-8
WARM = 0.02
"""Share of the steps over which the learning rate rises."""


def train(  # noqa: PLR0913 (what follows the loss is keyword-only)
    weights: Weights,
    loss: Loss,
    *,
    steps: int,
    lr: float,
    mask: Weights | None = None,
    decay: float = 0.0,
    first_step: int = 0,
    after: After | None = None,
) -> Weights:
    """Train `weights` by Adam for `steps` steps.

    The trained weights are returned; those given are not changed.

    Args:
        weights: Named tensors of shape (instances, ...).
        loss: Loss of every network on the batch of a step.
        steps: Number of steps.
        lr: Peak learning rate: it rises over the first 2 % of the steps and falls to 0 along half a cosine.
        mask: Tensors of 0 and 1 to multiply weights with; a weight masked out stays 0 and gets no gradient.
        decay: Decoupled weight decay (AdamW), of matrices only.
        first_step: Number of the first step, where training goes on after an earlier run on the same batches.
        after: Called with the weights and the number of steps done.

    Returns:
        The trained weights.

    Raises:
        UsageError: `steps` is below 0, `lr` is not above 0, or `mask` names a tensor that is not there.
        CheckFailedError: A weight is no longer finite.

    >>> trained = train({"w": torch.zeros(1, 1)}, lambda w, step: (w["w"][:, 0] - 3).square(), steps=200, lr=0.1)
    >>> trained["w"].round(decimals=1)
    tensor([[3.]])
    """
    _check(weights, steps, lr, mask or {})
    mask = mask or {}
    moving = {name: (tensor * mask.get(name, 1)).detach().clone() for name, tensor in weights.items()}
    mean = {name: torch.zeros_like(tensor) for name, tensor in moving.items()}
    square = {name: torch.zeros_like(tensor) for name, tensor in moving.items()}
    for step in range(steps):
        slopes = gradients(moving, lambda w, number=first_step + step: loss(w, number), mask)
        for name, slope in slopes.items():
            _adam(
                moving[name], slope, mean[name], square[name], step=step + 1, rate=lr * rate(step, steps), decay=decay
            )
        if after:
            after(moving, step + 1)
    for name, tensor in moving.items():
        if not torch.isfinite(tensor).all():
            raise CheckFailedError(f"Training diverged: {name} is not finite; lower lr (it was {lr:g}).")
    return moving


def gradients(weights: Weights, objective: Objective, mask: Weights | None = None, *, graph: bool = False) -> Weights:
    """Return the gradient of the summed objective at `weights`.

    It is 0 for a tensor the objective does not depend on.

    Args:
        weights: named tensors of shape (instances, ...).
        objective: maps weights to one number for each network.
        mask: tensors of 0 and 1 that the weights are multiplied with.
        graph: whether the gradient can be differentiated again.

    Returns:
        One gradient for each tensor.

    >>> gradients({"w": torch.tensor([[1.0, 2.0]])}, lambda w: w["w"].square().sum(1))
    {'w': tensor([[2., 4.]])}
    """
    leaves = {name: tensor.detach().requires_grad_() for name, tensor in weights.items()}
    used = {name: leaf * mask[name] if mask and name in mask else leaf for name, leaf in leaves.items()}
    slopes = torch.autograd.grad(objective(used).sum(), list(leaves.values()), create_graph=graph, allow_unused=True)
    return {
        name: torch.zeros_like(leaf) if slope is None else slope
        for (name, leaf), slope in zip(leaves.items(), slopes, strict=True)
    }


def rate(step: int, steps: int) -> float:
    """Return the fraction of the peak learning rate at a step.

    It rises shortly, then falls along half a cosine.
    """
    return min(1.0, (step + 1) / max(1.0, WARM * steps)) * 0.5 * (1 + math.cos(math.pi * step / steps))


def _adam(w: Tensor, slope: Tensor, mean: Tensor, square: Tensor, *, step: int, rate: float, decay: float) -> None:
    mean.lerp_(slope, 1 - BETAS[0])
    square.mul_(BETAS[1]).addcmul_(slope, slope, value=1 - BETAS[1])
    if decay and w.ndim > 2:
        w.mul_(1 - rate * decay)
    size = square.div(1 - BETAS[1] ** step).sqrt_().add_(EPSILON)
    w.addcdiv_(mean, size, value=-rate / (1 - BETAS[0] ** step))


def _check(weights: Weights, steps: int, lr: float, mask: Weights) -> None:
    if steps < 0 or not lr > 0:
        raise UsageError(f"steps is {steps} and lr {lr:g}; steps must be 0 or more and lr above 0.")
    unknown = [name for name in mask if name not in weights]
    if unknown:
        raise UsageError(f'The mask names "{unknown[0]}", which is not among the weights ({", ".join(weights)}).')
