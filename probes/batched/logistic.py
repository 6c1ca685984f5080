"""L2-regularised logistic regression for every layer, fold and strength, converged to rounding.

For one layer and one fold with row weights s, labels y of 0/1 and strength C, in coordinates standardised on the
rows of that fold (weighted mean and standard deviation, as `StandardScaler` does), the problem is

    minimise  sum_i s_i log(1 + exp(-(2 y_i - 1) (x_i · w + b)))  +  |w|^2 / (2 C)

which is scikit-learn's `LogisticRegression(C=C)` behind a `StandardScaler`. The folds of a layer are rows of one
matrix: they share the rows, standardised once, and the penalty takes up what their own scales differ by. All folds and
strengths of a layer are fitted together, so that each product serves all of them, and a fit leaves when it has
converged. Newton's method runs with exact float64 gradients; its step is computed by conjugate gradients in float32,
preconditioned by c XᵀX + λ, with c the mean curvature of each fit: the eigenvectors of XᵀX (or of the n × n kernel,
when there are fewer rows than dimensions) give the inverse for every c and λ at once.

Where folds differ too much for that (a layer of a few distinct rows, one of which a fold lacks), each fold is fitted
alone, on its own rows and scale; and where that stalls too, by a dense Hessian in float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import softplus

from interp.errors import CheckFailedError, UsageError
from interp.threads import on_a_thread_each
from probes.batched import conjugate_gradients
from probes.batched.conjugate_gradients import Spectrum
from probes.batched.covariance import solve_symmetric
from probes.batched.scaling import standardisation

TOLERANCE = 1e-10
"""Largest gradient component left, as a fraction of the largest at w = 0."""
ROUNDING = 1e-4
"""A gradient at w = 0 smaller than this, as a fraction of Σ weights |x|, is measured against that sum instead."""
NEWTON_STEPS = 100
PATIENCE = 15
"""Newton steps without the gradient halved, after which a fit has stalled."""
STALE = 50
"""The preconditioner is built again, from the curvature where it is used, after more conjugate-gradient steps."""
TOGETHER = 2**22
"""Most logits of fits that run together: 32 MB."""


@dataclass(frozen=True, eq=False)
class LogisticPath:
    """Logistic regressions for every fold, layer and strength.

    The solutions are in raw activation space (float64): `score = x @ direction + bias`, a log-odds in nats. `gradient`
    is the largest gradient component left, as a fraction of the largest at w = 0.

    >>> path = logistic_path(torch.tensor([[[0.0], [1.0], [1.0], [2.0]]]), torch.tensor([0, 0, 1, 1]), [0.1, 1.0])
    >>> path.strengths, path.directions.shape
    ((0.1, 1.0), torch.Size([1, 1, 2, 1]))
    """

    strengths: tuple[float, ...]
    directions: Float[Tensor, "fold layer strength d"]
    biases: Float[Tensor, "fold layer strength"]
    gradient: float


def logistic_path(
    X: Float[Tensor, "layer n d"],
    y: Tensor,
    strengths: Sequence[float],
    weights: Float[Tensor, "fold n"] | None = None,
) -> LogisticPath:
    """Fit every (fold, layer, strength); see the module for the equation.

    Args:
        X: (layer, n, d) activations.
        y: (n,) labels, 0 or 1.
        strengths: scikit-learn's C, on inputs standardised per fold and layer.
        weights: (fold, n) row weights; 0 leaves a row out, so that the masks of a cross-validation fit in one call. By
            default there is one fold with every row.

    Returns:
        `LogisticPath` with directions (fold, layer, strength, d).

    Raises:
        UsageError: a strength that is not positive, or a fold without both classes.
        CheckFailedError: a fit that does not converge, with its remaining gradient.

    Example:
        >>> X, y = torch.tensor([[[0.0], [1.0], [1.0], [2.0]]]), torch.tensor([0, 0, 1, 1])
        >>> logistic_path(X, y, [0.1, 1.0]).directions.squeeze().numpy().round(3).tolist()
        [0.182, 1.043]
    """
    strengths = tuple(float(c) for c in strengths)
    if not strengths or not all(0 < c < float("inf") for c in strengths):
        raise UsageError(f"Strengths must be positive numbers (scikit-learn's C), not {strengths}.")
    y = torch.as_tensor(y, device=X.device).double()
    weights = _fold_weights(weights, y)
    penalties = [1 / c for c in strengths]
    fits = on_a_thread_each(lambda layer: _fit_layer(layer.double(), y, weights, penalties), list(X))
    return LogisticPath(
        strengths,
        torch.stack([directions for directions, _, _ in fits], dim=1),
        torch.stack([biases for _, biases, _ in fits], dim=1),
        max(gradient for _, _, gradient in fits),
    )


def _fold_weights(weights: Tensor | None, y: Tensor) -> Float[Tensor, "fold n"]:
    if weights is None:
        weights = torch.ones_like(y)[None]
    weights = torch.as_tensor(weights, device=y.device).double()
    if weights.ndim != 2 or weights.shape[1] != len(y) or not bool((weights >= 0).all()):
        raise UsageError(
            f"Row weights must be non-negative, one row a fold and one column a statement: "
            f"(folds, {len(y)}), not {tuple(weights.shape)}."
        )
    for fold, row in enumerate(weights):
        if not (row @ y > 0 and row @ (1 - y) > 0):
            raise UsageError(f"Fold {fold} holds rows of one class only: every fold needs true and false statements.")
    return weights


class _StalledError(Exception):
    """Error of a fit whose gradient no longer falls.

    `left` is the gradient that is left.
    """

    def __init__(self, left: float):
        super().__init__(left)
        self.left = left


Fits = tuple[Float[Tensor, "fold strength d"], Float[Tensor, "fold strength"], float]
"""Directions, biases and the largest gradient left."""


def _fit_layer(
    X: Float[Tensor, "n d"], y: Tensor, weights: Float[Tensor, "fold n"], penalties: Sequence[float]
) -> Fits:
    """Fit all folds jointly, or each alone if that stalls.

    If a fold alone stalls too, it is fitted with a dense Hessian.
    """
    try:
        return _fit_folds(X, y, weights, penalties)
    except _StalledError:
        if len(weights) > 1:
            alone = [_fit_layer(X[row > 0], y[row > 0], row[row > 0][None], penalties) for row in weights]
            directions, biases, gradients = zip(*alone, strict=True)
            return torch.cat(directions), torch.cat(biases), max(gradients)
    try:
        return _fit_folds(X, y, weights, penalties, dense=True)
    except _StalledError as stalled:
        raise CheckFailedError(
            f"Logistic regression did not converge: {stalled.left:.1e} of the gradient is left, {TOLERANCE:.0e} is "
            f"allowed ({X.shape[0]} rows of {X.shape[1]} dimensions, C from {1 / max(penalties):g} to "
            f"{1 / min(penalties):g}). Try a smaller C."
        ) from stalled


def _fit_folds(
    X: Float[Tensor, "n d"],
    y: Tensor,
    weights: Float[Tensor, "fold n"],
    penalties: Sequence[float],
    *,
    dense: bool = False,
) -> Fits:
    mean, scale = (values[0] for values in standardisation(X, weights.amax(0)[None]))
    rows, size = (X - mean) / scale, max(1, TOGETHER // weights.numel())
    solutions, gradients = {}, []
    start = torch.zeros(len(weights), X.shape[1] + 1, dtype=X.dtype, device=X.device)
    largest_first = sorted(set(penalties), reverse=True)
    spectrum = None if dense else Spectrum.build(rows.float(), weights.mean(0).float())
    for first in range(0, len(largest_first), size):
        group = largest_first[first : first + size]
        problem = _Problem.build(rows, y, weights, group)
        solution, gradient = _newton(problem, start.repeat(len(group), 1), spectrum)
        solutions |= dict(zip(group, solution.split(len(weights)), strict=True))
        start = solutions[group[-1]]
        gradients.append(gradient)
    coefficients = torch.stack([solutions[penalty] for penalty in penalties], dim=1)  # (fold, strength, d and the bias)
    directions = coefficients[..., :-1] / scale
    return directions, coefficients[..., -1] - directions @ mean, max(gradients)


@dataclass(frozen=True, eq=False)
class _Problem:
    """Logistic regressions of one layer: a fit for each strength and fold.

    The last entry of a solution is the bias, and `rows` has a column of ones for it.

    Fits come first in every matrix: with few of them `(fit, d) @ (d, n)` is six times faster than the other way.
    """

    rows: Float[Tensor, "n d_and_one"]
    single: Float[Tensor, "n d_and_one"]  # the same in float32
    labels: Float[Tensor, " n"]
    weights: Float[Tensor, "fit n"]
    ridge: Float[Tensor, " fit"]  # 1 / C
    penalty: Float[Tensor, "fit d_and_one"]  # what multiplies w^2 / 2: 1 / C in the units of each fold

    @classmethod
    def build(cls, rows: Tensor, y: Tensor, weights: Tensor, penalties: Sequence[float]) -> _Problem:
        _, scale = standardisation(rows, weights)  # of each fold, in units of the layer's own
        metric = torch.cat([scale**2, torch.zeros_like(scale[:, :1])], dim=1)
        rows = torch.cat([rows, torch.ones_like(y)[:, None]], dim=1)
        ridge = torch.tensor(penalties, dtype=rows.dtype, device=rows.device).repeat_interleave(len(weights))
        many = len(penalties)
        return cls(rows, rows.float(), y, weights.repeat(many, 1), ridge, ridge[:, None] * metric.repeat(many, 1))

    def of(self, fits: Int[Tensor, " chosen"]) -> _Problem:
        """Return the problem of some of the fits."""
        return replace(self, weights=self.weights[fits], ridge=self.ridge[fits], penalty=self.penalty[fits])

    def scale(self) -> Float[Tensor, " fit"]:
        """Return the largest gradient component at w = 0, by which the rest is measured.

        w = 0 is the optimum itself where the class means are equal: then a fraction of the largest possible gradient
        there, half of Σ weights |x|.
        """
        first = (self.weights * (0.5 - self.labels)) @ self.rows
        possible = (self.weights @ self.rows.abs()).amax(1) / 2
        return first.abs().amax(1).maximum(ROUNDING * possible).clamp_min(1e-300)

    def loss(self, logits: Tensor, solution: Tensor) -> Float[Tensor, " fit"]:
        signed = (1 - 2 * self.labels) * logits
        return (self.weights * softplus(signed)).sum(1) + (self.penalty * solution**2).sum(1) / 2

    def gradient(self, logits: Tensor, solution: Tensor) -> Float[Tensor, "fit d_and_one"]:
        residual = self.weights * (torch.sigmoid(logits) - self.labels)
        return residual @ self.rows + self.penalty * solution

    def curvature(self, logits: Tensor) -> Float[Tensor, "fit n"]:
        """Return the second derivative of each row's loss."""
        return self.weights * torch.sigmoid(logits) * torch.sigmoid(-logits)


