"""Computation of the study of masks.

Every method, density and seed is scored, pruned and trained in one batch each.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from analyses.bydesign.digits import CLASSES, PIXELS, Digits, accuracy, batch, cross_entropy, digits
from interp import masks
from interp.threads import one_thread
from interp.toy.networks import Weights, flow, perceptron

if TYPE_CHECKING:
    from analyses.bydesign.masks import Config
    from interp.progress import Progress


def compute(
    config: Config, methods: tuple[str, ...], rounds: dict[str, int], after: tuple[str, ...], progress: Progress | None
) -> dict[str, Any]:
    """Compute the arrays of the result by name.

    The `methods` of the untrained network come first, then those `after` training.
    """
    sizes = (PIXELS, *config.widths, CLASSES)
    seeds = [config.seed * 1000 + s for s in range(config.seeds)]
    start = perceptron(sizes, seeds, bias=False, gain=2.0)
    known, new = digits(seed=config.seed)
    with one_thread():
        layer_masks = _masks(config, methods, rounds, start, known)
        grid = (len(methods) + len(after), len(config.densities), config.seeds)
        repeated = {name: w.repeat(len(methods) * len(config.densities), 1, 1) for name, w in start.items()}
        trained = _train(config, repeated, known, layer_masks, progress)
        dense = _train(config, start, known, None, progress)
        later, later_masks = _after(config, dense, known, after, progress)
        trained = {name: torch.cat([w, later[name]]) for name, w in trained.items()}
        layer_masks = {name: torch.cat([mask, later_masks[name]]) for name, mask in layer_masks.items()}
        left = torch.stack([mask.sum((1, 2)) for mask in layer_masks.values()], dim=1)
        layers, neurons, snip = _conservation(start, known)
        return {
            "left": left.long().reshape(*grid, -1).numpy(),
            "loss": cross_entropy(trained, new).reshape(grid).numpy(),
            "accuracy": accuracy(trained, new).reshape(grid).numpy(),
            "dense_loss": cross_entropy(dense, new).numpy(),
            "conservation": layers,
            "neuron_conservation": neurons,
            "snip_conservation": snip,
        }


def scorers(data: Digits) -> dict[str, Callable[[Weights], Weights]]:
    """Return every score as a function of weights.

    Scores that need a loss compute it on `data`.
    """

    def loss(weights: Weights) -> Tensor:
        return cross_entropy(weights, data)

    return {
        "random": masks.random,
        "magnitude": masks.magnitude,
        "SNIP": lambda weights: masks.snip(weights, loss),
        "GraSP": lambda weights: masks.grasp(weights, loss),
        "SynFlow": lambda weights: masks.synflow(weights, flow),
    }


def _masks(config: Config, methods: tuple[str, ...], rounds: dict[str, int], start: Weights, known: Digits) -> Weights:
    """Return the masks of every method, density and seed.

    They are in that order along the first axis.
    """
    score = scorers(batch(known, 0, 256, config.seed))
    masked = [
        masks.prune(start, score[name], density=density, rounds=rounds.get(name, 1))
        for name in methods
        for density in config.densities
    ]
    return {name: torch.cat([mask[name] for mask in masked]) for name in start}


def _after(
    config: Config, dense: Weights, known: Digits, methods: tuple[str, ...], progress: Progress | None
) -> tuple[Weights, Weights]:
    """Return weights and masks of the methods that prune trained networks.

    They cover every density and seed.
    """
    count = len(config.densities)
    wanted = torch.tensor(config.densities, dtype=torch.float64).repeat_interleave(config.seeds)
    repeated = {name: w.repeat(count, 1, 1) for name, w in dense.items()}
    fitted = []
    for method in methods:
        if method == "movement":
            # Within each tensor, as published: scores of all tensors grow at the same rate, and one ranking over
            # all would empty the last.
            fitted.append(
                masks.movement(
                    repeated, _loss(config, known), density=wanted, steps=config.steps, lr=config.lr, scope="tensor"
                )
            )
            continue
        scores = masks.magnitude(dense) if method == "magnitude, trained" else _log_odds(config, dense, known)
        layer_masks = masks.keep({name: score.repeat(count, 1, 1) for name, score in scores.items()}, wanted)
        fitted.append((_train(config, repeated, known, layer_masks, progress), layer_masks))
    weights, layer_masks = ({name: torch.cat([pair[k][name] for pair in fitted]) for name in dense} for k in (0, 1))
    return weights, layer_masks


def _log_odds(config: Config, dense: Weights, known: Digits) -> Weights:
    """Return the log-odds of hard-concrete gates learned on fixed weights."""
    loss = _loss(config, known)
    learned = masks.learn(
        dense,
        lambda gates, step: loss(masks.apply(dense, gates), step),
        price=config.price,
        steps=config.steps,
        seed=config.seed,
    )
    return learned.log_odds


def _loss(config: Config, known: Digits) -> Callable[[Weights, int], Tensor]:
    return lambda weights, step: cross_entropy(weights, batch(known, step, config.batch_size, config.seed))


def _train(config: Config, start: Weights, known: Digits, mask: Weights | None, progress: Progress | None) -> Weights:
    def loss(weights: Weights, step: int) -> Tensor:
        if progress and step % 10 == 0:
            progress(step, config.steps, f"{len(start['0.weight'])} networks")
        return _loss(config, known)(weights, step)

    return masks.train(start, loss, steps=config.steps, lr=config.lr, mask=mask)


def _conservation(start: Weights, known: Digits) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the largest relative deviations from conservation.

    They are those of SynFlow's layers from the flow, of what enters its neurons from what leaves them, and of SNIP's
    layers from their mean.
    """
    scores = masks.synflow(start, flow)
    total = flow({name: w.abs().double() for name, w in start.items()})
    layers = torch.stack([(s / total - 1).abs() for s in masks.flow_by_tensor(scores).values()]).amax(0)
    ordered = list(scores.values())
    neurons = torch.stack(
        [
            ((below.sum(2) - above.sum(1)).abs() / below.sum(2).clamp(min=1e-12)).amax(1)
            for below, above in itertools.pairwise(ordered)
        ]
    ).amax(0)
    snip = torch.stack(list(masks.flow_by_tensor(scorers(batch(known, 0, 256))["SNIP"](start)).values()))
    uneven = (snip / snip.mean(0) - 1).abs().amax(0)
    return layers.numpy(), neurons.numpy(), uneven.numpy()
