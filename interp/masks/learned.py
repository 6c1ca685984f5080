"""Masks learned by gradient descent, with a price on the weights used.

They are hard-concrete gates with a price on their number (arXiv 1712.01312).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from interp.masks.training import Weights, train

TEMPERATURE, LOW, HIGH = 2 / 3, -0.1, 1.1
"""Of the concrete distribution, and the interval it is stretched to before it is cut to [0, 1]."""
OPEN = 2.0
"""Initial log-odds: gates start open."""


@dataclass(frozen=True)
class Learned:
    """Trained gates of a learned mask.

    >>> shapes = {"w": torch.ones(1, 4)}
    >>> learned = masks.learn(shapes, lambda gates, step: (gates["w"][:, 0] - 1).square(), price=0.2, steps=200)
    >>> learned.masks["w"]
    tensor([[1., 0., 0., 0.]])
    """

    log_odds: Weights
    masks: Weights
    """1 where the gate without noise is above one half."""


def learn(
    shapes: Weights,
    loss: Callable[[Weights, int], Float[Tensor, " instances"]],
    *,
    price: float | Float[Tensor, " instances"],
    steps: int,
    lr: float = 0.05,
    seed: int = 0,
    straight_through: bool = False,
) -> Learned:
    """Train gates that minimise a loss plus a price on open gates.

    The objective is E[loss(gates)] + price · (expected share of open gates).

    A gate is clip(σ((log u − log(1 − u) + a) / β) (ζ − γ) + γ, 0, 1), u uniform, β = 2/3, γ = −0.1, ζ = 1.1; it is
    above 0 with probability σ(a − β log(−γ/ζ)).

    Args:
        shapes: Tensors of the gates' shapes (instances, ...): weights, or ones for neurons, heads or edges.
        loss: Loss of every network given its gates and the number of the step.
        price: Loss one is ready to pay for closing every gate, one for all networks or one for each.
        steps: Number of steps of Adam on the log-odds a.
        lr: Peak learning rate.
        seed: Of the noise.
        straight_through: Whether the loss sees gates rounded to 0 or 1, with the gradient of those before rounding.
            The loss is then that of a mask, but its slope is only ever taken at 0 and at 1: what has no slope there,
            as |x| has none at 0, is closed however much it matters.

    Returns:
        The trained gates and their masks.

    >>> shapes = {"w": torch.ones(1, 4)}
    >>> learned = masks.learn(shapes, lambda gates, step: (gates["w"][:, 0] - 1).square(), price=0.2, steps=200)
    >>> learned.masks["w"]  # only the first gate matters
    tensor([[1., 0., 0., 0.]])
    """
    start = {name: torch.full_like(tensor, OPEN) for name, tensor in shapes.items()}
    count = sum(tensor[0].numel() for tensor in shapes.values())

    def total(log_odds: Weights, step: int) -> Tensor:
        generator = torch.Generator().manual_seed((seed << 31) + step)
        gates = {name: sample(a, generator, straight_through=straight_through) for name, a in log_odds.items()}
        size = torch.stack([open_probability(a).flatten(1).sum(1) for a in log_odds.values()]).sum(0)
        return loss(gates, step) + price * size / count

    log_odds = train(start, total, steps=steps, lr=lr)
    masks = {name: (stretched(a.sigmoid()) > 0.5).to(a.dtype) for name, a in log_odds.items()}
    return Learned(log_odds, masks)


def sample(log_odds: Tensor, generator: torch.Generator, *, straight_through: bool = False) -> Tensor:
    """Return gates drawn from the hard-concrete distribution."""
    u = torch.rand(log_odds.shape, generator=generator).to(log_odds).clamp(1e-6, 1 - 1e-6)
    share = torch.sigmoid((torch.logit(u) + log_odds) / TEMPERATURE)
    if not straight_through:
        return stretched(share)
    # Past the rounding and past the cut as well, so that a closed gate still learns what it costs to be closed.
    return (share > 0.5).to(share.dtype) + (share - share.detach())


def stretched(share: Tensor) -> Tensor:
    """Return a number in (0, 1) stretched to (γ, ζ) and clipped.

    It is clipped to [0, 1].

    >>> stretched(torch.tensor([0.01, 0.5, 0.99])).tolist()
    [0.0, 0.5, 1.0]
    """
    return (share * (HIGH - LOW) + LOW).clamp(0, 1)


def open_probability(log_odds: Tensor) -> Tensor:
    """Return the probability that a gate is above 0."""
    return torch.sigmoid(log_odds - TEMPERATURE * math.log(-LOW / HIGH))
