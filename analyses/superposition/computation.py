"""Computation of |x| of features, exactly and in superposition.

It is exact with two neurons for each feature, and in superposition with fewer neurons than features.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from analyses.superposition.base import PAPER, Check, ToyStudy, extreme, trained
from interp import toy
from interp.progress import Progress
from interp.provenance import Stopwatch
from interp.results import Result
from interp.toy.geometry import features_per_neuron

if TYPE_CHECKING:
    from interp.report import Section


@dataclass(frozen=True, eq=False)
class Config(Result):
    """Settings of the training.

    The defaults are the paper's size: 100 features of importance 0.8^i in 40 neurons.

    >>> Config(seed=1)
    Config(features=100, neurons=40, density=5 items, steps=4000, starts=1, exact_starts=16, seed=1)
    """

    features: int = 100
    neurons: int = 40
    density: tuple[float, ...] = (1.0, 0.3, 0.1, 0.03, 0.01)
    steps: int = 4000
    starts: int = 1
    exact_starts: int = 16
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Computation(ToyStudy):
    """Networks that compute |x|.

    `exact`: three features, six neurons, all starts. `models`: fewer neurons than features, by density.
    """

    title = "Computation in superposition"
    limitations = (
        "A neuron responds to a feature if the feature's weight is above a quarter of the neuron's largest "
        "weight. The number of monosemantic neurons at intermediate densities depends on this threshold.",
    )

    config: Config
    exact: toy.Trained
    models: toy.Trained

    def error(self) -> np.ndarray:
        """Return the relative loss of every start of the exact model.

        It is the loss over the variance of the targets.
        """
        p = float(self.exact.density[0, 0])
        return self.exact.loss[0] / (self.exact.density.shape[1] * (p / 3 - p**2 / 4))

    def monosemantic(self) -> np.ndarray:
        """Return the fraction of neurons moved by one feature, at each density."""
        return toy.monosemantic_fraction(self.models.best().features)

    def crowding(self) -> np.ndarray:
        """Return the mean number of features per live neuron, at each density."""
        count = features_per_neuron(self.models.best().features)
        return count.sum(1) / np.maximum((count > 0).sum(1), 1)

    def finding(self) -> str:
        """Return the exact starts, and the monosemantic share at both ends."""
        share, p = self.monosemantic(), self.config.density
        return (
            f"With two neurons for each feature |x| is computed exactly ({int((self.error() < 1e-6).sum())} of "
            f"{self.config.exact_starts} starts); with {self.config.neurons} for {self.config.features} features the "
            f"monosemantic share of neurons falls from {share[0]:.2f} at density {p[0]:g} to {share[-1]:.2f} at "
            f"{p[-1]:g}."
        )

    def sections(self) -> tuple[Section, ...]:
        """Return the sections on the exact circuit and on polysemantic neurons."""
        from interp.report import How, Section, figures

        best = self.exact.best()
        features, neurons = best.features.shape[1:]
        product = figures.heatmap(
            "product",
            (best.features * best.features_out)[0],
            rows=[f"feature {i}" for i in range(features)],
            columns=[f"neuron {j}" for j in range(neurons)],
            axes=("feature", "neuron", "W₁ W₂"),
            caption="Input weight times output weight in the best start. Each feature has one neuron for its positive "
            "and one for its negative side, with products +1 and −1 (the latter: negative in, positive out).",
            alt="Two cells a row are plus and minus one, all others zero.",
        )
        density = np.array(self.config.density)
        change = figures.lines(
            "change",
            density,
            {"monosemantic fraction": self.monosemantic(), "features per neuron / 10": self.crowding() / 10},
            caption="Fraction of live neurons that respond to a single feature, and a tenth of the mean number of "
            "features that a neuron responds to, against density. Neurons are rescaled to a largest input weight of 1 "
            "first.",
            alt="The monosemantic fraction falls from about one to zero as features get sparser.",
            axes=("density 1 − S", "fraction"),
            log="x",
        )
        how = How("y = |x| for x in U[−1, 1].", "h = ReLU(W₁ x),  y = ReLU(W₂ h + b)", PAPER)
        crowd = f"Features per neuron rise from one to {self.crowding()[-1]:.1f} as features become sparser."
        return (
            Section(
                "exact", "Two neurons for each feature", "The model learns |x| = ReLU(x) + ReLU(−x).", (product,), how
            ),
            Section("crowded", "Fewer neurons than features", crowd, (change,), how),
        )


def run(
    config: Config, *, device: str = "cpu", command: str | None = None, progress: Progress | None = None
) -> Computation:
    """Train both networks and check them.

    The checks: exactness, the products of the weights, and the monosemantic fraction at both ends of the densities.
    """
    watch = Stopwatch()
    common = toy.Config(3, 6, density=(0.3,), model="absolute", values="signed", lr=1e-2, seed=config.seed)
    exact = trained(replace(common, starts=config.exact_starts), what="|x| exactly", device=device, progress=progress)
    crowd = replace(
        common,
        features=config.features,
        hidden=config.neurons,
        density=config.density,
        importance=(tuple(0.8**i for i in range(config.features)),),
        starts=config.starts,
        steps=config.steps,
    )
    models = trained(crowd, what=f"|x| of {config.features}", device=device, progress=progress)
    provenance = watch.provenance(command=command, seed=config.seed, device=device)
    result = Computation((), provenance, config, exact, models)
    return Computation(_checks(result), provenance, config, exact, models)


def _checks(result: Computation) -> tuple[Check, ...]:
    best = result.exact.best()
    product = np.sort((best.features * best.features_out)[0], axis=1)
    off = max(np.abs(product[:, 0] + 1).max(), np.abs(product[:, -1] - 1).max(), np.abs(product[:, 1:-1]).max())
    share, density = result.monosemantic(), np.array(result.config.density)
    return (
        Check("|x| exactly: best loss / variance", "0", float(result.error().min()), 0, 1e-6),
        Check("|x| exactly: largest deviation of W₁ W₂ from −1, 0 … 0, 1", "0", float(off), 0, 0.01),
        *extreme("monosemantic fraction at densities of 0.3 and above", "nearly all", share[density >= 0.3], 0.85, 1),
        *extreme("at 0.01 and below", "nearly none", share[density <= 0.01], 0, 0.15, largest=True),
    )
