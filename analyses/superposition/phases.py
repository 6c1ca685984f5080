"""Phase diagrams: which features a model stores, drops or superposes.

Trained models are compared with closed-form theory.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, Int

from analyses.superposition.base import PAPER, Check, ToyStudy, trained
from interp import toy
from interp.progress import Progress
from interp.provenance import Stopwatch
from interp.results import Result
from interp.toy.theory import Arrangement, arrangement_loss, read_arrangement

if TYPE_CHECKING:
    from interp.report import Section

LABELS = ("last left out", "another left out", "last has a dimension and two others share", "last shares a dimension")


@dataclass(frozen=True, eq=False)
class Config(Result):
    """Settings of a `side` x `side` grid.

    Densities go from 1 to 0.01, the relative importance of the last feature from 0.1 to 10.

    >>> Config(seed=1)
    Config(side=12, starts=4, steps=2000, seed=1)
    """

    side: int = 12
    starts: int = 4
    steps: int = 2000
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Diagram(Result):
    """Phase diagram. Its grids are (density, importance)."""

    models: toy.Trained
    density: Float[np.ndarray, " side"]
    importance: Float[np.ndarray, " side"]
    trained_label: Int[np.ndarray, "side side"]
    theory_label: Int[np.ndarray, "side side"]
    agrees: Bool[np.ndarray, "side side"]
    """Whether the trained arrangement is one of the best in theory."""
    margin: Float[np.ndarray, "side side"]
    """Relative difference in loss between the theory's second best arrangement and its best."""
    ratio: Float[np.ndarray, "side side"]
    """Trained loss / theory."""


@dataclass(frozen=True, eq=False)
class Phases(ToyStudy):
    """Phase diagrams of two features in one dimension, three in two.

    >>> run(Config(side=3, starts=2, steps=50)).title
    'When superposition pays: phase diagrams'
    """

    title = "When superposition pays: phase diagrams"
    limitations = (
        "On the boundary several arrangements have the same loss, and trained models mix them. Their loss is some per "
        "cent below that of the theory, which has no intermediate lengths.",
        "At density 1 equally important features are exchangeable (principal components), so any mixture is best and "
        "the label is arbitrary.",
    )

    config: Config
    line: Diagram
    plane: Diagram

    def finding(self) -> str:
        """Return how often both diagrams agree with theory."""
        return (
            f"Training agrees with closed-form theory in {self.line.agrees.mean():.0%} of cells for two features in "
            f"one dimension and {self.plane.agrees.mean():.0%} for three in two."
        )

    def sections(self) -> tuple[Section, ...]:
        """Return a section for each diagram.

        It shows the trained arrangements, those of the theory, and the loss ratio.
        """
        from interp.report import How, Section

        how = How(
            "Best of several starts in every cell by exact loss. Label: left out if ‖W_i‖ ≤ 1/2; sharing if a cosine "
            "is under −1/2. Theory: the arrangement of single features and antipodal pairs with the lowest loss. The "
            "loss of either is continuous across the boundary while its slope in the density jumps: a first-order "
            "change.",
            "left out: I(p/3 − p²/4);  pair: (I_i + I_j)p²/6;  boundary p* = 4r/(2 + 5r), r = min(I, 1/I)",
            PAPER,
        )
        return tuple(
            Section(
                name,
                title,
                f"{d.agrees.mean():.0%} of {d.agrees.size} cells agree with theory.",
                _figures(name, d),
                how,
            )
            for name, title, d in (
                ("line", "Two features, one dimension", self.line),
                ("plane", "Three features, two dimensions", self.plane),
            )
        )


def _figures(name: str, d: Diagram) -> tuple:
    from interp.report import figures

    rows, columns = [f"{p:.3g}" for p in d.density], [f"{i:.3g}" for i in d.importance]
    axes = ("density 1 − S", "importance of the last feature", "arrangement")
    kinds = (("trained", d.trained_label), ("theory", d.theory_label))
    maps = [
        figures.heatmap(
            f"{name}-{kind}",
            label,
            rows=rows,
            columns=columns,
            axes=axes,
            signed=False,
            categories=LABELS,
            caption=f"Best arrangement, {kind}.",
            alt=f"Regions of the phase diagram, {kind}: superposition at low density and similar importance.",
        )
        for kind, label in kinds
    ]
    ratio = figures.heatmap(
        f"{name}-ratio",
        d.ratio - 1,
        rows=rows,
        columns=columns,
        axes=(*axes[:2], "trained / theory − 1"),
        caption="Trained loss over the theory's, minus 1. Below 0 the lengths or biases of the model are better than "
        "those of any arrangement of the theory; above 0 training did not reach the optimum.",
        alt="Ratios near zero, slightly negative near the boundary.",
    )
    return (*maps, ratio)


