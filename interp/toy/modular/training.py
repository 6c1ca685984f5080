"""Training with a price on the length of wires."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interp.errors import UsageError
from interp.masks.training import Loss, train
from interp.toy.modular.wires import GAP, Places, Weights, Wires, even_places, lengths, rearrange, wiring_cost

LIGHT = 0.1
"""Share of the price that is applied in the first and in the last quarter of the steps."""


@dataclass(frozen=True)
class Price:
    """Price of wires, one number for each network.

    Different prices train in one batch.

    >>> modular.Price(strength=torch.tensor([0.01]), locality=torch.tensor([4.0]), moves=torch.tensor([True])).strength
    tensor([0.010])
    """

    strength: Float[Tensor, " instances"]
    """λ, the weight of the wiring cost in the loss."""
    locality: Float[Tensor, " instances"]
    """How much longer a wire is that runs along the whole layer. 0: all wires cost the same, an L1 norm."""
    moves: Bool[Tensor, " instances"]
    """Whether neurons exchange places during training."""


def train_wired(
    weights: Weights,
    wires: Sequence[Wires],
    loss: Loss,
    price: Price,
    *,
    steps: int,
    lr: float,
    every: int = 200,
) -> tuple[Weights, Places]:
    """Train weights on a loss plus λ · wiring cost.

    The price is λ / 10 in the first quarter of the steps, λ in the middle half and λ / 10 in the last quarter, as in
    arXiv 2305.08746; tensors that are not wires (biases) cost half their mean magnitude. Every `every` steps of the
    first nine tenths the neurons of each layer are rearranged (see `rearrange`).

    Args:
        weights: named tensors of shape (instances, ...).
        wires: the matrices that are wires.
        loss: loss of every network on the batch of a step.
        price: λ and locality of every network, and whether its neurons move.
        steps: number of steps.
        lr: peak learning rate.
        every: steps between two arrangements.

    Returns:
        (the trained weights, the places of the neurons of each layer).

    Raises:
        UsageError: a wire names a tensor that is not there.

    >>> weights, wires = {"0.weight": torch.ones(1, 2, 2)}, modular.perceptron_wires(1)
    >>> price = modular.Price(torch.tensor([1.0]), torch.tensor([4.0]), torch.tensor([True]))
    >>> train_wired(weights, wires, lambda w, step: w["0.weight"].sum((1, 2)).square(), price, steps=20, lr=0.1)[1]
    {'0': tensor([[0.250, 0.750]]), '1': tensor([[0.250, 0.750]])}
    """
    missing = [wire.name for wire in wires if wire.name not in weights]
    if missing:
        raise UsageError(f'The wires name "{missing[0]}", which is not among the weights ({", ".join(weights)}).')
    places = even_places(weights, wires)
    length = lengths(places, wires, price.locality)

    def total(moving: Weights, step: int) -> Tensor:
        asked = price.strength * share(step, steps)
        return loss(moving, step) + asked * (wiring_cost(moving, length) + _loose(moving, length))

    def settle(moving: Weights, step: int) -> None:
        if step % every == 0 and step <= 0.9 * steps and price.moves.any():
            better = rearrange(moving, places, wires)
            for layer, place in better.items():
                places[layer] = torch.where(price.moves.unsqueeze(1), place, places[layer])
            length.update(lengths(places, wires, price.locality))

    return train(weights, total, steps=steps, lr=lr, after=settle), places


def share(step: int, steps: int) -> float:
    """Return the fraction of λ in force at a step."""
    return 1.0 if steps / 4 <= step < 3 * steps / 4 else LIGHT


def _loose(weights: Weights, length: Weights) -> Tensor:
    """Return the cost of parameters that are not wires."""
    loose = [tensor.abs().flatten(1).mean(1) for name, tensor in weights.items() if name not in length]
    return GAP * torch.stack(loose).sum(0) if loose else torch.zeros(())
