"""Conjugate gradients for several linear systems with the same rows, and their preconditioner.

The system of each fit is (rowsᵀ diag(curvature) rows + diag(penalty)) step = target. Products with the rows serve all
fits, and a fit leaves when it has reached its accuracy. All matrices are float32, with fits first.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

STEPS = 60


def solve(
    rows: Float[Tensor, "n d_and_one"],
    curvature: Float[Tensor, "fit n"],
    penalty: Float[Tensor, "fit d_and_one"],
    target: Float[Tensor, "fit d_and_one"],
    precondition: InSpectrum,
    accuracy: Float[Tensor, " fit"],
) -> tuple[Float[Tensor, "fit d_and_one"], int]:
    """Solve the system of each fit until the norm of its residual is below its accuracy.

    Also returns the number of steps of the fit that took most; after `STEPS` of them the solutions are as they are.

    >>> eye, ones = torch.eye(2), torch.ones(1, 2)
    >>> half = InSpectrum(eye[:1, :1], 0.5 * ones[:, :1], 0.0 * ones[:, :1], 0.5 * ones[:, :1])
    >>> solve(eye, ones, ones, ones, half, torch.tensor([1e-6]))
    (tensor([[0.5000, 0.5000]]), 1)
    """
    result, going = torch.zeros_like(target), torch.arange(len(target), device=target.device)
    step, residual = result, target
    direction = precondition(residual)
    product = (residual * direction).sum(1, keepdim=True)
    taken = 0
    for taken in range(1, STEPS + 1):
        image = torch.addcmul((curvature * (direction @ rows.T)) @ rows, penalty, direction)
        length = product / (direction * image).sum(1, keepdim=True).clamp_min(1e-37)
        step = torch.addcmul(step, length, direction)
        residual = torch.addcmul(residual, length, image, value=-1.0)
        rough = residual.norm(dim=1) >= accuracy
        if taken == STEPS or not bool(rough.all()):
            result[going] = step
            rest = rough.nonzero()[:, 0]
            if taken == STEPS or not len(rest):
                break
            going, step, residual, direction = going[rest], step[rest], residual[rest], direction[rest]
            product, accuracy, curvature, penalty = product[rest], accuracy[rest], curvature[rest], penalty[rest]
            precondition = precondition.of(rest)
        preconditioned = precondition(residual)
        product, before = (residual * preconditioned).sum(1, keepdim=True), product
        direction = torch.addcmul(preconditioned, product / before.clamp_min(1e-37), direction)
    return result, taken


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Eigenvalues and eigenvectors of XᵀDX, D weights of the rows, without the bias.

    With fewer rows than dimensions only those of the n × n kernel, whose complement has eigenvalue 0.
    """

    values: Float[Tensor, " k"]
    vectors: Float[Tensor, "d k"]
    energy: Float[Tensor, " n"]  # |x|^2 of each row
    total: Float[Tensor, ""]  # tr XᵀDX

    @classmethod
    def build(cls, rows: Float[Tensor, "n d"], weights: Float[Tensor, " n"]) -> Spectrum:
        """Compute the spectrum of the rows."""
        weighted, energy = rows * weights[:, None].sqrt(), rows.square().sum(1)
        if len(rows) >= rows.shape[1]:
            values, vectors = torch.linalg.eigh(weighted.T @ weighted)
        else:
            values, left = torch.linalg.eigh(weighted @ weighted.T)
            known = values > 1e-6 * values[-1].clamp_min(1e-30)  # below that a direction is rounding
            values, vectors = values[known], weighted.T @ (left[:, known] / values[known].sqrt())
        return cls(values.clamp_min(0), vectors, energy, (weights @ energy).clamp_min(1e-30))

    def preconditioner(self, curvature: Float[Tensor, "fit n"], ridge: Float[Tensor, " fit"]) -> InSpectrum:
        """Return the inverse of c XᵀDX + ridge of each fit.

        c makes its trace that of the fit's matrix. The bias is divided by its own second derivative.
        """
        trace = (curvature @ self.energy)[:, None]
        # In float32 a smaller λ cannot be distinguished from rounding; a preconditioner does not need it.
        ridge = ridge[:, None].maximum(1e-6 * trace)
        whole = len(self.vectors) == self.vectors.shape[1]
        base = torch.zeros_like(ridge) if whole else 1 / ridge
        inverse = 1 / (trace / self.total * self.values + ridge) - base
        return InSpectrum(self.vectors, inverse, base, 1 / curvature.sum(1, keepdim=True).clamp_min(1e-30))


@dataclass(frozen=True, eq=False)
class InSpectrum:
    """Inverses that are diagonal between the same eigenvectors, see `Spectrum`."""

    vectors: Float[Tensor, "d k"]
    inverse: Float[Tensor, "fit k"]  # less `base`
    base: Float[Tensor, "fit one"]  # of the complement of the eigenvectors
    bias: Float[Tensor, "fit one"]

    def __call__(self, vector: Tensor) -> Tensor:
        """Multiply the vector of each fit."""
        result, body = torch.empty_like(vector), vector[:, :-1]
        torch.addcmul(((body @ self.vectors) * self.inverse) @ self.vectors.T, self.base, body, out=result[:, :-1])
        torch.mul(vector[:, -1:], self.bias, out=result[:, -1:])
        return result

    def of(self, fits: Tensor) -> InSpectrum:
        """Return the inverses of some of the fits."""
        return replace(self, inverse=self.inverse[fits], base=self.base[fits], bias=self.bias[fits])
