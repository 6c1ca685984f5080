"""The secant of one norm over the queries, or the keys, of all heads at once (OLMo 2 and 3, OLMoE).

A head's query then depends on what every head projects from the stream that it reads, through the scale that all of
them share. With p_h = x W_h + b_h, r = 1 / RMS(p) over all heads, bars for means of the two runs and Δ for their
difference,

    Δq_h = gain_h ⊙ (r̄ Δp_h + p̄_h Δr),    Δr = −r₁² r₀² / (r₁ + r₀) · 2 mean(p̄ ⊙ Δp) = slope · Δx,

the mean over all heads. The change of a head's query is a linear map of the change of the stream that this head reads,
as with a norm for each head: the change of the scale by a component is part of its edge into each head.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from interp.model.arithmetic import heads_scale


@dataclass(frozen=True)
class JointNormSecant:
    """Secant of a norm over all heads.

    `slope` is that of 1 / scale in the normalised stream.
    """

    mean: Float[Tensor, "*batch n_head n_token d_head"]
    inverse: Float[Tensor, "*batch n_head n_token 1"]
    gain: Float[Tensor, "*batch n_head n_token d_head"]
    slope: Float[Tensor, "*batch n_token d_model"]

    def push(
        self, projected: Float[Tensor, "*rows d_head"], stream: Float[Tensor, "*rows d_model"]
    ) -> Float[Tensor, "*rows d_head"]:
        """Return the change of one head's output at one position.

        For changes of its projection and of the stream.
        """
        return self.gain * (self.inverse * projected + self.mean * (stream @ self.slope)[..., None])

    def pull(self, covector: Float[Tensor, "*batch d_head"]) -> Float[Tensor, "*batch d_head"]:
        """Return covectors on the heads' own projections, with the scale constant."""
        return self.gain * self.inverse * covector

    def on_scale(self, covector: Float[Tensor, "*batch d_head"]) -> Float[Tensor, "*batch 1"]:
        """Return covectors on 1 / scale, which `slope` takes to the stream."""
        return (self.gain * self.mean * covector).sum(-1, keepdim=True)

    def map(self, f: Callable[[Tensor], Tensor]) -> JointNormSecant:
        """Return the norm with `f` applied to what depends on the head.

        `slope` stays.
        """
        return JointNormSecant(f(self.mean), f(self.inverse), f(self.gain), self.slope)

    def at(self, pair: int) -> JointNormSecant:
        """Return one pair of a batch, as views."""
        return replace(self.map(lambda x: x[pair]), slope=self.slope[pair])


def joint_norm_secant(
    first: Float[Tensor, "*batch n_head n_token d_head"],
    second: Float[Tensor, "*batch n_head n_token d_head"],
    gain: Float[Tensor, "n_head 1 d_head"],
    weight: Float[Tensor, "n_head d_model d_head"],
    eps: float,
) -> JointNormSecant:
    """Compute the secant of a joint norm between two runs' projections.

    `weight` made the projections of the normalised stream.
    """
    r1, r0 = (1 / heads_scale(x, eps, joint=True) for x in (first, second))
    mean = (first + second) / 2
    bend = -2 * r1.square() * r0.square() / (r1 + r0) / (mean.shape[-3] * mean.shape[-1])
    slope = bend[..., 0, :, :] * torch.einsum("...htd,hmd->...tm", mean, weight.detach())
    return JointNormSecant(mean, (r1 + r0) / 2, gain.detach().expand_as(mean), slope)
