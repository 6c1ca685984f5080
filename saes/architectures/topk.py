"""TopK (arXiv 2406.04093): the k largest pre-activations of each input fire.

f = relu(x·encoder + b_enc) at the k largest, 0 elsewhere;  loss: |x̂ − y|² + AuxK (`auxiliary`)
"""

from __future__ import annotations

import torch
from torch import Tensor

from saes.architectures.auxiliary import revive
from saes.architectures.base import Architecture, Batch, Final, StepResult
from saes.kernels.select import top_rows
from saes.kernels.support import Sparse, Values


class TopK(Architecture):
    """TopK architecture (arXiv 2406.04093).

    >>> TopK().latents, TopK().sparse
    (('b_enc',), False)
    """

    def activate(self, z: Tensor, final: Final) -> Tensor:
        """Return the k largest of z + b_enc, and 0 elsewhere.

        Values that are not positive are also 0.

        The values are multiplied by the decoder norms if these count in the selection.
        """
        pre = self._scaled(z + final.tensors["b_enc"], final)
        values, indices = pre.topk(final.settings["k"], dim=-1, sorted=False)
        return torch.zeros_like(pre).scatter_(-1, indices, torch.relu(values))

    def pairs(self, z: Tensor, final: Final) -> tuple[Sparse, Values]:
        """Return the pairs of the k largest positive z + b_enc.

        Of the k largest values, those that are positive count. Also returns their values. Overwrites z.
        """
        pre = self._scaled(z.add_(final.tensors["b_enc"]), final)
        support, values = top_rows(pre, final.settings["k"])
        fires = support.some(values > 0)
        return support.where(fires), values[fires]

    @staticmethod
    def _scaled(pre: Tensor, final: Final) -> Tensor:
        if not final.settings.get("rescale_acts_by_decoder_norm"):
            return pre
        return pre * torch.linalg.vector_norm(final.tensors["W_dec"], dim=1)

    def choose(self, batch: Batch) -> tuple[Sparse, Values]:
        """Return the pairs (input, latent) that may fire, and their pre-activations."""
        support, pre = top_rows(batch.pre(batch.weights["b_enc"]), batch.config.k)
        return support, batch.exact(support, pre, batch.weights["b_enc"])

    def step(self, batch: Batch) -> StepResult:
        """Run the forward and backward pass of a batch."""
        weights, (support, pre) = batch.weights, self.choose(batch)
        f = torch.relu(pre)
        residual = batch.reconstruct(support, f).sub_(batch.y)
        outer = residual * (2 * batch.unit)
        d_f = support.at(outer, weights["decoder"])
        d_pre = d_f * (f > 0)
        gradients = batch.gradients(support, d_pre, support, f, outer)
        gradients["b_enc"] = support.sum_inputs(d_pre)
        result = StepResult(
            gradients,
            parallel=support.sum_inputs(f * d_f),
            fired=support.sum_inputs((f > 0).to(f.dtype)),
            residual=residual,
            losses={},
        )
        revive(batch, result)
        return result
