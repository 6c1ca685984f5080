"""L2-regularised logistic regression for every layer, fold and strength, converged to rounding.

For one layer and one fold with row weights s, labels y of 0/1 and strength C, in coordinates standardised on the
rows of that fold (weighted mean and standard deviation, as `StandardScaler` does), the problem is

    minimise  sum_i s_i log(1 + exp(-(2 y_i - 1) (x_i · w + b)))  +  |w|^2 / (2 C)

which is scikit-learn's `LogisticRegression(C=C)` behind a `StandardScaler`. The folds of a layer are rows of one
matrix: they share the rows, standardised once, and the penalty takes up what their own scales differ by. From the
smallest C to the largest, each started where the one before ended, Newton's method runs with exact float64 gradients;
its step is computed by conjugate gradients in float32, preconditioned by one Cholesky factor of the folds' mean Hessian
(of the n × n kernel when there are fewer rows than dimensions), renewed only when it has grown stale.

Where folds differ too much for that (a layer of a few distinct rows, one of which a fold lacks), each fold is fitted
alone, on its own rows and scale; and where that stalls too, by a dense Hessian in float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import softplus

from interp.errors import CheckFailedError, UsageError
from interp.threads import on_a_thread_each
from probes.batched.covariance import solve_symmetric
from probes.batched.scaling import standardisation

TOLERANCE = 1e-10
"""Largest gradient component left, as a fraction of the largest at w = 0."""
ROUNDING = 1e-4
"""A gradient at w = 0 smaller than this, as a fraction of Σ weights |x|, is measured against that sum instead."""
NEWTON_STEPS = 100
PATIENCE = 15
"""Newton steps without the gradient halved, after which a fit has stalled."""
CG_STEPS = 60
STALE = 25
"""The preconditioner is built again after more conjugate-gradient steps than this."""


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
    problem = _Problem.build((X - mean) / scale, y, weights)
    solution = torch.zeros(len(weights), X.shape[1] + 1, dtype=X.dtype, device=X.device)
    solutions, gradients, precondition = {}, [], None
    for penalty in sorted(set(penalties), reverse=True):
        solution, gradient, precondition = _newton(problem, penalty, solution, precondition, dense=dense)
        solutions[penalty] = solution
        gradients.append(gradient)
    coefficients = torch.stack([solutions[penalty] for penalty in penalties], dim=1)  # (fold, strength, d and the bias)
    directions = coefficients[..., :-1] / scale
    return directions, coefficients[..., -1] - directions @ mean, max(gradients)


@dataclass(frozen=True, eq=False)
class _Problem:
    """Logistic regressions of one layer's folds.

    The last entry of a solution is the bias, and `rows` has a column of ones for it.

    Folds come first in every matrix: with few of them `(fold, d) @ (d, n)` is six times faster than the other way.
    """

    rows: Float[Tensor, "n d_and_one"]
    single: Float[Tensor, "n d_and_one"]  # the same in float32
    labels: Float[Tensor, " n"]
    weights: Float[Tensor, "fold n"]
    metric: Float[Tensor, "fold d_and_one"]  # the penalty is half of metric * w^2 / C

    @classmethod
    def build(cls, rows: Tensor, y: Tensor, weights: Tensor) -> _Problem:
        _, scale = standardisation(rows, weights)  # of each fold, in units of the layer's own
        metric = torch.cat([scale**2, torch.zeros_like(scale[:, :1])], dim=1)
        rows = torch.cat([rows, torch.ones_like(y)[:, None]], dim=1)
        return cls(rows, rows.float(), y, weights, metric)

    @cached_property
    def size(self) -> Float[Tensor, " fold"]:
        """Return the largest possible gradient at w = 0.

        It is half of Σ weights |x|, of the largest coordinate.
        """
        return (self.weights @ self.rows.abs()).amax(1) / 2

    def loss(self, logits: Tensor, solution: Tensor, penalty: float) -> Float[Tensor, " fold"]:
        signed = (1 - 2 * self.labels) * logits
        return (self.weights * softplus(signed)).sum(1) + penalty / 2 * (self.metric * solution**2).sum(1)

    def gradient(self, logits: Tensor, solution: Tensor, penalty: float) -> Float[Tensor, "fold d_and_one"]:
        residual = self.weights * (torch.sigmoid(logits) - self.labels)
        return residual @ self.rows + penalty * self.metric * solution

    def curvature(self, logits: Tensor) -> Float[Tensor, "fold n"]:
        """Return the second derivative of each row's loss, float32."""
        return (self.weights * torch.sigmoid(logits) * torch.sigmoid(-logits)).float()


