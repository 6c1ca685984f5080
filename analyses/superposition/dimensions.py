"""Dimensions per feature, by sparsity.

A feature takes one dimension when data are dense, one half over a range of sparsity, and less beyond.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from analyses.superposition.base import PAPER, Check, ToyStudy, extreme, trained
from interp import toy
from interp.progress import Progress
from interp.provenance import Stopwatch
from interp.results import Result

if TYPE_CHECKING:
    from interp.report import Section

LEVELS = {"3/4": 3 / 4, "2/3": 2 / 3, "1/2": 1 / 2, "2/5": 2 / 5, "3/8": 3 / 8}
"""Tetrahedron, triangle, digon, pentagon, square antiprism."""
PLATEAU = (0.6, 0.72)


@dataclass(frozen=True, eq=False)
class Config(Result):
    """Settings of the training.

    The paper has 400 features in 30 dimensions (`FULL`). The default, 40 in 6, shows the same in seconds.

    >>> Config(seed=1)
    Config(features=40, hidden=6, sparsity=12 items, starts=2, steps=4000, batch_size=512, lr=0.003, seed=1)
    """

    features: int = 40
    hidden: int = 6
    sparsity: tuple[float, ...] = (0.0, 0.2, 0.4, 0.5, 0.6, 0.66, 0.7, 0.75, 0.8, 0.9, 0.95, 0.97)
    starts: int = 2
    steps: int = 4000
    batch_size: int = 512
    lr: float = 3e-3
    seed: int = 0


FULL = Config(
    features=400,
    hidden=30,
    sparsity=(0.0, 0.3, 0.5, 0.6, 0.66, 0.7, 0.8, 0.9, 0.97),
    starts=1,
    steps=4000,
    batch_size=256,
    lr=5e-3,
)


@dataclass(frozen=True, eq=False)
class Dimensions(ToyStudy):
    """Models of equal features, one for each sparsity.

    >>> run(Config(features=12, hidden=3, sparsity=(0.0, 0.66, 0.9), steps=50, batch_size=64)).title
    'Dimensions per feature'
    """

    title = "Dimensions per feature"
    limitations = (
        "Dense models of equal features may be any rotation of principal components: no feature need be 'represented'.",
        "Levels other than 1/2 appear only over narrow ranges of sparsity and depend on the start.",
    )

    config: Config
    models: toy.Trained

    def per_feature(self) -> np.ndarray:
        """Return hidden dimensions / ‖W‖²_F at each sparsity."""
        return self.config.hidden / toy.frobenius(self.models.best().features)

    def at_half(self) -> np.ndarray:
        """Return the fraction of represented features near D = 1/2.

        "Near" is within 0.02. There is one fraction for each sparsity, 0 where no feature is represented.
        """
        w = self.models.best().features
        present = np.linalg.norm(w, axis=2) > 0.5
        near = np.abs(toy.dimensionality(w) - 0.5) < 0.02
        return (present & near).sum(1) / np.maximum(present.sum(1), 1)

    def finding(self) -> str:
        """Return the dimensions per feature on the plateau at one half."""
        on = _plateau(self.config)
        if not on.any():
            return (
                f"{self.config.features} features in {self.config.hidden} dimensions take "
                f"{self.per_feature().max():.2f} to {self.per_feature().min():.2f} dimensions each, from the densest "
                "data to the sparsest."
            )
        low, high = self.per_feature()[on].min(), self.per_feature()[on].max()
        return (
            f"{self.config.features} features in {self.config.hidden} dimensions: at sparsities 0.6 to 0.72 each takes "
            f"{low:.2f} to {high:.2f} dimensions, and of the represented ones at least {self.at_half()[on].min():.0%} "
            "have one half."
        )

    def sections(self) -> tuple[Section, ...]:
        """Return the sections on the curve and on every feature's dimensionality."""
        from interp.report import How, Section, Table, figures

        sparsity, w = np.array(self.config.sparsity), self.models.best().features
        curve = figures.lines(
            "curve",
            1 / (1 - sparsity),
            {"m / ‖W‖²_F": self.per_feature()},
            caption="Hidden dimensions over ‖W‖²_F against 1/(1 − S).",
            alt="The curve falls from 1, is flat at one half, and falls again.",
            axes=("1/(1 − S)", "dimensions per feature"),
            log="x",
        )
        cell, feature = np.nonzero(np.linalg.norm(w, axis=2) > 0.5)
        if len(cell) == 0:
            cell, feature = np.nonzero(np.ones(w.shape[:2]))
        levels = figures.scatter(
            "levels",
            1 / (1 - sparsity[cell]),
            toy.dimensionality(w)[cell, feature],
            labels=[f"S = {sparsity[c]:g}, feature {i}" for c, i in zip(cell, feature, strict=True)],
            caption="Dimensionality of every represented feature. Digons have 1/2, triangles 2/3, tetrahedra 3/4, "
            "pentagons 2/5, square antiprisms 3/8.",
            alt="Points lie on horizontal levels, most of them at one half.",
            axes=("1/(1 − S)", "D_i"),
            log="x",
        )
        rows = tuple(_row(s, x, self.config.hidden) for s, x in zip(sparsity, w, strict=True))
        columns = ("sparsity", "represented", "Σ D / m", *(f"at {name}" for name in LEVELS), "tegum factors")
        how = How("Weights of lowest loss over starts; the loss is the mean over 8192 inputs.", _FORMULA, PAPER)
        return (
            Section("curve-section", "Dimensions per feature", self.finding(), (curve,), how),
            Section(
                "levels-section",
                "Levels of dimensionality",
                "Most features have one of a few dimensionalities.",
                (levels, Table(columns, rows)),
            ),
        )


