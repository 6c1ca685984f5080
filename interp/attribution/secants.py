"""Exact secants of a transformer's nonlinear operations.

A secant of f between x₁ and x₀ is a linear map S with S (x₁ − x₀) = f(x₁) − f(x₀). One number has one secant, the
slope of the chord; vectors have many, and those chosen here are the means over the two runs that the product rule
gives, and for the softmax the one that its own normalisation fixes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from interp.model.arithmetic import norm_scale, with_sinks
from interp.model.families.base import RawNorm
from interp.model.spec import Norm

HALF_CHORD = 1e-5
"""Least half-length of a chord: where rounding of f in float64 and its curvature err by the same 1e-11."""

CLOSE = 1e-3
"""Half the difference of two logarithms below which their logarithmic mean is taken from its series, to 1e-14."""


def chord(
    f: Callable[[Tensor], Tensor], first: Float[Tensor, "*shape"], second: Float[Tensor, "*shape"]
) -> Float[Tensor, "*shape"]:
    """Return the slope of an elementwise f between two points.

    (f(first) − f(second)) / (first − second), its derivative where the two coincide.

    Taken in float64, between points at least 2·`HALF_CHORD` apart about the same middle: no division by zero, and
    slope · (first − second) misses the difference of f by its rounding only.
    """
    low, high = first.double(), second.double()
    middle, half = (low + high) / 2, ((low - high) / 2).abs().clamp_min(HALF_CHORD)
    return ((f(middle + half) - f(middle - half)) / (2 * half)).to(first)


@dataclass(frozen=True)
class NormSecant:
    """Secant of a norm between two runs.

    The norm is x ↦ x̂ · r(x̂) · gain + bias. x̂ is x, centred in a LayerNorm, and r = 1/scale.

    With bars for means of the two runs and Δ for their difference (the bias cancels):

        Δy = gain ⊙ (r̄ Δx̂ + x̄̂ Δr),    Δr = −r₁² r₀² / (r₁ + r₀) · Δ(mean x̂²),    Δ(mean x̂²) = 2 mean(x̄̂ ⊙ Δx̂)

    which is exact: a multiple of the identity and a matrix of rank one, symmetric but for the gain.
    """

    mean: Float[Tensor, "*batch width"]
    inverse: Float[Tensor, "*batch 1"]
    bend: Float[Tensor, "*batch 1"]
    gain: Float[Tensor, " width"]
    centred: bool

    def push(self, change: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
        """Return the change of the output for a change of the input."""
        return self._symmetric(self._centre(change)) * self.gain

    def pull(self, covector: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
        """Carry a covector on the output back to the input."""
        return self._centre(self._symmetric(covector * self.gain))

    def map(self, f: Callable[[Tensor], Tensor]) -> NormSecant:
        """Return the norm with `f` applied to what depends on the place.

        Such as an index, or a new axis.
        """
        return NormSecant(f(self.mean), f(self.inverse), f(self.bend), self.gain, self.centred)

    def _symmetric(self, x: Tensor) -> Tensor:
        return self.inverse * x + self.mean * (self.bend * (self.mean * x).sum(-1, keepdim=True))

    def _centre(self, x: Tensor) -> Tensor:
        return x - x.mean(-1, keepdim=True) if self.centred else x


def norm_secant(
    first: Float[Tensor, "*batch width"], second: Float[Tensor, "*batch width"], norm: RawNorm, kind: Norm, eps: float
) -> NormSecant:
    """Return the secant of a norm between its two inputs.

    The scales are computed here. Of "none" it is the identity.
    """
    r1, r0 = (1 / norm_scale(x, kind, eps) for x in (first, second))
    mean = (first + second) / 2
    centred = kind == "layer"
    mean = mean - mean.mean(-1, keepdim=True) if centred else mean
    bend = -2 * r1.square() * r0.square() / (r1 + r0) / first.shape[-1]
    bend = torch.zeros_like(bend) if kind == "none" else bend
    return NormSecant(mean, (r1 + r0) / 2, bend, norm.gain.detach(), centred)


@dataclass(frozen=True)
class SoftmaxSecant:
    """Secant of a softmax between two rows of scores.

    It is M = diag(l) − l lᵀ / Σl, where l are the logarithmic means of the probabilities.

    log p = s − logsumexp(s), so that with l = Δp / Δ(log p), the logarithmic mean of the two probabilities,

        Δpᵢ = lᵢ (Δsᵢ − Δlse),    and ΣΔp = 0 gives Δlse = Σ lⱼ Δsⱼ / Σ lⱼ.

    Exact, symmetric, blind to a constant added to the scores, and the Jacobian diag(p) − p pᵀ where the runs coincide.
    Keys that are masked in both runs have l = 0. `sink` is the l of a sink, which has a score that does not change.
    """

    weight: Float[Tensor, "*batch key"]
    sink: Float[Tensor, "*batch 1"] | None = None

    def pull(self, covector: Float[Tensor, "*batch key"]) -> Float[Tensor, "*batch key"]:
        """Return M times a covector on the pattern: one on the scores.

        Or of a change of scores, one of patterns.
        """
        weighted, total = self.weight * covector, self.weight.sum(-1, keepdim=True)
        total = total if self.sink is None else total + self.sink
        mean = weighted.sum(-1, keepdim=True) / total.clamp_min(torch.finfo(total.dtype).tiny)
        return weighted - self.weight * mean

    def map(self, f: Callable[[Tensor], Tensor]) -> SoftmaxSecant:
        """Return the secant with `f` applied to what depends on the place.

        Such as an index, or a new axis.
        """
        return SoftmaxSecant(f(self.weight), None if self.sink is None else f(self.sink))


def softmax_secant(
    first: Float[Tensor, "*batch n_head query key"],
    second: Float[Tensor, "*batch n_head query key"],
    sinks: Float[Tensor, " n_head"] | None = None,
) -> SoftmaxSecant:
    """Return the secant of the softmax between two rows of masked scores.

    They are −inf where a query may not look.
    """
    if sinks is not None:
        first, second = with_sinks(first, sinks), with_sinks(second, sinks)
    weight = logarithmic_mean(first.double().log_softmax(-1), second.double().log_softmax(-1)).to(first)
    return SoftmaxSecant(weight) if sinks is None else SoftmaxSecant(weight[..., :-1], weight[..., -1:])


def logarithmic_mean(log1: Float[Tensor, "*shape"], log0: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Compute the logarithmic mean of numbers given by their logarithms.

    (p₁ − p₀) / (log p₁ − log p₀), in float64; p where they agree.
    """
    half = ((log1 - log0) / 2).nan_to_num()
    p1, p0 = log1.exp(), log0.exp()
    near = (p1 * p0).sqrt() * (1 + half.square() / 6)
    apart = (p1 - p0) / (2 * torch.where(half == 0, 1.0, half))
    return torch.where(half.abs() < CLOSE, near, apart)
