"""Perceptrons that learn a table of two operands under prices on wires.

They learn it from an embedding of each operand.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.progress import Progress, advance
from interp.threads import one_thread
from interp.toy.modular.training import Price, train_wired
from interp.toy.modular.wires import Weights, perceptron_wires
from interp.toy.networks import draw, perceptron, run_perceptron


@dataclass(frozen=True)
class Learned:
    """Networks trained on a table, in the order of their prices.

    Network i has price i and seed i.

    >>> price = modular.Price(torch.tensor([0.1]), torch.tensor([1.0]), torch.tensor([True]))
    >>> learned = modular.learn_table(modular.addition_table(5), price, [0], hidden=24, width=8, steps=100)
    >>> learned.embedding.shape
    (1, 8, 5)
    """

    start: Float[np.ndarray, "networks width tokens"]
    """Embeddings before training."""
    embedding: Float[np.ndarray, "networks width tokens"]
    loss: Float[np.ndarray, " networks"]
    """Cross-entropy on the pairs trained on, nats."""
    accuracy: Float[np.ndarray, " networks"]
    """On the pairs left out."""


def learn_table(  # noqa: PLR0913 (what follows the seeds is keyword-only)
    table: Int[np.ndarray, "tokens tokens"],
    price: Price,
    seeds: Sequence[int],
    *,
    width: int = 32,
    hidden: int = 50,
    steps: int = 3000,
    lr: float = 0.005,
    trained_share: float = 0.8,
    seed: int = 0,
    progress: Progress | None = None,
) -> Learned:
    """Train networks on a share of all pairs; test on the rest.

    There is one network for each price.

    Both operands have one embedding, and two hidden layers read the two concatenated (arXiv 2305.08746, §3.3).

    Args:
        table: The answer for every pair of operands.
        price: What wires cost, for every network.
        seeds: Of the initial weights of every network; equal seeds start equal.
        width: Dimensions of the embedding.
        hidden: Neurons of each hidden layer.
        steps: Steps of training, each on all known pairs.
        lr: Peak learning rate.
        trained_share: Share of the pairs that is trained on.
        seed: Of the choice of the pairs left out, one for all networks.
        progress: Called with (steps done, steps in all, what is being done).

    Returns:
        The networks, with their loss and accuracy on the pairs left out.

    >>> price = modular.Price(torch.tensor([0.1]), torch.tensor([1.0]), torch.tensor([True]))
    >>> learned = modular.learn_table(modular.addition_table(5), price, [0], hidden=24, width=8, steps=100)
    >>> modular.fourier_energy(learned.embedding).shape
    (1, 2)
    """
    tokens, count = len(table), len(price.strength)
    start = draw({"embed": ((width, tokens), 1.0)}, seeds) | perceptron([2 * width, hidden, hidden, tokens], seeds)
    a, b = (torch.from_numpy(side.ravel()) for side in np.indices(table.shape))
    label = torch.from_numpy(table.ravel()).long()
    order = torch.randperm(len(label), generator=torch.Generator().manual_seed(seed))
    known, new = order.split([int(trained_share * len(label)), len(label) - int(trained_share * len(label))])

    def logits(weights: Weights, rows: Tensor) -> Tensor:
        table_of = weights["embed"].transpose(1, 2)
        pair = torch.cat([table_of[:, a[rows]], table_of[:, b[rows]]], dim=2)
        return run_perceptron({name: w for name, w in weights.items() if name != "embed"}, pair)

    def loss(weights: Weights, step: int) -> Tensor:
        advance(progress, step, steps, "training")
        scores = logits(weights, known).transpose(1, 2)
        return torch.nn.functional.cross_entropy(scores, label[known].expand(count, -1), reduction="none").mean(1)

    with one_thread():
        trained, _ = train_wired(start, perceptron_wires(3), loss, price, steps=steps, lr=lr)
        right = (logits(trained, new).argmax(2) == label[new]).float().mean(1)
        final = loss(trained, steps)
    return Learned(start["embed"].numpy(), trained["embed"].numpy(), final.numpy(), right.numpy())
