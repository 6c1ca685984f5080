"""Training with few weights: after every step the smallest of each matrix become zero."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from interp import masks
from interp.errors import UsageError
from interp.progress import Progress, advance
from interp.toy.networks import Weights
from interp.toy.sparse.tasks import Sequences
from interp.toy.transformer import Ablation, Shape, run_transformer, transformer

ANNEALED = 0.5
"""Share of the steps over which the density falls to the one asked for."""
EVALUATED, EVERY = 1024, 5
"""Sequences a loss is measured on, and steps between two looks at a dense network that is to stop."""


@dataclass(frozen=True)
class Networks:
    """Trained transformers, one for each seed.

    >>> task = sparse.sequences("quotes")
    >>> networks = sparse.train(task, density=0.2, seeds=(0, 1), steps=20, width=16, mlp=16, heads=2)
    >>> networks.loss.shape
    torch.Size([2])
    """

    shape: Shape
    weights: Weights
    loss: Float[Tensor, " instances"]
    """Cross-entropy on sequences not trained on, nats."""
    accuracy: Float[Tensor, " instances"]
    steps: Tensor
    """Steps each was trained for."""


def train(  # noqa: PLR0913 (what follows the task is keyword-only)
    task: Sequences,
    *,
    density: float,
    seeds: Sequence[int],
    steps: int = 1000,
    width: int = 32,
    mlp: int = 32,
    heads: int = 4,
    batch_size: int = 64,
    lr: float = 0.01,
    until: Float[Tensor, " instances"] | None = None,
    progress: Progress | None = None,
) -> Networks:
    """Train one-layer transformers with sparse weights.

    A share `density` of the weights of each matrix is not zero (arXiv 2511.13653).

    Every step is one of Adam on all weights and then a projection on the largest of each matrix, so that a weight at
    zero can come back; the density falls exponentially from 1 over the first half of the steps.

    Args:
        task: What to learn; the loss is the cross-entropy at the last position.
        density: Share of weights that are not zero, between 0 and 1; 1 is a dense network.
        seeds: Of the initial weights, one network each.
        steps: Number of steps.
        width: Dimensions of the residual stream.
        mlp: Neurons of the MLP.
        heads: Attention heads.
        batch_size: Sequences a step.
        lr: Peak learning rate.
        until: Loss at which each network is returned, looked at every 5 steps; the last state where it is not reached.
        progress: Called with (steps done, steps in all, what is being done).

    Returns:
        The networks, with loss and accuracy.

    Raises:
        UsageError: `density` is not above 0 and at most 1.

    >>> task = sparse.sequences("quotes")
    >>> networks = sparse.train(task, density=0.2, seeds=(0, 1), steps=20, width=16, mlp=16, heads=2)
    >>> networks.accuracy.shape
    torch.Size([2])
    """
    if not 0 < density <= 1:
        raise UsageError(f"density is {density:g}; it must be above 0 and at most 1.")
    shape = Shape(task.tokens, task.answers, task.length, width=width, heads=heads, mlp=mlp)
    taken = _Taken(shape, task, until)

    def loss(weights: Weights, step: int) -> Tensor:
        advance(progress, step, steps, "training")
        tokens, answer = task.draw(batch_size, torch.Generator().manual_seed(step + 1))
        return cross_entropy(weights, tokens, answer, shape)

    def project(weights: Weights, step: int) -> None:
        if density < 1:
            matrices = {name: w for name, w in weights.items() if w.ndim > 2}
            wanted = density ** min(1.0, step / (ANNEALED * steps))
            selected = masks.keep(masks.magnitude(matrices), wanted, scope="tensor")
            for name, mask in selected.items():
                weights[name].mul_(mask)
        if until is not None and step % EVERY == 0:
            taken.look(weights, step)

    last = masks.train(transformer(shape, seeds), loss, steps=steps, lr=lr, after=project)
    return taken.networks(last, steps)


def cross_entropy(
    weights: Weights, tokens: Tensor, answer: Tensor, shape: Shape, ablation: Ablation | None = None
) -> Float[Tensor, " instances"]:
    """Return the mean cross-entropy of the answer, in nats.

    It is the mean negative log-likelihood at the last position.
    """
    logits = run_transformer(weights, tokens, shape, ablation=ablation)[:, :, -1]
    label = answer.expand(len(logits), -1)
    return torch.nn.functional.cross_entropy(logits.transpose(1, 2), label, reduction="none").mean(1)


def evaluation(task: Sequences, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return sequences that no step is trained on."""
    return task.draw(EVALUATED, torch.Generator().manual_seed((1 << 40) + seed))


class _Taken:
    """States of networks that have reached a low enough loss.

    Each is taken at the first look with such a loss.
    """

    def __init__(self, shape: Shape, task: Sequences, until: Tensor | None) -> None:
        self.shape, self.until = shape, until
        self.tokens, self.answer = evaluation(task)
        self.weights: Weights = {}
        self.steps: Tensor | None = None

    def look(self, weights: Weights, step: int) -> None:
        if self.until is None or (self.steps is not None and (self.steps >= 0).all()):
            return
        if self.steps is None:
            self.weights = {name: torch.zeros_like(w) for name, w in weights.items()}
            self.steps = torch.full((len(self.until),), -1)
        with torch.no_grad():
            low = cross_entropy(weights, self.tokens, self.answer, self.shape) <= self.until
        fresh = low & (self.steps < 0)
        self.steps[fresh] = step
        for name, w in weights.items():
            self.weights[name][fresh] = w[fresh]

    def networks(self, last: Weights, steps: int) -> Networks:
        count = len(next(iter(last.values())))
        at = torch.full((count,), -1) if self.steps is None else self.steps
        weights = dict(last)
        for name, taken in self.weights.items():
            early = (at >= 0).view(-1, *[1] * (taken.ndim - 1))
            weights[name] = torch.where(early, taken, last[name])
        with torch.no_grad():
            loss = cross_entropy(weights, self.tokens, self.answer, self.shape)
            logits = run_transformer(weights, self.tokens, self.shape)[:, :, -1]
        right = (logits.argmax(2) == self.answer).float().mean(1)
        return Networks(self.shape, weights, loss, right, torch.where(at >= 0, at, steps))
