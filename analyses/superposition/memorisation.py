"""Memorisation and double descent.

A model of few data points stores the points, a model of many stores the features.

Henighan et al. 2023, Superposition, Memorization, and Double Descent (Transformer Circuits thread).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

from analyses.superposition.base import Check, ToyStudy, extreme
from interp import toy
from interp.progress import Progress
from interp.provenance import Stopwatch
from interp.results import Result

if TYPE_CHECKING:
    from torch import Tensor

    from interp.report import Section

REFERENCE = "Henighan et al. 2023, Superposition, Memorization, and Double Descent"


@dataclass(frozen=True, eq=False)
class Config(Result):
    """Settings of the training.

    `points`: sizes of the training set. Inputs have unit length and the hidden space is a plane.

    >>> Config(seed=1)
    Config(features=500, points=9 items, density=0.01, starts=2, steps=2500, seed=1)
    """

    features: int = 500
    points: tuple[int, ...] = (3, 5, 8, 15, 30, 100, 300, 1000, 3000)
    density: float = 0.01
    starts: int = 2
    steps: int = 2500
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Memorisation(ToyStudy):
    """Losses and dimensionalities at each size of the training set.

    They are those of the start of lowest training loss.

    >>> run(Config(features=20, points=(3, 5, 30), steps=50)).title
    'Memorisation and double descent'
    """

    title = "Memorisation and double descent"
    limitations = (
        "One training set per size: the height of the peak varies from set to set.",
        "The model is chosen by its training loss alone.",
    )

    config: Config
    train_loss: Float[np.ndarray, " sizes"]
    test_loss: Float[np.ndarray, " sizes"]
    data_dimensions: Float[np.ndarray, " sizes"]
    """Σ over the training points of the dimensionality of their hidden vectors; it is 2 if they fill the plane."""
    feature_dimensions: Float[np.ndarray, " sizes"]
    hidden: dict[str, Float[np.ndarray, "points 2"]]
    """Hidden vectors of the training points, for the sizes up to 15."""

    def peak(self) -> int:
        """Return the index of the largest test loss."""
        return int(self.test_loss.argmax())

    def finding(self) -> str:
        """Return where the test loss peaks, and how high."""
        return (
            f"The test loss peaks at {self.config.points[self.peak()]} training points, "
            f"{self.test_loss.max() / max(self.test_loss[0], self.test_loss[-1]):.1f} times either end; up to 5 "
            "points are stored as vertices of a polygon."
        )

    def sections(self) -> tuple[Section, ...]:
        """Return the sections on losses, on dimensionalities and on stored points."""
        from interp.report import How, Section, figures

        losses = figures.lines(
            "losses",
            self.config.points,
            {"test": self.test_loss, "training": self.train_loss},
            caption="Mean Σ (x − x')² over inputs of unit length, against the number of training points T.",
            alt="The test loss rises to a peak at intermediate sizes and falls again.",
            axes=("training points T", "loss"),
            log="x",
        )
        shares = figures.lines(
            "shares",
            self.config.points,
            {"points": self.data_dimensions, "features": self.feature_dimensions},
            caption="Sum of dimensionalities of the training points' hidden vectors, and of the features' directions; "
            "their sum is at most 2.",
            alt="Few points: the points fill the plane. Many points: the features do.",
            axes=("training points T", "Σ D"),
            log="x",
        )
        how = How(
            "Full-batch Adam with decoupled weight decay 0.01 on T fixed points; the start of lowest training loss.",
            "x' = ReLU(WᵀWx + b);  D of hidden vectors h_t = W x_t as of features",
            REFERENCE,
        )
        descent = Section("descent", "Double descent", self.finding(), (losses, shares), how)
        return (descent, *self._stored())

    def _stored(self) -> tuple[Section, ...]:
        """Return a section with the hidden vectors of few points, if any."""
        from analyses.superposition.directions import stars
        from interp.report import Section

        if not self.hidden:
            return ()
        count = max(len(w) for w in self.hidden.values())
        panels = {f"T = {t}": _scaled(np.pad(w, ((0, count - len(w)), (0, 0)))) for t, w in self.hidden.items()}
        stored = stars(
            "stored",
            panels,
            groups=["training points"] * count,
            caption="Hidden vectors of the training points, scaled to a longest of 1 in each panel.",
            alt="Three and five points are the corners of regular polygons.",
        )
        return (
            Section(
                "points",
                "Points as polygons",
                "With few training points the model stores each point in a direction of its own.",
                (stored,),
            ),
        )


def run(
    config: Config, *, device: str = "cpu", command: str | None = None, progress: Progress | None = None
) -> Memorisation:
    """Train at every size and check the polygons and the peak.

    >>> result = run(Config(features=20, points=(3, 5, 30), steps=50))  # small, in place of the defaults
    >>> result.checks[0].claim
    'up to 5 points: least Σ D of the points'
    """
    watch = Stopwatch()
    rows, hidden = [], {}
    for index, count in enumerate(config.points):
        *numbers, h = _size(config, count, device)
        rows.append(numbers)
        if count <= 15:
            hidden[str(count)] = h
        if progress:
            progress(index + 1, len(config.points), f"{count} points")
    train, test, data, features = np.array(rows).T
    few = np.array(config.points) <= 5
    polygons = [h for h in hidden.values() if len(h) <= 5]
    regular = np.array([np.abs(toy.dimensionality(h) - 2 / len(h)).max() for h in polygons])
    ends = max(test[0], test[-1])
    inner = test.argmax() not in (0, len(test) - 1)
    checks = (
        *extreme("up to 5 points: least Σ D of the points", "2: they fill the plane", data[few], 1.95, 2 + 1e-5),
        *extreme("up to 5 points: largest deviation of D from 2/T", "0: a polygon", regular, 0, 0.1, largest=True),
        *extreme("up to 5 points: largest training loss", "0", train[few], 0, 0.02, largest=True),
        Check("largest test loss, relative to the larger of both ends", "a peak", float(test.max() / ends), 3, np.inf),
        Check("the peak lies between the ends", "yes", float(inner), 1, 1),
    )
    provenance = watch.provenance(command=command, seed=config.seed, device=device)
    return Memorisation(checks, provenance, config, train, test, data, features, hidden)


def _size(config: Config, count: int, device: str) -> tuple[float, float, float, float, np.ndarray]:
    """Train on one set of points and measure the best start.

    Returns the training and test loss, Σ D of points and of features, and the hidden vectors.
    """
    import torch

    from interp.toy.models import ARCHITECTURES, forward, initialise, layout
    from interp.toy.trainer import optimise

    architecture, n = ARCHITECTURES["relu"], config.features
    generator = torch.Generator(device).manual_seed((config.seed << 20) + count)
    x = _points(config, count, generator).expand(config.starts, -1, -1).contiguous()
    flat = initialise(architecture, n, 2, starts=range(config.starts), seed=config.seed).to(device)
    weights = layout(flat, n, 2, tied=True)
    plan = toy.Config(n, 2, steps=config.steps, lr=1e-2, seed=config.seed)
    weight = torch.full((config.starts, n, 1), 2 / count, device=device)
    optimise(architecture, weights, lambda _: x, weight, plan, decay=0.01)

    def losses(inputs: Tensor) -> Tensor:
        return (forward(architecture, weights, inputs)[1] - inputs).square().sum(1).mean(1)

    train, test = losses(x), losses(_points(config, 4096, generator).expand(config.starts, -1, -1))
    best = int(train.argmin())
    h = (weights.encoder[best] @ x[best]).T.cpu().numpy()
    data, features = (float(toy.dimensionality(w).sum()) for w in (h, weights.decoder[best].cpu().numpy()))
    return float(train[best]), float(test[best]), data, features, h


def _points(config: Config, count: int, generator: object) -> Tensor:
    """Draw sparse inputs of unit length, none of them zero.

    The shape is (1, features, count).
    """
    import torch

    assert isinstance(generator, torch.Generator)
    shape = (config.features, count)
    value, chance = (torch.rand(shape, generator=generator, device=generator.device) for _ in range(2))
    # An input without an active feature has no direction: its most likely feature is made active.
    active = (chance < config.density) | (chance == chance.min(dim=0).values)
    x = value * active
    return (x / x.norm(dim=0)).unsqueeze(0)


def _scaled(w: np.ndarray) -> np.ndarray:
    return w / np.linalg.norm(w, axis=1).max()
