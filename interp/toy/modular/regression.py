"""Transformers that learn linear regression in context, under prices on wires (arXiv 2305.08746, §3.4)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp import masks
from interp.progress import Progress, advance
from interp.threads import one_thread
from interp.toy.modular.training import Price, train_wired
from interp.toy.modular.wires import Places, Weights, lengths, wiring_cost
from interp.toy.transformer import Shape, run_transformer, transformer, transformer_wires

EVALUATED = 1024


@dataclass(frozen=True)
class InContext:
    """Transformers trained on regression, in the order of their prices.

    >>> price = modular.Price(torch.tensor([0.3]), torch.tensor([4.0]), torch.tensor([True]))
    >>> networks = modular.learn_in_context(price, [0], length=4, layers=1, steps=20)
    >>> networks.error.shape
    torch.Size([1])
    """

    shape: Shape
    weights: Weights
    places: Places
    error: Float[Tensor, " networks"]
    """Mean squared error on new sequences, as a share of the answers' variance."""
    cost: Float[Tensor, " networks"]
    """Wiring cost at a locality of 1, for every price."""
    foreign: Float[Tensor, " networks"]
    """The error when the pairs before the last come from another sequence: 2 for a network that trusts them."""
    wires: Int[Tensor, " networks"]
    """Number of largest weights with which the error is at most the one allowed."""


def draw(count: int, length: int, inputs: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return sequences of pairs (x, w·x), and the answers (count,) left out.

    Sequences are (1, count, length, inputs + 1).

    Each sequence has a w of its own, normal of variance 1 / inputs; x is uniform in [−√3, √3], of variance 1. The last
    pair has 0 in place of its answer.
    """
    w = torch.randn(count, 1, inputs, generator=generator) / inputs**0.5
    x = (2 * torch.rand(count, length, inputs, generator=generator) - 1) * 3**0.5
    y = (x * w).sum(2)
    answer = y[:, -1].clone()
    y[:, -1] = 0
    return torch.cat([x, y.unsqueeze(2)], dim=2).unsqueeze(0), answer


def learn_in_context(  # noqa: PLR0913 (what follows the seeds is keyword-only)
    price: Price,
    seeds: Sequence[int],
    *,
    inputs: int = 1,
    length: int = 8,
    layers: int = 2,
    steps: int = 2000,
    allowed: float = 0.1,
    progress: Progress | None = None,
) -> InContext:
    """Train one transformer of `layers` blocks for each price.

    The loss is the squared error of the last answer.

    Args:
        price: What wires cost, for every network.
        seeds: Of the initial weights of every network; equal seeds start equal.
        inputs: Numbers in an x.
        length: Pairs in a sequence, the one that is asked for included.
        layers: Blocks of attention and MLP.
        steps: Steps, each on 64 new sequences.
        allowed: Error, as a share of the answers' variance, up to which weights are cut from the smallest on.
        progress: Called with (steps done, steps in all, what is being done).

    Returns:
        The networks, with their error, wiring cost and number of wires.

    >>> price = modular.Price(torch.tensor([0.3]), torch.tensor([4.0]), torch.tensor([True]))
    >>> modular.learn_in_context(price, [0], length=4, layers=1, steps=20).error.shape
    torch.Size([1])
    """
    shape = Shape(inputs + 1, 1, length, width=16, heads=2, mlp=32, layers=layers, tokens=False)
    wires = transformer_wires(shape)

    def error(weights: Weights, sample: tuple[Tensor, Tensor]) -> Tensor:
        return (run_transformer(weights, sample[0], shape)[:, :, -1, 0] - sample[1]).square().mean(1)

    def loss(weights: Weights, step: int) -> Tensor:
        advance(progress, step, steps, "training")
        return error(weights, draw(64, length, inputs, torch.Generator().manual_seed(step + 1)))

    with one_thread():
        weights, places = train_wired(transformer(shape, seeds), wires, loss, price, steps=steps, lr=0.005)
        with torch.no_grad():
            new = draw(EVALUATED, length, inputs, torch.Generator().manual_seed(1 << 40))
            foreign = torch.cat([new[0].roll(1, dims=1)[:, :, :-1], new[0][:, :, -1:]], dim=2)
            cost = wiring_cost(weights, lengths(places, wires, 1.0))
            selected = masks.smallest(
                {wire.name: weights[wire.name].abs() for wire in wires},
                lambda mask: error(masks.apply(weights, mask), new) / new[1].var(),
                allowed,
            )
        left = torch.stack([mask.flatten(1).sum(1) for mask in selected.values()]).sum(0).long()
        share, other = (error(weights, (x, new[1])) / new[1].var() for x in (new[0], foreign))
    return InContext(shape, weights, places, share, cost, other, left)
