"""Movement pruning: keep weights that training moves away from zero.

They stay in the network whether large or small (arXiv 2005.07683).
"""

from __future__ import annotations

import torch
from torch import Tensor

from interp.masks.selection import Density, keep
from interp.masks.training import Loss, Weights, train

SCORE = "score of "
LIGHTER = 0.7
"""The density falls over this share of the steps, and is constant after it."""


def movement(
    weights: Weights, loss: Loss, *, density: Density, steps: int, lr: float, scope: str = "all"
) -> tuple[Weights, Weights]:
    """Train weights while pruning them; return weights and masks.

    The score S of a weight accumulates −θ ∂L/∂θ. The loss sees θ ⊙ top(S), with the gradient passed straight through
    the selection; the density falls as ρ^(t / 0.7) over the share t of the steps, down to ρ.

    Args:
        weights: named tensors of shape (instances, ...).
        loss: loss of every network on the batch of a step.
        density: share of the weights left at the end.
        steps: number of steps.
        lr: peak learning rate.
        scope: see `masks.keep`.

    Returns:
        (weights, masks).

    >>> weights = {"w": torch.tensor([[0.1, -0.5, 0.3, 1.0]])}
    >>> target = torch.tensor([1.0, 0.0, 0.0, 1.0])
    >>> masks.movement(weights, lambda w, step: (w["w"] - target).square().sum(1), density=0.5, steps=50, lr=0.1)[1]
    {'w': tensor([[1., 0., 0., 1.]])}
    """
    both = {**weights, **{SCORE + name: torch.zeros_like(tensor) for name, tensor in weights.items()}}

    def masks(state: Weights, step: int) -> Weights:
        wanted = density ** min(1.0, (step + 1) / (LIGHTER * steps))
        return keep({name: state[SCORE + name].detach() for name in weights}, wanted, scope=scope)

    def through(state: Weights, step: int) -> Tensor:
        final = masks(state, step)
        scores = {name: state[SCORE + name] for name in weights}
        masked = {name: state[name] * (final[name] + (scores[name] - scores[name].detach())) for name in weights}
        return loss(masked, step)

    state = train(both, through, steps=steps, lr=lr)
    final = masks(state, steps)
    return {name: state[name] * final[name] for name in weights}, final
