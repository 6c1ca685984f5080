"""Learning dynamics: the dimensionality of every feature during training.

It settles on one of a few levels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from analyses.superposition.base import PAPER, Check, ToyStudy, trained
from interp import toy
from interp.progress import Progress
from interp.provenance import Stopwatch
from interp.results import Result

if TYPE_CHECKING:
    from interp.report import Section

LEVELS = np.array([0, 3 / 8, 2 / 5, 1 / 2, 2 / 3, 3 / 4, 1])


@dataclass(frozen=True, eq=False)
class Config(Result):
    """Settings of one model of independent features at one sparsity.

    Its weights are recorded every `record` steps.

    >>> Config(seed=1)
    Config(features=40, hidden=6, sparsity=0.7, steps=4000, record=20, lr=0.001, seed=1)
    """

    features: int = 40
    hidden: int = 6
    sparsity: float = 0.7
    steps: int = 4000
    record: int = 20
    lr: float = 1e-3
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Dynamics(ToyStudy):
    """History of one model during training.

    >>> run(Config(features=8, hidden=3, steps=100)).title
    'Dimensionality during training'
    """

    title = "Dimensionality during training"
    limitations = (
        "Jumps between levels are shown, not tested: how sharp they are depends on the learning rate.",
        "Losses during training are those of minibatches.",
    )

    config: Config
    models: toy.Trained

    def dimensionality(self) -> Float[np.ndarray, "records features"]:
        """Return the dimensionality D_i(t) of every feature at every record."""
        return toy.dimensionality(self.models.history[:, 0, 0])

    def on_level(self) -> Float[np.ndarray, " records"]:
        """Return the fraction of features within 0.02 of a level."""
        return (np.abs(self.dimensionality()[..., None] - LEVELS).min(-1) < 0.02).mean(1)

    def finding(self) -> str:
        """Return the share of features on a level, first and last."""
        share = self.on_level()
        return f"{share[0]:.0%} of the features begin within 0.02 of a level and {share[-1]:.0%} end there."

    def sections(self) -> tuple[Section, ...]:
        """Return one section: dimensionalities, loss and the share on a level."""
        from interp.report import How, Section, figures

        steps, d = self.models.steps, self.dimensionality()
        order = np.argsort(d[-1])
        paths = figures.heatmap(
            "paths",
            d[:, order].T,
            rows=[f"feature {i}" for i in order],
            columns=[str(s) for s in steps],
            axes=("feature", "step", "D_i"),
            signed=False,
            caption="Dimensionality of every feature during training; rows are sorted by the final value.",
            alt="Most rows go to zero, others to one half.",
        )
        smooth = max(1, len(steps) // 40)
        loss = np.convolve(self.models.history_loss[:, 0, 0], np.ones(smooth) / smooth, mode="same")
        curves = figures.lines(
            "curves",
            steps,
            {"share of features on a level": self.on_level(), "Σ D / m": d.sum(1) / self.config.hidden},
            caption="Features within 0.02 of 0, 3/8, 2/5, 1/2, 2/3, 3/4 or 1; and the sum of dimensionalities over the "
            "hidden dimensions, which never exceeds 1.",
            alt="The share on a level rises to one.",
            axes=("step", "fraction"),
        )
        falling = figures.lines(
            "falling",
            steps[smooth:-smooth],
            {"loss": loss[smooth:-smooth]},
            caption=f"Minibatch loss, mean of {smooth} records.",
            alt="The loss falls and levels off.",
            axes=("step", "loss"),
        )
        how = How("One model; weights recorded during training.", "D_i = ‖W_i‖² / Σ_j (Ŵ_i · W_j)²", PAPER)
        return (Section("dynamics-section", "During training", self.finding(), (paths, curves, falling), how),)


def run(
    config: Config, *, device: str = "cpu", command: str | None = None, progress: Progress | None = None
) -> Dynamics:
    """Train one model and check where its features begin and end.

    >>> result = run(Config(features=8, hidden=3, steps=100))  # small, in place of the defaults
    >>> result.checks[0].claim
    'features within 0.02 of a level, at the end'
    """
    watch = Stopwatch()
    grid = toy.Config(
        config.features,
        config.hidden,
        density=(1 - config.sparsity,),
        steps=config.steps,
        record=config.record,
        lr=config.lr,
        seed=config.seed,
    )
    models = trained(grid, what="one model", device=device, progress=progress)
    result = Dynamics((), watch.provenance(command=command, seed=config.seed, device=device), config, models)
    share, total = result.on_level(), result.dimensionality().sum(1) / config.hidden
    checks = (
        Check("features within 0.02 of a level, at the end", "all", float(share[-1]), 0.95, 1),
        Check("the same at the start", "few", float(share[0]), 0, 0.5),
        Check("largest Σ D / m during training", "at most 1 (theorem)", float(total.max()), 0.5, 1 + 1e-5),
    )
    return Dynamics(checks, result.provenance, config, models)
