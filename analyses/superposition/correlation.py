"""Which features share a dimension when they are correlated or anticorrelated.

Correlated features are at right angles or side by side. Features that are never active at once are opposite.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from analyses.superposition.base import PAPER, Check, ToyStudy, trained
from interp import toy
from interp.progress import Progress
from interp.provenance import Stopwatch
from interp.results import Result
from interp.toy.geometry import cosines

if TYPE_CHECKING:
    from interp.report import Section


@dataclass(frozen=True, eq=False)
class Config(Result):
    """Settings of the training.

    `density` is that of a pair. The best of `starts` is reported (few starts find the antipodal arrangement).

    >>> Config(seed=1)
    Config(density=0.1, density_of_three=0.03, starts=10, steps=6000, seed=1)
    """

    density: float = 0.1
    density_of_three: float = 0.03
    starts: int = 10
    steps: int = 6000
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Correlation(ToyStudy):
    """Models of correlated and anticorrelated pairs in two dimensions.

    There are two correlated pairs, two anticorrelated pairs and three correlated pairs.

    >>> run(Config(starts=4, steps=50)).title
    'Correlated and anticorrelated features'
    """

    title = "Correlated and anticorrelated features"
    limitations = (
        "The density is that of the pair, as in the paper; other toolkits take the feature's, half of it when "
        "anticorrelated.",
    )

    config: Config
    correlated: toy.Trained
    anticorrelated: toy.Trained
    three: toy.Trained

    def finding(self) -> str:
        """Return the cosines within pairs in the three settings."""
        inside = [_within(models) for models in (self.correlated, self.anticorrelated, self.three)]
        return (
            f"In the best of {self.config.starts} starts, two features that are always active at the same time have a "
            f"cosine of {inside[0].max():.2f}, two that never are {inside[1].max():.2f}, and three correlated pairs in "
            f"two dimensions lie side by side at {inside[2].mean():.2f}."
        )

    def sections(self) -> tuple[Section, ...]:
        """Return a section for each setting, with its best starts."""
        from analyses.superposition.directions import stars
        from interp.report import How, Section, Table

        how = How(
            "Correlated pairs are active together, each with its own value; of an anticorrelated pair exactly one is "
            "active, with the pair's probability. Tied ReLU models, best start by exact loss.",
            reference=PAPER,
        )
        sections = []
        orthogonal = "Features of a pair are orthogonal; features of different pairs are opposite."
        opposite = "The two features of a pair are opposite and cause no loss."
        hexagon = "The two features of a pair lie side by side on a hexagon."
        for name, title, claim, models in (
            ("correlated", "Two correlated pairs", orthogonal, self.correlated),
            ("anticorrelated", "Two anticorrelated pairs", opposite, self.anticorrelated),
            ("three", "Three correlated pairs", hexagon, self.three),
        ):
            order = np.argsort(models.loss[0])[:4]
            panels = {f"loss {models.loss[0, k]:.2e}": toy.canonical(models.features_in[0, k]) for k in order}
            count = models.features_in.shape[2]
            figure = stars(
                f"{name}-stars",
                dict(zip([f"{i + 1}. {t}" for i, t in enumerate(panels)], panels.values(), strict=True)),
                groups=[f"pair {i // 2 + 1}" for i in range(count)],
                caption="Feature directions of the four best starts, by exact loss; colour and marker are the pair.",
                alt=f"{title}: {claim}",
            )
            rows = tuple(
                (int(k), float(models.loss[0, k]), *map(float, _within(models, k))) for k in range(len(models.loss[0]))
            )
            columns = ("start", "exact loss", *(f"cosine within pair {i + 1}" for i in range(count // 2)))
            every = Table(columns, rows, caption="Every start.", formats={"exact loss": ".3e"})
            sections.append(Section(name, title, claim, (figure, every), how))
        return tuple(sections)


def run(
    config: Config, *, device: str = "cpu", command: str | None = None, progress: Progress | None = None
) -> Correlation:
    """Train the three settings and check the cosines of the best starts.

    >>> result = run(Config(starts=4, steps=50))  # small, in place of the defaults
    >>> result.checks[0].claim
    'correlated: largest |cosine| within a pair'
    """
    watch = Stopwatch()
    pairs = toy.Config(
        4, 2, density=(config.density,), data="correlated", starts=config.starts, steps=config.steps, seed=config.seed
    )
    correlated = trained(pairs, what="correlated", device=device, progress=progress)
    exclusive = replace(pairs, data="anticorrelated")
    anticorrelated = trained(exclusive, what="anticorrelated", device=device, progress=progress)
    six = replace(pairs, features=6, density=(config.density_of_three,))
    three = trained(six, what="three pairs", device=device, progress=progress)
    inside, opposite = _within(three), np.sort(_across(three))[:3]
    checks = (
        Check("correlated: largest |cosine| within a pair", "0", float(np.abs(_within(correlated)).max()), 0, 0.05),
        Check(
            "correlated: two cosines across pairs", "−1", float(np.sort(_across(correlated))[:2].max()), -1.0001, -0.95
        ),
        Check(
            "anticorrelated: largest cosine within a pair", "−1", float(_within(anticorrelated).max()), -1.0001, -0.99
        ),
        Check("anticorrelated: best exact loss", "0: never active at once", float(anticorrelated.loss.min()), 0, 1e-5),
        Check("three correlated pairs: least cosine within", "side by side", float(inside.min()), 0.35, 0.55),
        Check("three correlated pairs: largest cosine within", "side by side", float(inside.max()), 0.35, 0.55),
        Check("three correlated pairs: opposites", "−1", float(opposite.max()), -1.0001, -0.95),
    )
    provenance = watch.provenance(command=command, seed=config.seed, device=device)
    return Correlation(checks, provenance, config, correlated, anticorrelated, three)


def _within(models: toy.Trained, start: int | None = None) -> Float[np.ndarray, " pairs"]:
    """Return the cosines within pairs.

    They are those of the best start of the first cell, or of the start that is given.
    """
    start = int(models.best().start[0]) if start is None else start
    c = cosines(models.features_in[0, start])
    even = np.arange(0, len(c), 2)
    return c[even, even + 1]


def _across(models: toy.Trained) -> Float[np.ndarray, " pairs"]:
    """Return the cosines between features of different pairs, in the best start."""
    c = cosines(models.best().features[0])
    i, j = np.triu_indices(len(c), 1)
    return c[i, j][i // 2 != j // 2]
