"""Training of a grid (cells × starts) in one batch; each instance is as if trained alone.

Adam without weight decay, on each instance's loss divided by its mean density: at a density of 0.01 gradients are
otherwise so small that Adam's epsilon, not the loss, sets the step.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interp.arguments import checked
from interp.devices import available
from interp.errors import CheckFailedError
from interp.progress import Progress, advance
from interp.provenance import Stopwatch
from interp.threads import one_thread
from interp.toy.config import Config
from interp.toy.data import sample
from interp.toy.loss import EXACT_UP_TO, exact_loss, sampled_loss
from interp.toy.models import ARCHITECTURES, Architecture, Weights, gradient, initialise, layout
from interp.toy.trained import Trained

Batches = Callable[[torch.Generator], Float[Tensor, "instances features batch"]]
BETAS, EPSILON = (0.9, 0.999), 1e-8


@dataclass
class History:
    """Weights and minibatch losses recorded during training."""

    steps: list[int]
    flat: list[np.ndarray]
    loss: list[np.ndarray]


@checked
def train(config: Config, *, device: str = "cpu", progress: Progress | None = None) -> Trained:
    """Train the grid and return all instances with their losses.

    Losses are exact up to 10 features, else those of a fixed sample.

    L = Σ_i I_i E[(x_i − x'_i)²]. Instance (cell, start) is bit-identical in every grid, on the CPU.

    Args:
        config: the grid.
        device: where to train.
        progress: called with (steps done, steps in all, what is being done).

    Returns:
        All instances, with their losses.

    Raises:
        CheckFailedError: an instance's weights are not finite.

    >>> config = toy.Config(features=5, hidden=2, density=(1.0, 0.05), starts=2, steps=200, batch_size=64)
    >>> toy.train(config).features_in.shape  # (cells, starts, features, hidden)
    (2, 2, 5, 2)
    """
    watch, device = Stopwatch(), str(available(device))
    architecture = ARCHITECTURES[config.model]
    density, importance = (torch.tensor(a, dtype=torch.float32, device=device) for a in config.cells())
    starts = range(config.first_start, config.first_start + config.starts)
    single = initialise(architecture, config.features, config.hidden, starts=starts, seed=config.seed)
    flat = single.repeat(len(density), 1).to(device)
    cut, importance = density.repeat_interleave(config.starts, 0), importance.repeat_interleave(config.starts, 0)
    weight = 2 * importance / (cut.mean(dim=1, keepdim=True) * config.batch_size)

    def batches(generator: torch.Generator) -> Tensor:
        return sample(config.data, cut, config.batch_size, generator, group=config.group, values=config.values)

    weights = layout(flat, config.features, config.hidden, tied=architecture.tied)
    history = optimise(architecture, weights, batches, weight.unsqueeze(2), config, progress=progress)
    if not torch.isfinite(flat).all():
        raise CheckFailedError(f"Training diverged: some weights are not finite; lower lr (it was {config.lr:g}).")
    return _collect(config, architecture, flat, history, watch, device)


def optimise(
    architecture: Architecture,
    weights: Weights,
    batches: Batches,
    weight: Float[Tensor, "instances features 1"],
    config: Config,
    *,
    decay: float = 0.0,
    progress: Progress | None = None,
) -> History:
    """Train `weights` in place on batches; return the history.

    Batches are those that `batches` draws.

    There are `config.steps` steps.

    `weight` scales each squared error's gradient; `decay` is decoupled weight decay (AdamW).
    """
    generator = torch.Generator(weights.flat.device).manual_seed(config.seed)
    slope = torch.zeros_like(weights.flat)
    into = layout(slope, config.features, config.hidden, tied=architecture.tied)
    mean, square = torch.zeros_like(slope), torch.zeros_like(slope)
    history = History([], [], [])
    with one_thread():
        for step in range(config.steps):
            error = gradient(architecture, weights, into, batches(generator), weight)
            if config.record and step % config.record == 0:
                _record(history, step, weights.flat, error, weight)
            rate = config.lr * learning_rate(config.schedule, step, config.steps)
            _adam(weights.flat, slope, mean, square, step=step + 1, rate=rate, decay=decay)
            advance(progress, step + 1, config.steps, "training toy models")
    return history


def learning_rate(schedule: str, step: int, steps: int) -> float:
    """Return the factor of the learning rate at a step.

    It is 1, or a half cosine down to 0.
    """
    return 1.0 if schedule == "constant" else 0.5 * (1 + math.cos(math.pi * step / steps))


def _adam(flat: Tensor, slope: Tensor, mean: Tensor, square: Tensor, *, step: int, rate: float, decay: float) -> None:
    """Perform one step of Adam with separately rounded operations.

    No fused multiply-add: torch fuses them in vectors but not in the left-over elements of a row, and which elements
    remain depends on how many instances there are.
    """
    mean.mul_(BETAS[0]).add_(slope.mul(1 - BETAS[0]))
    square.mul_(BETAS[1]).add_(slope.mul_(slope).mul_(1 - BETAS[1]))
    if decay:
        flat.mul_(1 - rate * decay)
    scale = rate * math.sqrt(1 - BETAS[1] ** step) / (1 - BETAS[0] ** step)
    size = square.sqrt().add_(EPSILON * math.sqrt(1 - BETAS[1] ** step))
    flat.sub_(torch.div(mean, size, out=size).mul_(scale))


def _record(history: History, step: int, flat: Tensor, error: Tensor, weight: Tensor) -> None:
    history.steps.append(step)
    history.flat.append(flat.cpu().numpy().copy())
    history.loss.append((error.square() * weight / 2).sum(dim=(1, 2)).cpu().numpy())


def _collect(
    config: Config, architecture: Architecture, flat: Tensor, history: History, watch: Stopwatch, device: str
) -> Trained:
    """Return the `Trained` result: (cells, starts, ...) arrays, losses, history, provenance."""
    density, importance = config.cells()
    grid = (len(density), config.starts)
    weights = layout(flat.cpu(), config.features, config.hidden, tied=architecture.tied)
    trained = Trained(
        config=config.plain(),
        density=density,
        importance=importance,
        features_in=weights.encoder.transpose(1, 2).reshape(*grid, config.features, config.hidden).numpy(),
        features_out=weights.decoder.reshape(*grid, config.features, config.hidden).numpy(),
        bias=weights.bias.reshape(*grid, config.features).numpy(),
        loss=np.zeros(grid),
        loss_is_exact=config.features <= EXACT_UP_TO,
        steps=np.array(history.steps, dtype=np.int64),
        history=_history(config, architecture, history, grid),
        history_loss=_history_loss(history, density, grid),
        provenance=watch.provenance(seed=config.seed, dtype="float32", device=device),
    )
    judge = exact_loss if trained.loss_is_exact else sampled_loss
    trained.loss[:] = judge(trained)
    return trained


def _history(config: Config, architecture: Architecture, history: History, grid: tuple[int, int]) -> np.ndarray:
    """Return the encoder's columns as they grew.

    They are (records, cells, starts, features, hidden).
    """
    shape = (len(history.steps), *grid, config.features, config.hidden)
    if not history.flat:
        return np.zeros(shape, np.float32)
    flat = torch.from_numpy(np.concatenate(history.flat))
    encoder = layout(flat, config.features, config.hidden, tied=architecture.tied).encoder
    return encoder.transpose(1, 2).reshape(shape).numpy()


def _history_loss(history: History, density: np.ndarray, grid: tuple[int, int]) -> np.ndarray:
    """Return minibatch losses in the units of `Trained.loss`: (records, cells, starts)."""
    if not history.loss:
        return np.zeros((0, *grid), np.float32)
    scale = density.astype(np.float32).mean(axis=1)[:, None]
    return np.stack(history.loss).reshape(-1, *grid) * scale