def _newton(
    problem: _Problem, solution: Float[Tensor, "fit d_and_one"], spectrum: Spectrum | None
) -> tuple[Float[Tensor, "fit d_and_one"], float]:
    """Run Newton's method for every fit, from `solution`; without `spectrum` with dense Hessians.

    Each fit has its own step length, and leaves when it has converged. Also returns the gradient left, as a fraction.

    Raises `_StalledError` when the gradient no longer falls.
    """
    logits = solution @ problem.rows.T
    gradient, scale = problem.gradient(logits, solution), problem.scale()
    left, lowest, since, steps = gradient.abs().amax(1) / scale, float("inf"), 0, 0
    for _ in range(NEWTON_STEPS):
        going = (left > TOLERANCE).nonzero()[:, 0]
        if not len(going):
            return solution, float(left.max())
        lowest, since = (float(left.max()), 0) if float(left.max()) < lowest / 2 else (lowest, since + 1)
        if since > PATIENCE or not bool(left.isfinite().all()):
            break
        part, at, from_here = problem.of(going), logits[going], solution[going]
        if spectrum is None:
            step = _dense_step(part, at, gradient[going])
        else:
            curvature = part.curvature(at).float()
            if steps > STALE:
                spectrum = Spectrum.build(part.single[:, :-1], curvature.mean(0))
            step, steps = _conjugate_step(part, curvature, gradient[going], spectrum, left[going])
        change = step @ problem.rows.T
        slope = (gradient[going] * step).sum(1)
        length = _step_length(part, (at, change), (from_here, step), slope)[:, None]
        solution[going], logits[going] = from_here + length * step, at + length * change
        gradient[going] = part.gradient(logits[going], solution[going])
        left[going] = gradient[going].abs().amax(1) / scale[going]
    raise _StalledError(lowest)


