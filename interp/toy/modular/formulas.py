"""Perceptrons on tasks of known parts, all settings and seeds in one batch."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interp import masks
from interp.progress import Progress, advance
from interp.provenance import Stopwatch
from interp.threads import one_thread
from interp.toy.modular.tasks import Task, task
from interp.toy.modular.trained import Config, Trained
from interp.toy.modular.training import Price, train_wired
from interp.toy.modular.wires import Weights, lengths, perceptron_wires, wiring_cost
from interp.toy.networks import perceptron, run_perceptron

TEST_SEED = 1 << 20
"""Of the inputs that errors are measured on."""


def train(config: Config, *, progress: Progress | None = None) -> Trained:
    """Train every setting and seed, and prune each network.

    Each is pruned to the allowed error.

    `progress` is called with (steps done, steps in all, what is being done).

    >>> config = modular.Config(settings=("wiring", "none"), width=8, seeds=1, steps=200, points=64)
    >>> modular.train(config).error.shape  # (settings, seeds)
    (2, 1)
    """
    watch = Stopwatch()
    sizes = _sizes(config)
    count = len(config.settings)
    start = perceptron(sizes, [config.seed * 1000 + s for s in range(config.seeds)] * count)
    wires, price = perceptron_wires(len(sizes) - 1), _price(config)
    with one_thread():
        fit = _error(task(config.task, points=config.points, seed=config.seed))

        def loss(weights: Weights, step: int) -> Tensor:
            advance(progress, step, config.steps, "training")
            return fit(weights)

        trained, places = train_wired(start, wires, loss, price, steps=config.steps, lr=config.lr)
        judge = _error(task(config.task, points=4 * config.points, seed=config.seed + TEST_SEED))
        matrices = {wire.name: trained[wire.name] for wire in wires}
        remaining = masks.smallest(
            masks.magnitude(matrices), lambda mask: judge(masks.apply(trained, mask)), config.allowed
        )
        error, pruned = judge(trained), judge(masks.apply(trained, remaining))
        cost = wiring_cost(trained, lengths(places, wires, config.locality))
    return Trained(
        config=config,
        parts=task(config.task).parts,
        start=tuple(_grid(start[wire.name], count) for wire in wires),
        matrices=tuple(_grid(trained[wire.name], count) for wire in wires),
        remaining=tuple(_grid(remaining[wire.name], count) for wire in wires),
        places=tuple(_grid(places[str(layer)], count) for layer in range(len(sizes))),
        error=_grid(error, count),
        pruned_error=_grid(pruned, count),
        cost=_grid(cost, count),
        provenance=watch.provenance(seed=config.seed, dtype="float32", device="cpu"),
    )


def _sizes(config: Config) -> list[int]:
    asked = task(config.task, points=2)
    return [asked.x.shape[1], *[config.width] * config.hidden, asked.y.shape[1]]


def _price(config: Config) -> Price:
    """Return the prices of the settings, repeated for seeds."""
    names = config.settings
    rows = torch.tensor([[name != "none", name in ("wiring", "local"), name == "wiring"] for name in names])
    paid, local, moves = rows.repeat_interleave(config.seeds, 0).T
    return Price(config.strength * paid.float(), config.locality * local.float(), moves)


def _error(data: Task) -> Callable[[Weights], Float[Tensor, " instances"]]:
    x = torch.tensor(data.x, dtype=torch.float32).unsqueeze(0)
    y = torch.tensor(data.y, dtype=torch.float32).unsqueeze(0)
    return lambda weights: (run_perceptron(weights, x) - y).square().mean((1, 2))


def _grid(tensor: Tensor, settings: int) -> np.ndarray:
    array = tensor.detach().numpy()
    return array.reshape(settings, len(array) // settings, *array.shape[1:])