def _newton(
    problem: _Problem, penalty: float, start: Tensor, precondition: _Preconditioner | None, *, dense: bool
) -> tuple[Float[Tensor, "fold d_and_one"], float, _Preconditioner | None]:
    """Run Newton's method for every fold.

    Each fold has its own step length. Also returns the gradient left, as a fraction.

    Raises `_StalledError` when the gradient no longer falls.
    """
    precondition = precondition and precondition.at(penalty)
    solution, logits = start, start @ problem.rows.T
    gradient = problem.gradient(logits, solution, penalty)
    first = problem.gradient(torch.zeros_like(logits), torch.zeros_like(start), penalty).abs().amax(1)
    first = first.maximum(ROUNDING * problem.size)  # w = 0 is the optimum itself where the class means are equal
    steps, lowest, since = 0, float("inf"), 0
    for _ in range(NEWTON_STEPS):
        left = gradient.abs().amax(1) / first.clamp_min(1e-300)
        if bool((left <= TOLERANCE).all()):
            return solution, float(left.max()), precondition
        lowest, since = (float(left.max()), 0) if float(left.max()) < lowest / 2 else (lowest, since + 1)
        if since > PATIENCE:
            break
        if dense:
            step = _dense_step(problem, logits, penalty, gradient)
        else:
            curvature = problem.curvature(logits)
            if precondition is None or steps > STALE:
                precondition = _Preconditioner.build(problem.single[:, :-1], curvature, penalty)
            step, steps = _conjugate_step(problem, curvature, penalty, gradient, precondition, left)
        step = step * (left > TOLERANCE)[:, None]
        change = step @ problem.rows.T
        length = _step_length(problem, penalty, (logits, change), (solution, step), (gradient * step).sum(1))[:, None]
        solution, logits = solution + length * step, logits + length * change
        gradient = problem.gradient(logits, solution, penalty)
    raise _StalledError(lowest)


def _dense_step(
    problem: _Problem, logits: Float[Tensor, "fold n"], penalty: float, gradient: Float[Tensor, "fold d_and_one"]
) -> Float[Tensor, "fold d_and_one"]:
    """Return -Hessian^-1 gradient of each fold, in float64."""
    curvature = problem.weights * torch.sigmoid(logits) * torch.sigmoid(-logits)
    steps = []
    for d, metric, g in zip(curvature, problem.metric, gradient, strict=True):
        hessian = (problem.rows * d[:, None]).T @ problem.rows + torch.diag(penalty * metric)
        steps.append(-solve_symmetric(hessian, g))
    return torch.stack(steps)


def _conjugate_step(
    problem: _Problem,
    curvature: Float[Tensor, "fold n"],
    penalty: float,
    gradient: Float[Tensor, "fold d_and_one"],
    precondition: _Preconditioner,
    left: Float[Tensor, " fold"],
) -> tuple[Float[Tensor, "fold d_and_one"], int]:
    """Return -Hessian^-1 gradient of each fold by conjugate gradients.

    Also returns the number of steps taken.

    The system is scaled to 1, so that float32 suffices; the step is rough far away and fine at the end.
    """
    size = gradient.norm(dim=1, keepdim=True).clamp_min(1e-300)
    accuracy = left.sqrt().clamp(1e-3, 0.1).float()
    step, steps = _conjugate_gradients(problem, curvature, penalty, (-gradient / size).float(), precondition, accuracy)
    return step.double() * size, steps


