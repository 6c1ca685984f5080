"""SAPLMA: a small multilayer perceptron, to measure what linear probes miss."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Self, cast

import numpy as np
import torch
from jaxtyping import Float, Int
from sklearn.base import clone
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from interp.errors import UsageError
from probes.batched.scaling import standardisation
from probes.estimators.base import Probe, as_array, as_tensor, read_labels, read_stack

HIDDEN = (256, 128, 64)
LEARNING_RATE = 1e-3
BATCH = 32


class SAPLMA(Probe):
    """Perceptron with 256, 128 and 64 ReLU units on standardised activations.

    Azaria and Mitchell 2023, arXiv 2304.13734. Trained by Adam on the cross-entropy in batches of 32. It has no
    direction; its score is a log-odds in nats. Its accuracy varies by a percent or two between seeds: report several.

    Attributes:
        layers_: ((weight, bias), …), float32, for the standardised input.
        mean_, scale_: (d,) mean and scale of the training rows.
        classes_: the two labels; `classes_[1]` means "true".

    Args:
        epochs: passes over the rows.
        seed: seed of the initial weights and of the order of the rows.

    Example:
        >>> X, y = [[0.0, 1.0], [0.0, 3.0], [2.0, 1.0], [2.0, 3.0]], [0, 0, 1, 1]
        >>> probes.SAPLMA(epochs=1).fit(X, y).predict_proba(X).shape
        (4, 2)
    """

    layers_: tuple[tuple[np.ndarray, np.ndarray], ...]
    mean_: Float[np.ndarray, " d"]
    scale_: Float[np.ndarray, " d"]

    def __init__(self, epochs: int = 5, seed: int = 0):
        self.epochs = epochs
        self.seed = seed

    def fit(self, X: Any, y: Any) -> Self:
        """Fit on activations `X` (n, d) and labels `y`.

        Raises `UsageError` as the linear probes do.

        >>> X, y = [[0.0, 1.0], [0.0, 3.0], [2.0, 1.0], [2.0, 3.0]], [0, 0, 1, 1]
        >>> probe = probes.SAPLMA(epochs=1).fit(X, y)
        >>> [weight.shape for weight, bias in probe.layers_]
        [(2, 256), (256, 128), (128, 64), (64, 1)]
        """
        X, labels = self._read(X, y)
        return self._fit_rows(as_tensor(X), as_tensor(labels))

    def fit_layers(self, X: Any, y: Any) -> list[Self]:
        """Fit one copy per layer, equal to `fit` on each.

        >>> X = torch.tensor([[[0.0], [1.0]], [[0.0], [3.0]]])  # two layers, two rows, width 1
        >>> [probe.mean_.tolist() for probe in probes.SAPLMA(epochs=1).fit_layers(X, [0, 1])]
        [[0.5], [1.5]]
        """
        stack = read_stack(X)
        classes, labels = read_labels(as_array(y))
        probes = [cast(Self, clone(self)) for _ in stack]
        for probe, layer in zip(probes, stack, strict=True):
            probe.classes_, probe.n_features_in_ = classes, stack.shape[2]
            probe._fit_rows(layer.double(), as_tensor(labels))
        return probes

    def decision_function(self, X: Any) -> Float[np.ndarray, " n"]:
        """Return the log-odds (nats) that each row is true.

        >>> X, y = [[0.0, 1.0], [0.0, 3.0], [2.0, 1.0], [2.0, 3.0]], [0, 0, 1, 1]
        >>> (probes.SAPLMA(epochs=20).fit(X, y).decision_function(X) > 0).tolist()
        [False, False, True, True]
        """
        rows = (self._check(X) - self.mean_) / self.scale_
        for weight, bias in self.layers_[:-1]:
            rows = np.maximum(rows @ weight + bias, 0)
        weight, bias = self.layers_[-1]
        return (rows @ weight + bias)[:, 0]

    def _fit_rows(self, X: Float[Tensor, "n d"], labels: Int[Tensor, " n"]) -> Self:
        if self.epochs < 1:
            raise UsageError(f"epochs must be at least 1, not {self.epochs}.")
        mean, scale = (one[0] for one in standardisation(X, X.new_ones(1, len(X))))
        rows = ((X - mean) / scale).float()
        layers = _train(rows, labels.to(rows), self.epochs, self.seed)
        self.mean_, self.scale_ = mean.cpu().numpy(), scale.cpu().numpy()
        self.layers_ = tuple((weight.cpu().numpy(), bias.cpu().numpy()) for weight, bias in layers)
        return self


def _train(
    rows: Float[Tensor, "n d"], labels: Float[Tensor, " n"], epochs: int, seed: int
) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    layers = _initial((rows.shape[1], *HIDDEN, 1), generator, rows.device)
    descent = torch.optim.Adam([part for layer in layers for part in layer], lr=LEARNING_RATE, fused=True)
    for _ in range(epochs):
        order = torch.randperm(len(rows), generator=generator).to(rows.device)
        for batch in order.split(BATCH):
            descent.zero_grad()
            binary_cross_entropy_with_logits(_logits(rows[batch], layers), labels[batch]).backward()
            descent.step()
    return [(weight.detach(), bias.detach()) for weight, bias in layers]


def _initial(widths: tuple[int, ...], generator: torch.Generator, device: torch.device) -> list[tuple[Tensor, Tensor]]:
    """Return random weights (Glorot) and zero biases.

    The weights are uniform with variance 2 / (inputs + outputs).
    """
    layers = []
    for inputs, outputs in pairwise(widths):
        bound = (6 / (inputs + outputs)) ** 0.5
        weight = (2 * torch.rand(inputs, outputs, generator=generator) - 1) * bound
        layers.append((weight.to(device).requires_grad_(), torch.zeros(outputs, device=device, requires_grad=True)))
    return layers


def _logits(rows: Float[Tensor, "n d"], layers: list[tuple[Tensor, Tensor]]) -> Float[Tensor, " n"]:
    for weight, bias in layers[:-1]:
        rows = torch.relu(rows @ weight + bias)
    weight, bias = layers[-1]
    return (rows @ weight + bias)[:, 0]
