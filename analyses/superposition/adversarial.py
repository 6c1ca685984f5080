"""Superposition and adversarial examples.

Features that share a dimension can be attacked through each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from analyses.superposition import dimensions
from analyses.superposition.base import PAPER, Check, ToyStudy, extreme
from interp import toy
from interp.progress import Progress
from interp.provenance import Stopwatch
from interp.results import Result

if TYPE_CHECKING:
    from interp.report import Section

STRENGTH = 0.1
"""Length of an attack over the mean length of an input."""


@dataclass(frozen=True, eq=False)
class Config(Result):
    """Settings of the attack on models of 40 features in 6 dimensions.

    Each model is attacked on `inputs` inputs of its own data.

    >>> Config(seed=1)
    Config(sparsity=13 items, inputs=4096, steps=4000, seed=1)
    """

    sparsity: tuple[float, ...] = (0.0, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.97, 0.99)
    inputs: int = 4096
    steps: int = 4000
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Adversarial(ToyStudy):
    """Vulnerability and features per dimension at each sparsity.

    >>> run(Config(sparsity=(0.0, 0.6), inputs=64, steps=50)).title
    'Adversarial examples and superposition'
    """

    title = "Adversarial examples and superposition"
    limitations = (
        "The attack is one direction for all inputs, computed from the weights; per-input attacks are stronger but "
        "rank the models in the same order.",
    )

    config: Config
    models: toy.Trained
    per_dimension: Float[np.ndarray, " sparsities"]
    """Features per dimension, ‖W‖²_F / m."""
    vulnerability: Float[np.ndarray, " sparsities"]
    """Mean over inputs of the worst rise of the loss under an attack of length ε, over ε²."""

    def relative(self) -> Float[np.ndarray, " sparsities"]:
        """Return the vulnerability divided by that of the dense model."""
        return self.vulnerability / self.vulnerability[0]

    def finding(self) -> str:
        """Return the correlation of vulnerability with features per dimension."""
        r = np.corrcoef(self.per_dimension, self.relative())[0, 1]
        return (
            f"The rise of the loss under an attack follows the number of features per dimension (Pearson {r:.3f}) and "
            f"reaches {self.relative()[-1]:.0f} times the dense model's."
        )

    def sections(self) -> tuple[Section, ...]:
        """Return one section: both curves, and one against the other."""
        from interp.report import How, Section, figures

        sparsity = np.array(self.config.sparsity)
        curves = figures.lines(
            "curves",
            1 / (1 - sparsity),
            {"vulnerability over the dense model's": self.relative(), "features per dimension": self.per_dimension},
            caption="Vulnerability over that of the dense model, and ‖W‖²_F/m, against 1/(1 − S).",
            alt="Both curves rise where superposition begins.",
            axes=("1/(1 − S)", "ratio"),
            log="x",
        )
        against = figures.scatter(
            "against",
            self.per_dimension,
            self.relative(),
            labels=[f"S = {s:g}" for s in sparsity],
            caption="The same, one against the other; a point is a sparsity.",
            alt="Points on a rising, nearly straight line.",
            axes=("features per dimension", "vulnerability over the dense model's"),
        )
        how = How(
            "Every input is moved by ε along ±(WWᵀ)_i / ‖(WWᵀ)_i‖, the gradient of output i's pre-activation, with ε a "
            "tenth of the mean length of an input. Vulnerability: the mean over inputs of the largest rise of the "
            "loss over i and sign, over ε², so that data of different density compare.",
            "E_x max_{i,±} [L(x ± ε v_i) − L(x)] / ε²",
            PAPER,
        )
        return (Section("vulnerability-section", "Vulnerability", self.finding(), (curves, against), how),)


def run(
    config: Config, *, device: str = "cpu", command: str | None = None, progress: Progress | None = None
) -> Adversarial:
    """Train the sweep and attack every model.

    The vulnerability is correlated with features per dimension.

    >>> result = run(Config(sparsity=(0.0, 0.6), inputs=64, steps=50))  # small, in place of the defaults
    >>> result.checks[0].claim
    'Pearson correlation with features per dimension'
    """
    watch = Stopwatch()
    sweep = dimensions.Config(sparsity=config.sparsity, steps=config.steps, seed=config.seed)
    models = dimensions.sweep(sweep, device=device, progress=progress)
    best = models.best()
    vulnerability = np.array(
        [
            _vulnerability(w, b, p, config)
            for w, b, p in zip(best.features, best.bias, models.density[:, 0], strict=True)
        ]
    )
    per_dimension = toy.frobenius(best.features) / sweep.hidden
    sparse = np.array(config.sparsity) >= 0.5
    ratio = vulnerability / vulnerability[0]
    pearson = float(np.corrcoef(per_dimension, ratio)[0, 1])
    checks = (
        Check("Pearson correlation with features per dimension", "strongly correlated", pearson, 0.95, 1),
        *extreme("vulnerability over the first model's, least for S ≥ 0.5", "above 3", ratio[sparse], 3, np.inf),
    )
    provenance = watch.provenance(command=command, seed=config.seed, device=device)
    return Adversarial(checks, provenance, config, models, per_dimension, vulnerability)


def _vulnerability(w: np.ndarray, b: np.ndarray, density: float, config: Config) -> float:
    """Compute the vulnerability of one model.

    It is E_x max over i and sign of the rise of the loss, over ε².
    """
    rng = np.random.default_rng(config.seed)
    shape = (config.inputs, len(w))
    x = rng.random(shape) * (rng.random(shape) < density)
    strength = STRENGTH * np.linalg.norm(x, axis=1).mean()
    gram = (w @ w.T).astype(np.float64)
    z = x @ gram + b
    clean, worst = _loss(x, z), np.full(len(x), -np.inf)
    for row in gram[np.linalg.norm(gram, axis=1) > 1e-6]:
        push = strength * (row / np.linalg.norm(row)) @ gram
        for sign in (1, -1):
            worst = np.maximum(worst, _loss(x, z + sign * push) - clean)
    return float(worst.mean() / strength**2)


def _loss(x: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Return Σ (ReLU(z) − x)² of every input."""
    return np.square(np.maximum(z, 0) - x).sum(1)
