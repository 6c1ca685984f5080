"""Lottery tickets: sparse networks that train well from their initial weights (arXiv 1803.03635)."""

from __future__ import annotations

from dataclasses import dataclass

from interp.masks.scores import magnitude
from interp.masks.selection import Density, keep, schedule
from interp.masks.training import Loss, Weights, train


@dataclass(frozen=True)
class Ticket:
    """Result of one round of pruning.

    It has the masks, the weights that training began from, and the trained weights.

    >>> loss = lambda w, step: (w["w"] - torch.tensor([[1.0, 0.0], [0.0, 2.0]])).square().sum((1, 2))
    >>> start = {"w": torch.full((1, 2, 2), 0.1)}
    >>> first, last = masks.lottery(start, loss, density=0.5, rounds=1, steps=50, lr=0.1)
    """

    masks: Weights
    start: Weights
    """The weights every round starts from, before masking."""
    trained: Weights


def lottery(  # noqa: PLR0913 (what follows the loss is keyword-only)
    weights: Weights,
    loss: Loss,
    *,
    density: Density,
    rounds: int,
    steps: int,
    lr: float,
    rewind: int = 0,
    scope: str = "tensor",
    prunable: tuple[str, ...] | None = None,
) -> list[Ticket]:
    """Return the ticket of every round of iterative pruning.

    A round trains, prunes the smallest weights and rewinds the rest.

    Args:
        weights: Initial weights.
        loss: Loss of every network on the batch of a step.
        density: Share of the prunable weights left after the last round; the rounds follow `masks.schedule`.
        rounds: How often to prune. The first ticket in the answer is the whole network.
        steps: Steps of every training.
        lr: Peak learning rate of every training.
        rewind: Step of the first training whose weights are rewound to; 0: the initial weights.
        scope: See `masks.keep`.
        prunable: Names of the tensors to prune; None: all with two axes or more besides the instances'.

    Returns:
        One ticket a round, the whole network first.

    >>> loss = lambda w, step: (w["w"] - torch.tensor([[1.0, 0.0], [0.0, 2.0]])).square().sum((1, 2))
    >>> _, last = lottery({"w": torch.full((1, 2, 2), 0.1)}, loss, density=0.5, rounds=1, steps=50, lr=0.1)
    >>> last.masks["w"]
    tensor([[[1., 0.],
             [0., 1.]]])
    """
    names = prunable or tuple(name for name, tensor in weights.items() if tensor.ndim > 2)
    start = dict(weights)

    def remember(moving: Weights, step: int) -> None:
        if step == rewind:
            start.update({name: tensor.clone() for name, tensor in moving.items()})

    trained = train(weights, loss, steps=steps, lr=lr, after=remember)
    tickets = [Ticket({}, start, trained)]
    masks = None
    for wanted in schedule(density, rounds):
        masks = keep({name: magnitude(trained)[name] for name in names}, wanted, among=masks, scope=scope)
        trained = train(start, loss, steps=steps - rewind, lr=lr, mask=masks, first_step=rewind)
        tickets.append(Ticket(masks, start, trained))
    return tickets
