"""Arrangements of five features in two dimensions, by sparsity.

As features get sparser, the model represents two, then four in two pairs, then all five as a pentagon.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from analyses.superposition.base import PAPER, Check, ToyStudy, trained
from interp import toy
from interp.progress import Progress
from interp.provenance import Stopwatch
from interp.results import Result

if TYPE_CHECKING:
    from interp.report import Section


@dataclass(frozen=True, eq=False)
class Config(Result):
    """Settings of the training.

    `density` are the probabilities that a feature is active. The best of `starts` models is reported at each.

    >>> Config(seed=1)
    Config(density=9 items, starts=8, steps=4000, seed=1)
    """

    density: tuple[float, ...] = (1.0, 0.7, 0.5, 0.3, 0.2, 0.1, 0.07, 0.05, 0.02)
    starts: int = 8
    steps: int = 4000
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Geometry(ToyStudy):
    """Best models of equal features, and a dense model of unequal importance.

    >>> run(Config(density=(1.0, 0.5, 0.05), starts=2, steps=50)).title
    'Five features in two dimensions'
    """

    title = "Five features in two dimensions"
    limitations = (
        "The best of several starts is shown: single starts get stuck, in two dimensions more than in many.",
        "Features are independent and uniform; other data give other arrangements (see the study of correlation).",
    )

    config: Config
    models: toy.Trained
    ranked: toy.Trained

    def finding(self) -> str:
        """Return the arrangements at sparsity 0.5 and 0.95."""
        best = self.models.best().features
        return (
            f"Equal features go from {int(toy.represented(best[self.row(0.5)]))} in two antipodal pairs at sparsity "
            f"0.5 to a pentagon of {int(toy.represented(best[self.row(0.05)]))} at 0.95 (best of {self.config.starts} "
            "starts by exact loss)."
        )

    def row(self, density: float) -> int:
        """Return the index of the density nearest to `density`."""
        return int(np.abs(self.models.density[:, 0] - density).argmin())

    def sections(self) -> tuple[Section, ...]:
        """Return one section: arrangements, and lengths against counts."""
        from analyses.superposition.directions import stars
        from interp.report import How, Section, figures

        best, density = self.models.best(), self.models.density[:, 0]
        panels = {f"1 − S = {p:g}": toy.canonical(w) for p, w in zip(density, best.features, strict=True)}
        arrangement = stars(
            "arrangement",
            panels,
            caption="Feature directions W_i in the hidden plane, feature 0 to the right, for each density 1 − S (S the "
            "sparsity). All panels have one scale.",
            alt="Sparser data have more features: four at right angles, then five at 72 degrees.",
        )
        lengths = figures.lines(
            "counts",
            1 / density,
            {
                "‖W‖²_F": toy.frobenius(best.features),
                "features with ‖W_i‖ > 1/2": toy.represented(best.features),
                "Σ dimensionality": toy.dimensionality(best.features).sum(1),
            },
            caption="The paper's count ‖W‖²_F and the number of features longer than 1/2, against 1/(1 − S). They "
            "differ where features are sparse: lengths exceed 1 to compensate for negative biases.",
            alt="Represented features rise from 2 to 5; the squared norm rises beyond.",
            axes=("1/(1 − S)", "features or dimensions"),
            log="x",
        )
        how = How(
            "Tied models trained by Adam on common random numbers; of all starts that of lowest exact loss is shown. "
            "The loss sums over all 2^5 activity patterns, each integrated over Sobol points.",
            "x' = ReLU(WᵀWx + b),  L = Σ_i I_i E[(x_i − x'_i)²],  D_i = ‖W_i‖² / Σ_j (Ŵ_i · W_j)²",
            PAPER,
        )
        claim = "Sparsity determines how many features share the plane; their angles are as large as possible."
        return (
            Section("arrangements", "Arrangements", claim, (arrangement,), how),
            Section(
                "lengths",
                "Lengths and counts",
                "The squared norm counts features only while none is longer than 1.",
                (lengths,),
            ),
        )


def run(
    config: Config, *, device: str = "cpu", command: str | None = None, progress: Progress | None = None
) -> Geometry:
    """Train both grids and check the arrangements.

    The checks: the square, the pentagon, the dense pair and the lengths.

    >>> result = run(Config(density=(1.0, 0.5, 0.05), starts=2, steps=50))  # small, in place of the defaults
    >>> result.checks[0].claim
    'dense: the shorter of the two most important features'
    """
    watch = Stopwatch()
    equal = toy.Config(5, 2, density=config.density, starts=config.starts, steps=config.steps, seed=config.seed)
    models = trained(equal, what="equal features", device=device, progress=progress)
    ranking = tuple(0.9**i for i in range(5))
    dense = replace(equal, density=(1.0,), importance=(ranking,), lr=1e-2)
    ranked = trained(dense, what="ranked features", device=device, progress=progress)
    checks = (*_dense(ranked), *_polygons(models), *_lengths(models), *_sums(models))
    return Geometry(checks, watch.provenance(command=command, seed=config.seed, device=device), config, models, ranked)


def _dense(ranked: toy.Trained) -> tuple[Check, ...]:
    w = ranked.best().features[0]
    norm = np.linalg.norm(w, axis=1)
    angle = float(np.degrees(np.arccos(abs(w[0] @ w[1]) / norm[0] / norm[1])))
    return (
        Check("dense: the shorter of the two most important features", "1", float(norm[:2].min()), 0.97, 1.03),
        Check("dense: their angle, degrees", "90", angle, 89, 90),
        Check("dense: longest of the others", "0", float(norm[2:].max()), 0, 0.05),
    )


def _polygons(models: toy.Trained) -> tuple[Check, ...]:
    best, checks = models.best().features, []
    for p, w in zip(models.density[:, 0], best, strict=True):
        name, count, gap, share = ("pairs", 4, 90, 1 / 2) if p > 0.25 else ("pentagon", 5, 72, 2 / 5)
        if p > 0.5:
            continue
        present = np.linalg.norm(w, axis=1) > 0.5
        off = np.abs(toy.gaps(w) - gap).max()
        apart = np.abs(toy.dimensionality(w)[present] - share).max()
        checks += [
            Check(f"1 − S = {p:g}: features represented", f"{count} ({name})", float(present.sum()), count, count),
            Check(f"1 − S = {p:g}: largest deviation of a gap, degrees", f"0 from {gap}", float(off), 0, 1.5),
            Check(f"1 − S = {p:g}: largest deviation of D", f"0 from {share:g}", float(apart), 0, 0.01),
        ]
    return tuple(checks)


def _lengths(models: toy.Trained) -> tuple[Check, ...]:
    """Check how features' lengths make up for negative biases.

    Sparse features are longer than 1.
    """
    best, checks = models.best(), []
    for p, w, b in zip(models.density[:, 0], best.features, best.bias, strict=True):
        if p <= 0.05:
            ratio = float(np.square(w).sum(1).mean() * (1 + b.mean()))
            lower = float(np.square(w).sum(1).mean() / (1 - b.mean()))
            checks += [
                Check(f"1 − S = {p:g}: ‖W_i‖² (1 + b)", "just below 1", ratio, 0.95, 1.0),
                Check(f"1 − S = {p:g}: ‖W_i‖² / (1 − b)", "1 or more", lower, 1.0, 1.1),
            ]
    return tuple(checks)


def _sums(models: toy.Trained) -> tuple[Check, ...]:
    total = toy.dimensionality(models.best().features).sum(1)
    low, high = float(total.min() / 2), float(total.max() / 2)
    return (
        Check("least Σ D_i / m over densities", "1: the plane is filled", low, 0.98, 1 + 1e-5),
        Check("largest Σ D_i / m", "at most 1 (theorem)", high, 0.98, 1 + 1e-5),
    )
