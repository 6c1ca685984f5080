"""The expected loss of a toy model: exact by enumeration, or on a fixed sample.

A minibatch is not enough: at a density of 0.01, forty thousand inputs contain four with two active features, and it is
those that distinguish superposition from its absence.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interp.arguments import checked
from interp.errors import UsageError, whole
from interp.toy.data import magnitudes, patterns, sample
from interp.toy.models import ARCHITECTURES, Weights, forward, target

if TYPE_CHECKING:
    from interp.toy.trained import Trained

EXACT_UP_TO = 10
"""Features for which the 2^features activity patterns are enumerated."""


@checked
def exact_loss(trained: Trained, *, points: int = 2048) -> Float[np.ndarray, "cells starts"]:
    """Return the exact expected loss of every instance, in float64.

    L = Σ_patterns P(pattern) Σ_i I_i E[(x_i − x'_i)² | pattern].

    The inner expectation is the mean over `points` Sobol points of [0, 1]^features (relative error a few 1e-5
    with 2048). Raises `UsageError` above 10 features: use `sampled_loss`.

    >>> trained = toy.train(toy.Config(features=5, hidden=2, density=(1.0, 0.05), steps=200, batch_size=64))
    >>> exact_loss(trained).round(3)
    array([[0.292],
           [0.033]])
    """
    config = trained.configuration()
    if config.features > EXACT_UP_TO:
        raise UsageError(
            f"The exact loss enumerates 2^features patterns and takes at most {EXACT_UP_TO} features, not "
            f"{config.features}; use toy.sampled_loss."
        )
    active, chances = patterns(config.data, trained.density, config.group)
    sobol = torch.quasirandom.SobolEngine(config.features, scramble=True, seed=0)
    # Scrambled points (always the same ones) have no systematic error along diagonals, where ReLUs have their kinks.
    values = magnitudes(config.values, sobol.draw(whole(points, "points", 1), dtype=torch.float64).T)
    weights, total = _weights(trained, torch.float64), np.zeros_like(trained.loss)
    for pattern, chance in zip(active, chances.T, strict=True):
        x = values * torch.from_numpy(pattern).unsqueeze(1)
        total += chance[:, None] * _mean_loss(trained, weights, x.unsqueeze(0))
    return total


@checked
def sampled_loss(trained: Trained, *, count: int = 8192, seed: int = 1) -> Float[np.ndarray, "cells starts"]:
    """Return the mean loss over `count` inputs, the same for every instance.

    The relative error is about 1/sqrt(count p).

    Args:
        trained: the models.
        count: inputs.
        seed: of the inputs.

    Returns:
        (cells, starts) losses.

    >>> trained = toy.train(toy.Config(features=5, hidden=2, density=(1.0, 0.05), steps=200, batch_size=64))
    >>> sampled_loss(trained).round(2)
    array([[0.29],
           [0.03]])
    """
    config, loss = trained.configuration(), np.zeros_like(trained.loss)
    weights, block = _weights(trained, torch.float32), min(whole(count, "count", 1), 1024)
    density = torch.from_numpy(trained.density).float().repeat_interleave(config.starts, 0)
    generator = torch.Generator().manual_seed(seed)
    blocks = -(-count // block)
    for _ in range(blocks):
        x = sample(config.data, density, block, generator, group=config.group, values=config.values)
        loss += _mean_loss(trained, weights, x) / blocks
    return loss


def _mean_loss(trained: Trained, weights: Weights, x: Tensor) -> Float[np.ndarray, "cells starts"]:
    """Return every instance's mean loss on the inputs `x`.

    The loss is Σ_i I_i mean (y_i − t_i)². The inputs are the instance's own, or one set for all.
    """
    architecture = ARCHITECTURES[trained.config["model"]]
    _, y = forward(architecture, weights, x)
    error = (y - target(architecture, x)).square_().mean(dim=2)
    per_feature = error.view(*trained.loss.shape, -1).numpy().astype(np.float64)
    return (per_feature * trained.importance[:, None]).sum(axis=2)


def _weights(trained: Trained, dtype: torch.dtype) -> Weights:
    features, hidden = trained.features_in.shape[2:]
    encoder, decoder = (
        torch.from_numpy(np.ascontiguousarray(a)).to(dtype).view(-1, features, hidden)
        for a in (trained.features_in, trained.features_out)
    )
    bias = torch.from_numpy(np.ascontiguousarray(trained.bias)).to(dtype).view(-1, features, 1)
    return Weights(bias, encoder.transpose(1, 2).contiguous(), decoder, bias)
