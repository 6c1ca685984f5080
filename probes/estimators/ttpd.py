"""Training of truth and polarity directions (TTPD).

Its truth direction is not reversed by negation.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.errors import UsageError
from probes.batched.logistic import logistic_path
from probes.estimators.base import LinearProbe, Solution, as_array, as_tensor, one_per_row, read_labels, read_stack
from probes.estimators.pairs import read_polarity

PLANE_STRENGTH = 100.0
"""C of the last step, on two standardised features: almost no penalty, but finite for separable classes."""


class TTPD(LinearProbe):
    """Probe of truth and polarity directions, for affirmative and negated statements.

    Bürger et al. 2024, arXiv 2407.12831. With t = ±1 (true, false) and p = ±1 (affirmative, negated), activations
    centred within every topic and polarity are modelled by least squares as `a = t t_G + t p t_P`: t_G is the general
    truth direction, and t_P the one whose sign changes with polarity. One logistic regression estimates the polarity
    direction q, and a second one the decision boundary in the plane (x · t_G, x · q). The result is one direction,
    `direction_ = α t_G + β q`, with one threshold for both polarities.

    Attributes (in addition to those of `LinearProbe`):
        t_G_, t_P_, polarity_direction_: (d,) float64, in raw activation space.

    Args:
        C: inverse penalty of the polarity regression on standardised inputs; the published one has no penalty.

    Example:
        >>> X = np.array([[1, 1, 0], [-1, 1, 1], [-1, -1, 0], [1, -1, 1]] * 2, float) + 0.01 * np.eye(8, 3)
        >>> probes.TTPD().fit(X, [1, 0, 0, 1] * 2, polarity=[1, 1, -1, -1] * 2).predict(X).tolist()
        [1, 0, 0, 1, 1, 0, 0, 1]
    """

    t_G_: Float[np.ndarray, " d"]
    t_P_: Float[np.ndarray, " d"]
    polarity_direction_: Float[np.ndarray, " d"]

    def __init__(self, C: float = 0.01):
        self.C = C

    def fit(self, X: Any, y: Any, *, polarity: Any = None, topics: Any = None) -> Self:
        """Fit on activations `X` (n, d) and labels `y`.

        Args:
            X: (n, d) activations, one row per statement.
            y: (n,) labels, 0 = false and 1 = true.
            polarity: +1 for an affirmative row, -1 for a negated one; both must occur.
            topics: topic of each row, within which activations are centred; None for one topic.

        Returns:
            The probe itself.

        Raises:
            UsageError: no polarity, or only one polarity.

        Example:
            >>> X = np.array([[1, 1, 0], [-1, 1, 1], [-1, -1, 0], [1, -1, 1]] * 2, float) + 0.01 * np.eye(8, 3)
            >>> probe = probes.TTPD().fit(X, [1, 0, 0, 1] * 2, polarity=[1, 1, -1, -1] * 2)
            >>> abs(probe.t_G_).round(1).tolist(), abs(probe.t_P_).round(1).tolist()
            ([1.0, 0.0, 0.0], [0.0, 0.0, 0.5])
        """
        X, labels = self._read(X, y)
        return self._take(self._solutions(as_tensor(X)[None], labels, polarity, topics)[0])

    def fit_layers(self, X: Any, y: Any, *, polarity: Any = None, topics: Any = None) -> list[Self]:
        """Fit one copy per layer.

        The result equals `fit` on each layer; the regressions are solved jointly.

        Args:
            X: (layer, n, d) activations.
            y: (n,) labels, 0 = false and 1 = true.
            polarity: +1 for an affirmative row, -1 for a negated one; both must occur.
            topics: topic of each row, within which activations are centred; None for one topic.

        Returns:
            The fitted copies, in the order of the layers.

        Raises:
            UsageError: no polarity, or only one polarity.

        Example:
            >>> X = np.array([[1, 1, 0], [-1, 1, 1], [-1, -1, 0], [1, -1, 1]] * 2, float) + 0.01 * np.eye(8, 3)
            >>> fitted = probes.TTPD().fit_layers(np.stack([X, 2 * X]), [1, 0, 0, 1] * 2, polarity=[1, 1, -1, -1] * 2)
            >>> [abs(probe.t_G_).round(1).tolist() for probe in fitted]
            [[1.0, 0.0, 0.0], [2.0, 0.0, 0.0]]
        """
        stack = read_stack(X)
        classes, labels = read_labels(as_array(y))
        solutions = self._solutions(stack, labels, polarity, topics)
        return [self.with_solution(solution, classes) for solution in solutions]

    def _solutions(
        self, X: Float[Tensor, "layer n d"], labels: np.ndarray, polarity: Any, topics: Any
    ) -> list[Solution]:
        sides = read_polarity(polarity, X.shape[1])
        if len(np.unique(sides)) < 2:
            raise UsageError("TTPD needs affirmative and negated statements, but all have the same polarity.")
        y, p, cells = (torch.from_numpy(v).to(X.device) for v in (labels, sides, _cells(topics, sides)))
        truths = [_truth_directions(layer.double(), y, p, cells) for layer in X]
        turning = logistic_path(X, (p > 0).long(), [self.C]).directions[0, :, 0]
        axes = [torch.stack([general, q]) for (general, _), q in zip(truths, turning, strict=True)]
        plane = torch.stack([layer.double() @ pair.T for layer, pair in zip(X, axes, strict=True)])
        path = logistic_path(plane, y, [PLANE_STRENGTH])
        return [
            Solution(mix @ pair, float(bias), extra=_named(pair[0], polar, pair[1]))
            for (_, polar), pair, mix, bias in zip(
                truths, axes, path.directions[0, :, 0], path.biases[0, :, 0], strict=True
            )
        ]


def _named(general: Tensor, polar: Tensor, turning: Tensor) -> dict[str, Any]:
    vectors = {"t_G_": general, "t_P_": polar, "polarity_direction_": turning}
    return {name: vector.cpu().numpy() for name, vector in vectors.items()}


def _cells(topics: Any, sides: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """Return the index of each row's combination of topic and polarity."""
    names = np.zeros(len(sides), dtype=int) if topics is None else one_per_row(topics, len(sides), "topics")
    numbers = np.unique(names, return_inverse=True)[1]
    return np.unique(2 * numbers + (sides > 0), return_inverse=True)[1]


def _truth_directions(
    X: Float[Tensor, "n d"], y: Int[Tensor, " n"], p: Int[Tensor, " n"], cells: Int[Tensor, " n"]
) -> tuple[Float[Tensor, " d"], Float[Tensor, " d"]]:
    """Compute t_G and t_P by least squares.

    The activations, centred within cells, are regressed on t and t p.
    """
    one_hot = torch.nn.functional.one_hot(cells).to(X)
    centred = X - one_hot @ ((one_hot.T @ X) / one_hot.sum(0)[:, None])
    truth = (2 * y - 1).to(X)
    design = torch.stack([truth, truth * p], dim=1)
    general, polar = torch.linalg.lstsq(design, centred).solution
    return general, polar
