"""Computation of the study of lottery tickets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from analyses.bydesign.digits import CLASSES, PIXELS, accuracy, batch, cross_entropy, digits
from interp import masks
from interp.threads import one_thread
from interp.toy.networks import Weights, perceptron

if TYPE_CHECKING:
    from analyses.bydesign.tickets import Config
    from interp.progress import Progress

OTHER = 500
"""Number added to a seed to draw new weights."""


def compute(config: Config, progress: Progress | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute the share of weights left, losses and accuracies.

    The share is that of every round. Losses and accuracies are (kinds, rounds + 1, seeds), on new images.
    """
    sizes = (PIXELS, config.width, config.width // 2, CLASSES)
    seeds = [config.seed * 1000 + s for s in range(config.seeds)]
    known, new = digits(seed=config.seed)

    def loss(weights: Weights, step: int) -> Tensor:
        if progress and step % 20 == 0:
            progress(step, config.steps, f"{len(weights['0.weight'])} networks")
        return cross_entropy(weights, batch(known, step, config.batch_size, config.seed))

    recipe = {"steps": config.steps, "lr": config.lr, "rewind": config.rewind}
    with one_thread():
        start = perceptron(sizes, seeds, gain=2.0)
        tickets = masks.lottery(start, loss, density=config.density, rounds=config.rounds, **recipe)
        controls = _controls(config, tickets, perceptron(sizes, [s + OTHER for s in seeds], gain=2.0))
        trained = masks.train(
            controls[0],
            loss,
            steps=config.steps - config.rewind,
            lr=config.lr,
            mask=controls[1],
            first_step=config.rewind,
        )
    grid = (2, config.rounds, config.seeds)
    measured = []
    for measure in (cross_entropy, accuracy):
        own = torch.stack([measure(ticket.trained, new) for ticket in tickets])
        whole = own[:1].expand(2, 1, -1)
        others = torch.cat([whole, measure(trained, new).reshape(grid)], dim=1)
        measured.append(torch.cat([own[None], others]).numpy())
    densities = np.array([1.0, *(float(masks.density_of(ticket.masks)[0]) for ticket in tickets[1:])])
    return densities, measured[0], measured[1]


def _controls(config: Config, tickets: list[masks.Ticket], other: Weights) -> tuple[Weights, Weights]:
    """Return starts and masks of both kinds of control.

    Every round and seed is in one batch.
    """
    start, own = tickets[0].start, [ticket.masks for ticket in tickets[1:]]
    weights = {name: torch.cat([other[name]] * len(own) + [start[name]] * len(own)) for name in start}
    random = [
        masks.keep(masks.random(mask, seed=config.seed), density, scope="tensor")
        for mask, density in zip(own, masks.schedule(config.density, config.rounds), strict=True)
    ]
    return weights, {name: torch.cat([mask[name] for mask in (*own, *random)]) for name in own[0]}
