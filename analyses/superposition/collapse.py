"""Collapse of three correlated pairs in two dimensions.

As data grow denser, each pair collapses to its principal component.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Int

from analyses.superposition.base import PAPER, Check, ToyStudy, trained
from interp import toy
from interp.progress import Progress
from interp.provenance import Stopwatch
from interp.results import Result
from interp.toy.geometry import cosines

if TYPE_CHECKING:
    from interp.report import Section

COLLAPSED = 0.95
"""A pair counts as collapsed when the cosine of its two features is above this."""


@dataclass(frozen=True, eq=False)
class Config(Result):
    """Settings of the training. `density` is that of a pair.

    >>> Config(seed=1)
    Config(density=9 items, starts=10, steps=5000, seed=1)
    """

    density: tuple[float, ...] = (0.02, 0.03, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6)
    starts: int = 10
    steps: int = 5000
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Collapse(ToyStudy):
    """The best model at each density.

    >>> run(Config(density=(0.03, 0.6), starts=2, steps=50)).title
    'From superposition to principal components'
    """

    title = "From superposition to principal components"
    limitations = (
        "A collapsed pair represents the sum of its features and not their difference: both have length 1/√2.",
    )

    config: Config
    models: toy.Trained

    def collapsed(self) -> Int[np.ndarray, " densities"]:
        """Return how many of the three pairs have collapsed at each density."""
        c = cosines(self.models.best().features)
        return (c[:, [0, 2, 4], [1, 3, 5]] > COLLAPSED).sum(1)

    def finding(self) -> str:
        """Return the densities between which pairs collapse."""
        count, p = self.collapsed(), np.array(self.config.density)
        if not ((count == 0).any() and (count == 3).any()):
            return f"Collapsed pairs: {', '.join(f'{c} at {q:g}' for c, q in zip(count, p, strict=True))} density."
        return (
            f"No pair is collapsed at a density of {p[count == 0].max():g}, and all three are from "
            f"{p[count == 3].min():g} on. Between these densities the model changes from superposition to principal "
            "components pair by pair."
        )

    def sections(self) -> tuple[Section, ...]:
        """Return one section: counts of collapsed pairs, and arrangements."""
        from analyses.superposition.directions import stars
        from interp.report import How, Section, figures

        density = np.array(self.config.density)
        counts = figures.lines(
            "counts",
            density,
            {"collapsed pairs": self.collapsed()},
            caption="Pairs whose two features have a cosine above 0.95, of three, in the best start by exact loss.",
            alt="The number of collapsed pairs climbs from none to three.",
            axes=("density of a pair", "collapsed pairs"),
            log="x",
        )
        panels = zip(density, self.models.best().features, strict=True)
        arrangement = stars(
            "arrangement",
            {f"density {p:g}": toy.canonical(w) for p, w in panels},
            groups=[f"pair {i // 2 + 1}" for i in range(6)],
            caption="Best arrangement at each density; colour and marker are the pair.",
            alt="A hexagon of six directions becomes three directions, each of them with the two features of a pair.",
        )
        how = How(f"Best of {self.config.starts} starts by exact loss at each density.", reference=PAPER)
        return (Section("collapse", "Collapse", "Pairs collapse one by one.", (counts, arrangement), how),)


def run(
    config: Config, *, device: str = "cpu", command: str | None = None, progress: Progress | None = None
) -> Collapse:
    """Train at every density and check that collapse grows with it.

    No pair is collapsed at the lowest density, and all are at the highest.

    >>> result = run(Config(density=(0.03, 0.6), starts=2, steps=50))  # small, in place of the defaults
    >>> result.checks[0].claim
    'collapsed pairs at density 0.03'
    """
    watch = Stopwatch()
    grid = toy.Config(
        6, 2, density=config.density, data="correlated", starts=config.starts, steps=config.steps, seed=config.seed
    )
    models = trained(grid, what="three correlated pairs", device=device, progress=progress)
    result = Collapse((), watch.provenance(command=command, seed=config.seed, device=device), config, models)
    count, order = result.collapsed(), np.argsort(config.density)
    sparse, dense = int(count[order[0]]), int(count[order[-1]])
    falls = int((np.diff(count[order]) < 0).sum())
    checks = (
        Check(f"collapsed pairs at density {min(config.density):g}", "0", sparse, 0, 0),
        Check(f"collapsed pairs at density {max(config.density):g}", "3", dense, 3, 3),
        Check("number of times the count decreases as the density increases", "0", falls, 0, 0),
    )
    return Collapse(checks, result.provenance, config, models)
