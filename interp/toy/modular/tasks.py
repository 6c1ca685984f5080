"""Tasks of known parts: formulas of independent, shared and nested terms, and two moons."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Float

from interp.errors import UsageError, nearest

Array = np.ndarray
MANY = 100_000
"""Points behind the outputs' means and deviations."""


@dataclass(frozen=True)
class Task:
    """Task of a modular network: inputs, targets and independent parts.

    >>> task = modular.task("independent", points=100)
    >>> task.formula, task.x.shape, task.parts
    ('(x₁ + x₃)³ and x₂² + sin πx₄', (100, 4), (((0, 2), (0,)), ((1, 3), (1,))))
    """

    name: str
    formula: str
    x: Float[Array, "points inputs"]
    y: Float[Array, "points outputs"]
    parts: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]
    """The independent parts: their inputs and their outputs. One part where everything depends on everything."""


def _independent(x: Array) -> list[Array]:
    return [(x[0] + x[2]) ** 3, x[1] ** 2 + np.sin(np.pi * x[3])]


def _shared(x: Array) -> list[Array]:
    return [x[0] ** 2, x[0] ** 2 + x[1] ** 2, x[0] ** 2 + x[1] ** 2 + x[2] ** 2]


def _nested(x: Array) -> list[Array]:
    return [np.sqrt((x[0] - x[1]) ** 2 + (x[2] - x[3]) ** 2)]


Formula = tuple[str, int, Callable[[Array], list[Array]], tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]]
FORMULAS: dict[str, Formula] = {
    "independent": (
        "(x₁ + x₃)³ and x₂² + sin πx₄",
        4,
        _independent,
        (((0, 2), (0,)), ((1, 3), (1,))),
    ),
    "shared": ("x₁², x₁² + x₂² and x₁² + x₂² + x₃²", 3, _shared, (((0, 1, 2), (0, 1, 2)),)),
    "nested": ("√((x₁ − x₂)² + (x₃ − x₄)²)", 4, _nested, (((0, 1, 2, 3), (0,)),)),
}
MOONS = "two moons"
NAMES = (*FORMULAS, MOONS)


def task(name: str, *, points: int = 1000, seed: int = 0) -> Task:
    """Return the named task with inputs drawn from `seed`.

    Inputs of formulas are uniform in [−1, 1].

    The formulas are those of Liu, Gan and Tegmark (arXiv 2305.08746), and each output is divided by its standard
    deviation, so that a loss is a share of the variance. Two moons have ±1 targets.

    Args:
        name: one of `NAMES`.
        points: inputs.
        seed: of the inputs.

    Returns:
        The task.

    Raises:
        UsageError: an unknown name.

    >>> modular.NAMES, modular.task("independent", points=100).y.shape
    (('independent', 'shared', 'nested', 'two moons'), (100, 2))
    """
    if name not in NAMES:
        raise UsageError(f'There is no task "{name}"{nearest(name, NAMES)} (tasks: {", ".join(NAMES)}).')
    generator = np.random.default_rng(seed)
    if name == MOONS:
        return _moons(points, generator)
    text, inputs, formula, parts = FORMULAS[name]
    x = generator.uniform(-1, 1, (points, inputs))
    mean, deviation = _moments(name)
    return Task(name, text, x, (np.stack(formula(x.T), axis=1) - mean) / deviation, parts)


@cache
def _moments(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and deviation of each output, over one large sample.

    They are the same for inputs to train and to test on.
    """
    _, inputs, formula, _ = FORMULAS[name]
    y = np.stack(formula(np.random.default_rng(0).uniform(-1, 1, (inputs, MANY))), axis=1)
    return y.mean(0), y.std(0)


def _moons(points: int, generator: np.random.Generator) -> Task:
    """Return two interlocking half circles with noise.

    Circles have radius 1, noise deviation 0.1.
    """
    upper = np.arange(points) % 2 == 0
    angle = generator.uniform(0, np.pi, points)
    x = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    x = np.where(upper[:, None], x, np.array([1.0, 0.5]) - x) + generator.normal(0, 0.1, (points, 2))
    y = np.where(upper, 1.0, -1.0)[:, None]
    return Task(MOONS, "which of two half moons", x, y, (((0, 1), (0,)),))
