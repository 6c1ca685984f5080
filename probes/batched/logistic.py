"""L2-regularised logistic regression for every layer, fold and strength at once, converged to rounding.

For one layer and one fold with row weights s, labels y of 0/1 and strength C, in coordinates standardised on the
rows of that fold (weighted mean and standard deviation, as `StandardScaler` does), the problem is

    minimise  sum_i s_i log(1 + exp(-(2 y_i - 1) (x_i · w + b)))  +  |w|^2 / (2 C)

which is scikit-learn's `LogisticRegression(C=C)` behind a `StandardScaler`. It is solved by Newton's method with
exact float64 gradients; the Newton step is found by conjugate gradients in float32, all folds and strengths of a
layer as columns of one matrix product. The problem is invariant under rotation, so one eigendecomposition of the
layer's Gram matrix preconditions them all: with the mean curvature c of a column, (c G + 1/C)^-1 is diagonal in the
eigenbasis of G. When there are fewer rows than dimensions the basis comes from the n × n kernel instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import softplus

from interp.errors import CheckFailedError, UsageError
from probes.batched.scaling import standardisation

TOLERANCE = 1e-9
"""Largest gradient component left, as a fraction of the largest at w = 0 (a change of about 1e-8 in the solution)."""
NEWTON_STEPS = 100
CG_STEPS = 60
CG_TOLERANCE = 1e-3
"""Each Newton step is solved to this relative residual, which float32 reaches with room to spare."""


@dataclass(frozen=True, eq=False)
class LogisticPath:
    """The solutions for every fold, layer and strength, in raw activation space (float64).

    `score = x @ direction + bias`, a log-odds in nats. `gradient` is the largest gradient component left, as a
    fraction of the largest at w = 0.
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

    `strengths` are scikit-learn's C, on inputs standardised per fold and layer. `weights` are the row weights of each
    fold: 0 leaves a row out, so the masks of a cross-validation fit in one call; by default there is one fold with
    every row. Raises `UsageError` for a strength that is not positive or a fold without both classes, and
    `CheckFailedError` if a fit does not converge, which a convex problem on finite data should never do.
    """
    strengths = tuple(float(c) for c in strengths)
    if not strengths or not all(0 < c < float("inf") for c in strengths):
        raise UsageError(f"Strengths must be positive numbers (scikit-learn's C), not {strengths}.")
    y = torch.as_tensor(y, device=X.device).double()
    weights = _fold_weights(weights, y)
    penalties = torch.tensor([1 / c for c in strengths], dtype=torch.float64, device=X.device)
    fits = [_fit_layer(layer.double(), y, weights, penalties) for layer in X]
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


def _fit_layer(
    X: Float[Tensor, "n d"], y: Tensor, weights: Float[Tensor, "fold n"], penalties: Float[Tensor, " strength"]
) -> tuple[Float[Tensor, "fold strength d"], Float[Tensor, "fold strength"], float]:
    mean, scale = standardisation(X, weights.amax(0)[None])
    rows = (X - mean[0]) / scale[0]
    problem = _Problem.build(rows, y, weights, penalties)
    solution, gradient = _newton(problem)
    solution = solution.unflatten(1, (len(weights), len(penalties))).permute(1, 2, 0)
    directions = solution[..., :-1] / scale[0]
    return directions, solution[..., -1] - directions @ mean[0], gradient


@dataclass(frozen=True, eq=False)
class _Problem:
    """One layer's problems as columns, k = (fold, strength); the last row of a solution is the bias."""

    rows: Float[Tensor, "n d_and_one"]
    single: Float[Tensor, "n d_and_one"]  # the same in float32
    labels: Float[Tensor, "n 1"]
    weights: Float[Tensor, "n k"]
    penalty: Float[Tensor, "d_and_one k"]
    basis: Float[Tensor, "d r"]  # float32, orthonormal: eigenvectors of rowsᵀ rows
    spectrum: Float[Tensor, "r 1"]
    ridge: Float[Tensor, "1 k"]

    @classmethod
    def build(cls, rows: Tensor, y: Tensor, weights: Tensor, penalties: Tensor) -> _Problem:
        _, scale = standardisation(rows, weights)  # of each fold, in units of the layer's own
        penalty = (scale.T**2)[:, :, None] * penalties
        bias = torch.zeros_like(penalty[:1])
        basis, spectrum = _eigenbasis(rows.float())
        rows = torch.cat([rows, torch.ones_like(y)[:, None]], dim=1)
        return cls(
            rows,
            rows.float(),
            y[:, None],
            weights.repeat_interleave(len(penalties), 0).T.contiguous(),
            torch.cat([penalty, bias]).flatten(1),
            basis,
            spectrum[:, None],
            penalties.repeat(len(weights))[None].float(),
        )

    def loss(self, logits: Tensor, solution: Tensor) -> Float[Tensor, " k"]:
        signed = (1 - 2 * self.labels) * logits
        return (self.weights * softplus(signed)).sum(0) + 0.5 * (self.penalty * solution**2).sum(0)

    def gradient(self, logits: Tensor, solution: Tensor) -> Float[Tensor, "d_and_one k"]:
        residual = self.weights * (torch.sigmoid(logits) - self.labels)
        return self.rows.T @ residual + self.penalty * solution

    def step(self, logits: Tensor, gradient: Tensor) -> Float[Tensor, "d_and_one k"]:
        """The Newton step -H^-1 g by preconditioned conjugate gradients, g scaled to 1 so that float32 suffices."""
        size = gradient.norm(dim=0).clamp_min(1e-300)
        curvature = (self.weights * torch.sigmoid(logits) * torch.sigmoid(-logits)).float()
        return self._solve(curvature, (-gradient / size).float()).double() * size

    def _solve(self, curvature: Tensor, target: Tensor) -> Tensor:
        penalty = self.penalty.float()
        inverse = self._preconditioner(curvature)
        found, residual = torch.zeros_like(target), target.clone()
        direction = preconditioned = inverse(residual)
        product = (residual * preconditioned).sum(0)
        for _ in range(CG_STEPS):
            image = self.single.T @ (curvature * (self.single @ direction)) + penalty * direction
            length = product / (direction * image).sum(0).clamp_min(1e-37)
            found = found + length * direction
            residual = residual - length * image
            if float(residual.norm(dim=0).max()) < CG_TOLERANCE:
                break
            preconditioned = inverse(residual)
            product, before = (residual * preconditioned).sum(0), product
            direction = preconditioned + product / before.clamp_min(1e-37) * direction
        return found

    def _preconditioner(self, curvature: Tensor) -> Callable[[Tensor], Tensor]:
        total = curvature.sum(0, keepdim=True)
        mean = total / (curvature > 0).sum(0, keepdim=True).clamp_min(1)
        share = (self.weights > 0).float().mean(0, keepdim=True)  # of the rows, that this fold sees
        inside = 1 / (mean * share * self.spectrum + self.ridge) - 1 / self.ridge

        def apply(vector: Tensor) -> Tensor:
            body, bias = vector[:-1], vector[-1:]
            body = body / self.ridge + self.basis @ (inside * (self.basis.T @ body))
            return torch.cat([body, bias / total.clamp_min(1e-30)])

        return apply