def run(config: Config, *, device: str = "cpu", command: str | None = None, progress: Progress | None = None) -> Phases:
    """Train both grids and compare every cell with the closed forms.

    >>> result = run(Config(side=3, starts=2, steps=50))  # small, in place of the defaults
    >>> result.checks[0].claim
    'two in one: cells that agree with theory'
    """
    watch = Stopwatch()
    line, plane = (_diagram(config, n, m, device, progress) for n, m in ((2, 1), (3, 2)))
    near = ((line.ratio >= 0.90) & (line.ratio <= 1.02)).mean()
    near_plane = ((plane.ratio >= 0.90) & (plane.ratio <= 1.02)).mean()
    wide = line.agrees[line.margin > 0.10].mean()
    half = float(toy.boundary(np.array(1.0)))
    checks = (
        Check("two in one: cells that agree with theory", "all but the boundary", float(line.agrees.mean()), 0.93, 1),
        Check("two in one: agreeing, of cells with a margin above 10 %", "all", float(wide), 0.98, 1),
        Check("two in one: cells with trained/theory in [0.90, 1.02]", "all", float(near), 0.90, 1),
        Check("two in one: median trained/theory", "1", float(np.median(line.ratio)), 0.97, 1.01),
        Check(
            "three in two: cells that agree with theory",
            "all but boundary and ties",
            float(plane.agrees.mean()),
            0.90,
            1,
        ),
        Check("three in two: cells with trained/theory in [0.90, 1.02]", "all", float(near_plane), 0.90, 1),
        Check("boundary at equal importance", "4/7", half, 4 / 7 - 1e-9, 4 / 7 + 1e-9),
        Check("jump of the loss's slope at the boundary", "2p/3 − (1/3 − p/2) = 1/3", _slope_jump(half), 0.33, 0.337),
    )
    return Phases(checks, watch.provenance(command=command, seed=config.seed, device=device), config, line, plane)


def _diagram(config: Config, features: int, hidden: int, device: str, progress: Progress | None) -> Diagram:
    density, importance = np.logspace(0, -2, config.side), np.logspace(-1, 1, config.side)
    cells = [(float(p), float(i)) for p in density for i in importance]
    models = trained(
        toy.Config(
            features,
            hidden,
            density=tuple(p for p, _ in cells),
            importance=tuple((1.0,) * (features - 1) + (i,) for _, i in cells),
            starts=config.starts,
            steps=config.steps,
            batch_size=256,
            lr=1e-2,
            seed=config.seed,
        ),
        what=f"{features} features in {hidden} dimensions",
        device=device,
        progress=progress,
    )
    best, grid = models.best(), (config.side, config.side)
    arranged = [read_arrangement(w) for w in best.features]
    theory = [toy.theory_loss(p, i, hidden) for p, i in zip(models.density, models.importance, strict=True)]
    losses = [
        sorted({round(arrangement_loss(a, p, i), 12) for a in toy.candidates(features, hidden)})
        for p, i in zip(models.density, models.importance, strict=True)
    ]
    return Diagram(
        models=models,
        density=density,
        importance=importance,
        trained_label=np.array([_label(a, features) for a in arranged]).reshape(grid),
        theory_label=np.array([_label(arrangements[0], features) for _, arrangements in theory]).reshape(grid),
        agrees=np.array([a in known for a, (_, known) in zip(arranged, theory, strict=True)]).reshape(grid),
        margin=np.array([ordered[1] / ordered[0] - 1 for ordered in losses]).reshape(grid),
        ratio=np.array([loss / low for loss, (low, _) in zip(best.loss, theory, strict=True)]).reshape(grid),
    )


def _label(arrangement: Arrangement, features: int) -> int:
    """Return the index of an arrangement in `LABELS`."""
    pairs, dropped = arrangement
    last = features - 1
    if last in dropped:
        return 0
    if dropped:
        return 1
    return 3 if any(last in pair for pair in pairs) else 2


def _slope_jump(p: float, step: float = 1e-6) -> float:
    """Return the jump of the theory's dL/dp at the boundary.

    It is the slope just below minus the slope just above, at equal importance.
    """
    one = np.ones(2)
    loss = [toy.theory_loss(one * at, one, 1)[0] for at in (p - 2 * step, p - step, p + step, p + 2 * step)]
    return ((loss[1] - loss[0]) - (loss[3] - loss[2])) / step
