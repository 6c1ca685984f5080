"""Trained perceptrons: settings, weights, places and pruned weights; numpy only."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from interp.errors import UsageError, nearest
from interp.provenance import Provenance
from interp.results import Result
from interp.toy.modular.structure import Part, modularity, splits
from interp.toy.modular.tasks import NAMES

SETTINGS = ("wiring", "local", "l1", "none")
"""The whole method; wires that cost their length, but no exchange of places; the same price for all wires; none."""


@dataclass(frozen=True, eq=False)
class Config(Result):
    """One task, several settings, and a number of seeds for each.

    Raises `UsageError` for values that cannot be used.

    >>> modular.Config(task="independent", seeds=2, steps=200).settings
    ('wiring', 'local', 'l1', 'none')
    """

    task: str = "independent"
    settings: tuple[str, ...] = SETTINGS
    strength: float = 0.01
    """λ, the weight of the wiring cost."""
    locality: float = 4.0
    """How much longer a wire along a whole layer is than the gap between layers would make it."""
    width: int = 20
    hidden: int = 2
    """Hidden layers."""
    seeds: int = 10
    steps: int = 4000
    lr: float = 0.005
    points: int = 256
    allowed: float = 0.02
    """Mean squared error, as a share of the targets' variance, up to which a trained network is pruned."""
    seed: int = 0

    def __post_init__(self) -> None:
        _known("task", self.task, NAMES)
        for setting in self.settings:
            _known("settings", setting, SETTINGS)
        for name in ("width", "hidden", "seeds", "points"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} is {getattr(self, name)}; it must be 1 or more.")
        if self.strength < 0 or self.locality < 0 or not self.allowed > 0:
            raise UsageError(
                f"strength is {self.strength:g}, locality {self.locality:g} and allowed {self.allowed:g}; "
                "the first two must be 0 or more and the last above 0."
            )


@dataclass(frozen=True, eq=False)
class Trained(Result):
    """Trained networks, setting by seed.

    Matrices are (settings, seeds, out, in), one a layer.

    >>> config = modular.Config(settings=("wiring", "none"), width=8, seeds=1, steps=200, points=64)
    >>> trained = modular.train(config)
    >>> [matrix.shape for matrix in trained.matrices]
    [(2, 1, 8, 4), (2, 1, 8, 8), (2, 1, 2, 8)]
    """

    config: Config
    parts: tuple[Part, ...]
    """Parts that should be independent: inputs and outputs of each."""
    start: tuple[np.ndarray, ...]
    """Matrices before training."""
    matrices: tuple[np.ndarray, ...]
    remaining: tuple[np.ndarray, ...]
    """1 for the largest weights with which the error is at most the one allowed."""
    places: tuple[np.ndarray, ...]
    """(settings, seeds, neurons) for each layer, from the inputs on."""
    error: Float[np.ndarray, "settings seeds"]
    """Mean squared error over the variance of the targets, on inputs that were not trained on."""
    pruned_error: Float[np.ndarray, "settings seeds"]
    cost: Float[np.ndarray, "settings seeds"]
    """Wiring cost at the configured locality, for all settings."""
    provenance: Provenance

    def network(self, setting: int, seed: int, *, pruned: bool = True) -> list[np.ndarray]:
        """Return the matrices of one network.

        Args:
            setting: its index.
            seed: its index.
            pruned: whether to return the pruned network.

        Returns:
            One (out, in) matrix a layer.

        >>> [matrix.shape for matrix in trained.network(0, 0)]
        [(8, 4), (8, 8), (2, 8)]
        """
        remaining = self.remaining if pruned else tuple(np.ones_like(k) for k in self.remaining)
        return [w[setting, seed] * k[setting, seed] for w, k in zip(self.matrices, remaining, strict=True)]

    def split(self) -> Bool[np.ndarray, "settings seeds"]:
        """Return whether each pruned network has the right parts.

        A network whose error is above the allowed one counts as wrong.

        >>> trained.split().shape
        (2, 1)
        """
        right = self._each(lambda matrices: splits(matrices, self.parts)).astype(bool)
        return right & (self.pruned_error <= self.config.allowed)

    def modularity(self) -> Float[np.ndarray, "settings seeds"]:
        """Return Newman's modularity of each pruned network.

        >>> trained.modularity().shape
        (2, 1)
        """
        return self._each(modularity)

    def wires(self) -> Int[np.ndarray, "settings seeds"]:
        """Return how many weights are left in each pruned network.

        >>> trained.wires().shape
        (2, 1)
        """
        return np.sum([remaining.sum((2, 3)) for remaining in self.remaining], axis=0).astype(int)

    def _each(self, measure: Callable[[Sequence[np.ndarray]], float]) -> np.ndarray:
        settings, seeds = self.error.shape
        return np.array([[measure(self.network(i, j)) for j in range(seeds)] for i in range(settings)])


def _known(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UsageError(f'{name} has "{value}"; it must be one of {", ".join(known)}{nearest(value, known)}.')