def _eigenbasis(rows: Float[Tensor, "n d"]) -> tuple[Float[Tensor, "d r"], Float[Tensor, " r"]]:
    """Eigenvectors of rowsᵀ rows, from whichever of the two Gram matrices is smaller. It only preconditions."""
    n, d = rows.shape
    if n >= d:
        spectrum, basis = torch.linalg.eigh(rows.T @ rows)
        return basis, spectrum.clamp_min(0)
    spectrum, left = torch.linalg.eigh(rows @ rows.T)
    kept = spectrum > 1e-5 * spectrum[-1].clamp_min(1e-30)
    return rows.T @ (left[:, kept] / spectrum[kept].sqrt()), spectrum[kept]


def _newton(problem: _Problem) -> tuple[Float[Tensor, "d_and_one k"], float]:
    """Newton's method from w = 0 for every column, each with its own step length."""
    solution = torch.zeros_like(problem.penalty)
    logits = problem.rows @ solution
    gradient = problem.gradient(logits, solution)
    first = gradient.abs().amax(0)
    left = torch.ones_like(first)
    for _ in range(NEWTON_STEPS):
        step = problem.step(logits, gradient) * (left > TOLERANCE)
        change = problem.rows @ step
        length = _step_length(problem, logits, solution, change, step, gradient)
        solution, logits = solution + length * step, logits + length * change
        gradient = problem.gradient(logits, solution)
        left = gradient.abs().amax(0) / first.clamp_min(1e-300)
        if bool((left <= TOLERANCE).all()):
            return solution, float(left.max())
    raise CheckFailedError(
        f"Logistic regression did not converge in {NEWTON_STEPS} Newton steps "
        f"(gradient left: {float(left.max()):.1e}): the activations may hold values too large for float64."
    )


def _step_length(
    problem: _Problem, logits: Tensor, solution: Tensor, change: Tensor, step: Tensor, gradient: Tensor
) -> Float[Tensor, " k"]:
    """1, halved for each column until its loss falls by a tenth of what the slope promises (or by rounding only)."""
    start = problem.loss(logits, solution)
    slope = (gradient * step).sum(0)
    length = torch.ones_like(start)
    for _ in range(30):
        loss = problem.loss(logits + length * change, solution + length * step)
        high = loss > start + 0.1 * length * slope + 1e-12 * start.abs()
        if not bool(high.any()):
            break
        length = torch.where(high, length / 2, length)
    return length