def _dense_step(
    problem: _Problem, logits: Float[Tensor, "fit n"], gradient: Float[Tensor, "fit d_and_one"]
) -> Float[Tensor, "fit d_and_one"]:
    """Return -Hessian^-1 gradient of each fit, in float64."""
    steps = []
    for d, penalty, g in zip(problem.curvature(logits), problem.penalty, gradient, strict=True):
        hessian = (problem.rows * d[:, None]).T @ problem.rows + torch.diag(penalty)
        steps.append(-solve_symmetric(hessian, g))
    return torch.stack(steps)


def _conjugate_step(
    problem: _Problem,
    curvature: Float[Tensor, "fit n"],
    gradient: Float[Tensor, "fit d_and_one"],
    spectrum: Spectrum,
    left: Float[Tensor, " fit"],
) -> tuple[Float[Tensor, "fit d_and_one"], int]:
    """Return -Hessian^-1 gradient of each fit by conjugate gradients.

    Also returns the number of steps taken.

    The system is scaled to 1, so that float32 suffices; the step is rough far away and fine at the end, but no finer
    than convergence asks for.
    """
    size = gradient.norm(dim=1, keepdim=True).clamp_min(1e-300)
    accuracy = left.sqrt().clamp(1e-3, 0.1).maximum((0.3 * TOLERANCE / left).clamp_max(0.1)).float()
    target, penalty = (-gradient / size).float(), problem.penalty.float()
    precondition = spectrum.preconditioner(curvature, problem.ridge.float())
    step, steps = conjugate_gradients.solve(problem.single, curvature, penalty, target, precondition, accuracy)
    return step.double() * size, steps


def _step_length(
    problem: _Problem,
    logits: tuple[Tensor, Tensor],
    solution: tuple[Tensor, Tensor],
    slope: Float[Tensor, " fit"],
) -> Float[Tensor, " fit"]:
    """Return the step length of each fit, by halving.

    It is 1, halved until the loss falls by a tenth of what the slope promises (or by rounding only).

    `logits` and `solution` are pairs (value at the start, change by a whole step).
    """
    start = problem.loss(logits[0], solution[0])
    length = torch.ones_like(start)
    for _ in range(30):
        loss = problem.loss(logits[0] + length[:, None] * logits[1], solution[0] + length[:, None] * solution[1])
        high = loss > start + 0.1 * length * slope + 1e-12 * start.abs()
        if not bool(high.any()):
            break
        length = torch.where(high, length / 2, length)
    return length