_FORMULA = "D_i = ‖W_i‖² / Σ_j (Ŵ_i · W_j)²;  mean dimensions per feature = m / ‖W‖²_F"


def sweep(config: Config, *, device: str = "cpu", progress: Progress | None = None) -> toy.Trained:
    """Train models of equal, independent features at every sparsity."""
    density = tuple(1 - s for s in config.sparsity)
    grid = toy.Config(
        config.features,
        config.hidden,
        density=density,
        starts=config.starts,
        steps=config.steps,
        batch_size=config.batch_size,
        lr=config.lr,
        seed=config.seed,
    )
    return trained(grid, what=f"{config.features} features", device=device, progress=progress)


def run(
    config: Config, *, device: str = "cpu", command: str | None = None, progress: Progress | None = None
) -> Dimensions:
    """Train the sweep and check it.

    The checks: both ends of the curve, the plateau and the sum of dimensionalities.

    >>> result = run(Config(features=12, hidden=3, sparsity=(0.0, 0.66, 0.9), steps=50, batch_size=64))
    >>> result.checks[0].claim
    'dense: dimensions per feature'
    """
    watch = Stopwatch()
    models = sweep(config, device=device, progress=progress)
    result = Dimensions((), watch.provenance(command=command, seed=config.seed, device=device), config, models)
    curve, half, on = result.per_feature(), result.at_half(), _plateau(config)
    total = toy.dimensionality(models.best().features).sum(1) / config.hidden
    sparse = np.array(config.sparsity) >= 0.9
    inside = f"S = {', '.join(f'{s:g}' for s in np.array(config.sparsity)[on])}"
    core = half[(np.array(config.sparsity) > 0.65) & (np.array(config.sparsity) < 0.71)]
    upper = 0.62 if config.features > 100 else 0.56
    checks = (
        *extreme("dense: dimensions per feature", "1", curve[np.array(config.sparsity) == 0], 0.97, 1.03),
        *extreme(f"{inside}: least dimensions per feature", "1/2", curve[on], 0.44, upper),
        *extreme(f"{inside}: largest", "1/2", curve[on], 0.44, upper, largest=True),
        *extreme("S = 0.66 and 0.7: least share of represented D at 1/2", "all", core, 0.90, 1),
        *extreme("S ≥ 0.9: largest dimensions per feature", "far below 1/2", curve[sparse], 0, 0.25, largest=True),
        Check("least Σ D / m", "1 when packed", float(total.min()), 0.98, 1 + 1e-5),
        Check("largest Σ D / m", "at most 1 (theorem)", float(total.max()), 0.98, 1 + 1e-5),
    )
    return Dimensions(checks, result.provenance, config, models)


def _plateau(config: Config) -> np.ndarray:
    s = np.array(config.sparsity)
    return (s >= PLATEAU[0]) & (s <= PLATEAU[1])


def _row(sparsity: float, w: np.ndarray, hidden: int) -> tuple:
    present = np.linalg.norm(w, axis=1) > 0.5
    d = toy.dimensionality(w)
    near = [int((np.abs(d[present] - level) < 0.02).sum()) for level in LEVELS.values()]
    names = [factor.name for factor in toy.tegum_factors(w)]
    counted = ", ".join(f"{names.count(name)} × {name}" for name in dict.fromkeys(names))
    return (float(sparsity), int(present.sum()), float(d.sum() / hidden), *near, counted)
