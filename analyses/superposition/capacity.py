"""Bounds on capacity: a theorem on dimensionality, polytopes, and packings of directions.

The theorem is checked on polytopes and on random matrices. Packings show how many nearly orthogonal directions fit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from analyses.superposition.base import PAPER, Check, ToyStudy
from interp import toy
from interp.progress import Progress
from interp.provenance import Stopwatch
from interp.results import Result

if TYPE_CHECKING:
    from interp.report import Section


@dataclass(frozen=True, eq=False)
class Config(Result):
    """Settings of the random matrices and of the packings.

    There are `matrices` random W of several sizes, and dictionaries of `ratios` times as many directions as `width`
    dimensions.

    >>> Config(seed=1)
    Config(matrices=2000, width=32, ratios=4 items, seed=1)
    """

    matrices: int = 2000
    width: int = 32
    ratios: tuple[int, ...] = (2, 4, 8, 16)
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Capacity(ToyStudy):
    """Results on polytopes, random matrices and packings.

    >>> run(Config(matrices=60, width=8, ratios=(2, 4))).title
    'Capacity: a theorem, polytopes and packings'
    """

    title = "Capacity: a theorem, polytopes and packings"

    config: Config
    polytopes: dict[str, tuple[float, float]]
    """Name -> (exact dimensionality, computed)."""
    rank: Float[np.ndarray, " matrices"]
    total: Float[np.ndarray, " matrices"]
    """Σ D_i of each random matrix."""
    coherence: Float[np.ndarray, " ratios"]
    packed: Float[np.ndarray, " ratios"]
    welch: Float[np.ndarray, " ratios"]

    def finding(self) -> str:
        """Return how near the sums of dimensionalities come to the rank."""
        return (
            f"Over {len(self.rank)} random matrices the dimensionalities sum to at most "
            f"{(self.total / self.rank).max():.4f} of the rank, and known polytopes have their exact values."
        )

    def sections(self) -> tuple[Section, ...]:
        """Return the sections on polytopes, on the theorem and on packings."""
        from interp.report import How, Section, Table, figures

        rows = tuple((name, exact, value, abs(value - exact)) for name, (exact, value) in self.polytopes.items())
        table = Table(("polytope", "exact D", "computed", "difference"), rows, formats={"difference": ".1e"})
        spread = figures.scatter(
            "sums",
            self.rank + np.linspace(-0.3, 0.3, len(self.rank)),
            self.total / self.rank,
            caption=f"Σ D_i over the rank of W, {len(self.rank)} random matrices; points are spread sideways within "
            f"a rank.",
            alt="No point lies above one.",
            axes=("rank W", "Σ D_i / rank W"),
        )
        ratio = np.array(self.config.ratios)
        packing = figures.lines(
            "packing",
            ratio * self.config.width,
            {
                "random directions": self.coherence,
                "spread by alternating projection": self.packed,
                "Welch's lower bound": self.welch,
                "sqrt(2 ln n² / d)": np.sqrt(2 * np.log((ratio * self.config.width) ** 2) / self.config.width),
            },
            caption=f"Largest |cosine| between any two of n directions in {self.config.width} dimensions.",
            alt="Coherence grows slowly with the number of directions and stays above Welch's bound.",
            axes=("directions n", "coherence"),
            log="x",
        )
        proof = How(
            "With M = W Wᵀ and P the projector onto its range, Cauchy-Schwarz in the metric of M gives M_ii² ≤ "
            "(M²)_ii P_ii. Equality for tight frames.",
            "D_i = M_ii² / (M²)_ii ≤ P_ii,   Σ D_i ≤ tr P = rank W",
            PAPER,
        )
        return (
            Section("polytopes", "Polytopes", "D is rank over vertices for a tight frame.", (table,), proof),
            Section("theorem", "Σ D never exceeds the rank", self.finding(), (spread,)),
            Section(
                "packings", "Nearly orthogonal directions", "Many more directions than dimensions fit.", (packing,)
            ),
        )


def run(
    config: Config, *, device: str = "cpu", command: str | None = None, progress: Progress | None = None
) -> Capacity:
    """Compute all three parts and check them against exact values and bounds.

    >>> result = run(Config(matrices=60, width=8, ratios=(2, 4)))  # small, in place of the defaults
    >>> result.checks[0].claim
    'polytopes: largest error of D'
    """
    del progress
    watch = Stopwatch()
    known = {name: (exact, float(toy.dimensionality(w)[0])) for name, (exact, w) in polytopes().items()}
    rank, total = _random_sums(config)
    random, packed, welch = _packings(config, device)
    worst = max(abs(value - exact) for exact, value in known.values())
    factors = [(f.name, f.features) for f in toy.tegum_factors(_bipyramid(config.seed))]
    right = factors == [("triangle", (0, 1, 2)), ("digon", (3, 4))]
    checks = (
        Check("polytopes: largest error of D", "exact", worst, 0, 1e-6),
        Check("random matrices: largest Σ D − rank", "at most 0 (theorem)", float((total - rank).max()), -np.inf, 1e-5),
        Check("rotated triangular bipyramid: split into a triangle and a digon", "yes", float(right), 1, 1),
        Check("least coherence over Welch's bound", "1 or more", float((packed / welch).min()), 1, 2),
        Check("random directions over spread ones, least", "above 1", float((random / packed).min()), 1, np.inf),
    )
    provenance = watch.provenance(command=command, seed=config.seed, device=device)
    return Capacity(checks, provenance, config, known, rank, total, random, packed, welch)


def polytopes() -> dict[str, tuple[float, Float[np.ndarray, "vertices dimensions"]]]:
    """Return name -> (exact dimensionality, vertices on the unit sphere).

    >>> {name: vertices.shape for name, (_, vertices) in list(polytopes().items())[:2]}
    {'digon': (2, 1), 'triangle': (3, 2)}
    """

    def polygon(n: int) -> np.ndarray:
        angle = 2 * math.pi * np.arange(n) / n
        return np.stack([np.cos(angle), np.sin(angle)], 1)

    turn, side = math.pi / 4 * np.arange(8), np.where(np.arange(8) % 2, 1, -1) / math.sqrt(2)
    antiprism = np.stack([np.cos(turn), np.sin(turn), side], 1)
    return {
        "digon": (1 / 2, np.array([[1.0], [-1.0]])),
        "triangle": (2 / 3, polygon(3)),
        "tetrahedron": (3 / 4, np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / math.sqrt(3)),
        "pentagon": (2 / 5, polygon(5)),
        "octahedron": (1 / 2, np.concatenate([np.eye(3), -np.eye(3)])),
        "square antiprism, tight height": (3 / 8, antiprism / np.linalg.norm(antiprism, axis=1, keepdims=True)),
    }


def _bipyramid(seed: int) -> np.ndarray:
    """Return a triangle and a digon in orthogonal spaces, rotated at random."""
    triangle = np.pad(polytopes()["triangle"][1], ((0, 0), (0, 1)))
    turn = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
    return np.concatenate([triangle, [[0, 0, 1], [0, 0, -1]]]) @ turn


def _random_sums(config: Config) -> tuple[np.ndarray, np.ndarray]:
    rng, rank, total = np.random.default_rng(config.seed), [], []
    for index in range(config.matrices):
        r = 1 + index % 6
        features = int(rng.integers(r, 4 * r + 1))
        w = rng.normal(size=(features, r)) * np.exp(rng.normal(size=(features, 1)))
        rank.append(r)
        total.append(toy.dimensionality(w).sum())
    return np.array(rank, float), np.array(total)


def _packings(config: Config, device: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the coherence of random and of spread directions, and Welch's bound."""
    import torch

    from interp import coding

    generator = torch.Generator(device).manual_seed(config.seed)
    random, packed, welch = [], [], []
    for ratio in config.ratios:
        n = ratio * config.width
        random.append(coding.coherence(coding.random_dictionary(n, config.width, generator=generator)))
        spread = coding.packed_dictionary(n, config.width, generator=generator, steps=30)
        packed.append(coding.coherence(spread))
        welch.append(coding.welch_bound(n, config.width))
    return np.array(random), np.array(packed), np.array(welch)