def _conjugate_gradients(
    problem: _Problem,
    curvature: Float[Tensor, "fold n"],
    penalty: float,
    target: Float[Tensor, "fold d_and_one"],
    precondition: _Preconditioner,
    accuracy: Float[Tensor, " fold"],
) -> tuple[Float[Tensor, "fold d_and_one"], int]:
    """Solve (rowsᵀ curvature rows + penalty) step = target to `accuracy`.

    |target| = 1. Also returns the number of steps taken.
    """
    metric = penalty * problem.metric.float()
    step, residual = torch.zeros_like(target), target
    direction = preconditioned = precondition(residual)
    product = (residual * preconditioned).sum(1, keepdim=True)
    for taken in range(1, CG_STEPS + 1):
        image = (curvature * (direction @ problem.single.T)) @ problem.single + metric * direction
        length = product / (direction * image).sum(1, keepdim=True).clamp_min(1e-37)
        step, residual = step + length * direction, residual - length * image
        if bool((residual.norm(dim=1) < accuracy).all()):
            return step, taken
        preconditioned = precondition(residual)
        product, before = (residual * preconditioned).sum(1, keepdim=True), product
        direction = preconditioned + product / before.clamp_min(1e-37) * direction
    return step, CG_STEPS


@dataclass(frozen=True, eq=False)
class _Preconditioner:
    """Inverse of the folds' mean Hessian, without the bias.

    It is (XᵀDX + λ)^-1, D their mean curvature. With fewer rows than dimensions it is (1 - ZᵀM^-1 Z) / λ with Z = √D X
    and M = ZZᵀ + λ, which is n × n.
    """

    weighted: Float[Tensor, "n d"]
    gram: Float[Tensor, "m m"]
    total: Float[Tensor, "fold 1"]
    factor: Float[Tensor, "m m"]
    ridge: float

    @classmethod
    def build(cls, rows: Float[Tensor, "n d"], curvature: Float[Tensor, "fold n"], penalty: float) -> _Preconditioner:
        weighted = rows * curvature.mean(0)[:, None].sqrt()
        gram = weighted @ weighted.T if rows.shape[0] < rows.shape[1] else weighted.T @ weighted
        return cls(weighted, gram, curvature.sum(1, keepdim=True).clamp_min(1e-30), *_factor(gram, penalty))

    def at(self, penalty: float) -> _Preconditioner:
        """Return the preconditioner for another penalty and the same curvature.

        Only the factor is new.
        """
        factor, ridge = _factor(self.gram, penalty)
        return replace(self, factor=factor, ridge=ridge)

    def __call__(self, vector: Float[Tensor, "fold d_and_one"]) -> Float[Tensor, "fold d_and_one"]:
        body = vector[:, :-1]
        if len(self.gram) < body.shape[1]:
            inner = torch.cholesky_solve((body @ self.weighted.T).T, self.factor)
            body = (body - inner.T @ self.weighted) / self.ridge
        else:
            body = torch.cholesky_solve(body.T, self.factor).T
        return torch.cat([body, vector[:, -1:] / self.total], dim=1)


def _factor(gram: Float[Tensor, "m m"], penalty: float) -> tuple[Float[Tensor, "m m"], float]:
    # In float32 a smaller λ cannot be distinguished from rounding; a preconditioner does not need it.
    ridge = max(penalty, 1e-6 * float(gram.diagonal().sum()))
    return torch.linalg.cholesky(gram + ridge * torch.eye(len(gram), device=gram.device)), ridge


def _step_length(
    problem: _Problem,
    penalty: float,
    logits: tuple[Tensor, Tensor],
    solution: tuple[Tensor, Tensor],
    slope: Float[Tensor, " fold"],
) -> Float[Tensor, " fold"]:
    """Return the step length of each fold, by halving.

    It is 1, halved until the loss falls by a tenth of what the slope promises (or by rounding only).

    `logits` and `solution` are pairs (value at the start, change by a whole step).
    """
    start = problem.loss(logits[0], solution[0], penalty)
    length = torch.ones_like(start)
    for _ in range(30):
        loss = problem.loss(
            logits[0] + length[:, None] * logits[1], solution[0] + length[:, None] * solution[1], penalty
        )
        high = loss > start + 0.1 * length * slope + 1e-12 * start.abs()
        if not bool(high.any()):
            break
        length = torch.where(high, length / 2, length)
    return length
