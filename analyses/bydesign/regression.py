"""Linear regression in context with priced wires.

The study asks whether a transformer learns it with fewer and shorter wires.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from analyses.bydesign import require_cpu
from analyses.superposition.base import Check, ToyStudy
from interp.progress import Progress, every
from interp.provenance import Stopwatch
from interp.results import Result
from interp.statistics import mean_interval
from interp.toy import modular

if TYPE_CHECKING:
    from interp.report import Figure, Section, Table

PAPER = "Liu, Gan and Tegmark 2023, arXiv 2305.08746, section 3.4"
SETTINGS = ("wiring cost", "L1 alone", "no price")
NAMES = {
    "error": "error, as a share of the answers' variance",
    "foreign": "error with another sequence's pairs",
    "cost": "wiring cost",
    "wires": "weights left",
}


@dataclass(frozen=True, eq=False)
class Config(Result):
    """Settings of one task under three prices.

    The initial weights are the same under each.

    >>> Config(seed=1)
    Config(seeds=4, strength=0.3, locality=4.0, steps=1000, allowed=0.1, seed=1)
    """

    seeds: int = 4
    strength: float = 0.3
    locality: float = 4.0
    steps: int = 1000
    allowed: float = 0.1
    """Error, as a share of the answers' variance, up to which a trained network is pruned."""
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Regression(ToyStudy):
    """Errors, wiring costs and weights left of every network.

    Arrays are (settings, seeds).
    """

    title = "Linear regression in context"
    limitations = (
        "Answers are products of one number without noise: one of the seven pairs already gives the coefficient.",
        "Weights are pruned by magnitude without further training; how the network computes the coefficient is not "
        "analysed.",
    )

    config: Config
    error: Float[np.ndarray, "settings seeds"]
    """Mean squared error on new sequences over the variance of the answers."""
    foreign: Float[np.ndarray, "settings seeds"]
    """Control: the same error with the pairs of another sequence before the last."""
    cost: Float[np.ndarray, "settings seeds"]
    """Wiring cost at a locality of 1, whatever the price in training."""
    wires: Float[np.ndarray, "settings seeds"]
    """Weights left at the allowed error."""

    def finding(self) -> str:
        """Return error and weights left, with and without a price."""
        error, wires = self.error.mean(1), self.wires.mean(1)
        return (
            f"The error of a two-layer transformer is {error[0]:.3f} of the variance with the wiring cost and "
            f"{error[2]:.3f} without a price; pruned to an error of {self.config.allowed:g} it has {wires[0]:.0f} "
            f"weights instead of {wires[2]:.0f}."
        )

    def sections(self) -> tuple[Section, ...]:
        """Return the sections on the error and on the wires."""
        from interp.report import How, Section

        how = How(
            "A sequence has eight pairs (x, w x) with a w of its own; the last answer is left out. In the control the "
            "pairs before the last come from another sequence, so that a network that uses them answers for another w.",
            "L = (ŷ − w x)² + λ Σ |weight| · length",
            PAPER,
        )
        learned = f"With another sequence's pairs the error is {self.foreign.mean():.2f} of the variance."
        shorter = self.cost.mean(1)
        claim = f"The wiring cost falls from {shorter[2]:.3f} without a price to {shorter[0]:.3f}."
        return (
            Section("context", "Learned from the context", learned, (self._errors(),), how),
            Section("wires", "Fewer and shorter wires", claim, (self._table(),), how),
        )

    def _errors(self) -> Figure:
        from interp.report import figures

        return figures.heatmap(
            "errors",
            np.concatenate([self.error, self.foreign]),
            rows=[f"{name}, {which}" for which in ("own pairs", "another's pairs") for name in SETTINGS],
            columns=[f"seed {seed}" for seed in range(self.config.seeds)],
            axes=("setting and pairs", "network", "error"),
            signed=False,
            caption="Mean squared error on 1,024 new sequences as a share of the answers' variance: 1 for a network "
            "that answers 0, 2 for one that uses a w of the same distribution.",
            alt="Errors are near 0 with the sequence's own pairs and near 2 with another's.",
        )

    def _table(self) -> Table:
        from interp.report import Table

        rows = tuple(
            (name, setting, *map(float, mean_interval(getattr(self, field)[k], seed=self.config.seed)))
            for field, name in NAMES.items()
            for k, setting in enumerate(SETTINGS)
        )
        return Table(
            ("measure", "setting", "mean", "from", "to"), rows, formats=dict.fromkeys(("mean", "from", "to"), ".4g")
        )


def run(
    config: Config, *, device: str = "cpu", command: str | None = None, progress: Progress | None = None
) -> Regression:
    """Train all settings and seeds at once."""
    import torch

    require_cpu(device)
    watch = Stopwatch()
    settings = torch.tensor([[1.0, config.locality, 1], [1, 0, 0], [0, 0, 0]]).repeat_interleave(config.seeds, 0)
    price = modular.Price(config.strength * settings[:, 0], settings[:, 1], settings[:, 2].bool())
    seeds = [config.seed * 1000 + s for s in range(config.seeds)] * len(SETTINGS)

    report = every(progress, 50, f"{len(seeds)} networks")
    networks = modular.learn_in_context(price, seeds, steps=config.steps, allowed=config.allowed, progress=report)
    provenance = watch.provenance(command=command, seed=config.seed, device="cpu")
    arrays = {name: getattr(networks, name).double().view(len(SETTINGS), -1).numpy() for name in NAMES}
    result = Regression((), provenance, config, **arrays)
    return replace(result, checks=_checks(result))


def _checks(result: Regression) -> tuple[Check, ...]:
    wires, cost = result.wires.mean(1), result.cost.mean(1)
    return (
        Check("largest error of a network", "far below 1", float(result.error.max()), 0, result.config.allowed),
        # The mean squared difference of two independent w is twice their variance. A network that ignores the pairs
        # has an error of 1.
        Check("least error with another sequence's pairs", "2", float(result.foreign.min()), 1.5, 2.5),
        Check("weights left, wiring cost over none", "far below 1", float(wires[0] / wires[2]), 0, 0.5),
        Check("wiring cost, priced over none", "far below 1", float(cost[0] / cost[2]), 0, 0.8),
        Check("wiring cost, priced by length over L1 alone", "below 1", float(cost[0] / cost[1]), 0, 0.9),
    )
