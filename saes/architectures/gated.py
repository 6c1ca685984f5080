"""Gated (arXiv 2404.16014).

One path decides which latents fire, another one how strongly.

π = x·encoder + b_gate,  m = exp(r_mag) x·encoder + b_mag,  f = [π > 0] relu(m)
loss: |x̂(f) − y|² + λ Σ relu(π) + |x̂(relu(π)) − y|², the last term with fixed decoder and output biases
"""

from __future__ import annotations

import torch
from torch import Tensor

from saes.architectures.base import Architecture, Batch, Final, StepResult, Weights


class Gated(Architecture):
    """Gated architecture (arXiv 2404.16014).

    >>> Gated().latents, Gated().sparse
    (('b_gate', 'b_mag', 'r_mag'), True)
    """

    latents = ("b_gate", "b_mag", "r_mag")
    sparse = True

    def activate(self, z: Tensor, final: Final) -> Tensor:
        """Return [z + b_gate > 0] relu(exp(r_mag) z + b_mag)."""
        return torch.relu(z * final.tensors["r_mag"].exp() + final.tensors["b_mag"]) * (z + final.tensors["b_gate"] > 0)

    def start(self, quantile: Tensor) -> Weights:
        """Return initial parameters, equal for both paths.

        They fire on `start_density` of the inputs.
        """
        return {"b_gate": -quantile, "b_mag": -quantile, "r_mag": torch.zeros_like(quantile)}

    def step(self, batch: Batch) -> StepResult:
        """Run the forward and backward pass of a batch."""
        weights, decoder = batch.weights, batch.weights["decoder"]
        support, pre = batch.active(weights["b_gate"])
        gate, gain = torch.relu(pre), support.of_latents(weights["r_mag"].exp())
        scaled = (pre - support.of_latents(weights["b_gate"])) * gain
        f = torch.relu(scaled + support.of_latents(weights["b_mag"])) * (gate > 0)
        residual = batch.reconstruct(support, f).sub_(batch.y)
        by_gate = batch.reconstruct(support, gate).sub_(batch.y)
        outer = residual * (2 * batch.unit)
        d_f = support.at(outer, decoder)
        d_mag = d_f * (f > 0)
        d_gate = (support.at(by_gate * (2 * batch.unit), decoder) + batch.sparsity * batch.unit) * (gate > 0)
        d_pre = d_gate + d_mag * gain
        gradients = batch.gradients(support, d_pre, support, f, outer)
        gradients["b_gate"] = support.sum_inputs(d_gate)
        gradients["b_mag"] = support.sum_inputs(d_mag)
        gradients["r_mag"] = support.sum_inputs(d_mag * scaled)
        return StepResult(
            gradients,
            parallel=support.sum_inputs(f * d_f),
            fired=support.sum_inputs((f > 0).to(f.dtype)),
            residual=residual,
            losses={
                "sparsity": batch.sparsity * batch.unit * gate.sum(),
                "auxiliary": batch.unit * by_gate.square().sum(),
            },
        )
