"""Standard: ReLU and an L1 penalty weighted by decoder norms.

Source: Anthropic, April 2024 update; arXiv 2309.08600.

    f = relu(x·encoder + b_enc)        loss: |x̂ − y|² + λ Σ_j f_j |decoder_j|

The decoder norms are free; they are folded into the encoder at the end, which changes no reconstruction.
"""

from __future__ import annotations

import torch
from torch import Tensor

from saes.architectures.base import Architecture, Batch, Final, StepResult, Weights
from saes.kernels.select import above
from saes.kernels.support import Sparse, Values


class Standard(Architecture):
    """Standard architecture: ReLU and L1 penalty.

    >>> Standard().latents, Standard().sparse
    (('b_enc',), True)
    """

    unit_decoder = False
    sparse = True

    def activate(self, z: Tensor, final: Final) -> Tensor:
        """Return relu(z + b_enc)."""
        return torch.relu(z + final.tensors["b_enc"])

    def pairs(self, z: Tensor, final: Final) -> tuple[Sparse, Values]:
        """Return the pairs at which z + b_enc is positive.

        Also returns the values there. Overwrites z.
        """
        return above(z.add_(final.tensors["b_enc"]), 0.0)

    def fill(self, code: Tensor, z: Tensor, final: Final) -> None:
        """Write relu(z + b_enc) into a matrix of zeros. Overwrites z."""
        torch.clamp_min(z.add_(final.tensors["b_enc"]), 0.0, out=code)

    def start(self, quantile: Tensor) -> Weights:
        """Return biases with which each latent fires on `start_density` of the inputs."""
        return {"b_enc": -quantile}

    def step(self, batch: Batch) -> StepResult:
        """Run the forward and backward pass of a batch."""
        weights = batch.weights
        support, pre = batch.active(weights["b_enc"])
        f = torch.relu(pre)
        residual = batch.reconstruct(support, f).sub_(batch.y)
        outer = residual * (2 * batch.unit)
        norms = torch.linalg.vector_norm(weights["decoder"], dim=1)
        penalty = batch.sparsity * batch.unit
        d_f = support.at(outer, weights["decoder"])
        d_pre = (d_f + support.of_latents(norms * penalty)) * (f > 0)
        gradients = batch.gradients(support, d_pre, support, f, outer)
        total = support.sum_inputs(f)
        gradients["decoder"].addcmul_(weights["decoder"], (penalty * total / norms).unsqueeze(1))
        gradients["b_enc"] = support.sum_inputs(d_pre)
        return StepResult(
            gradients,
            parallel=support.sum_inputs(f * d_f) + penalty * total * norms,
            fired=support.sum_inputs((f > 0).to(f.dtype)),
            residual=residual,
            losses={"sparsity": penalty * (total * norms).sum()},
        )
