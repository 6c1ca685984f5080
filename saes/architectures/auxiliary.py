"""AuxK, the auxiliary loss of dead latents (arXiv 2406.04093).

Dead latents learn to reconstruct the residual of the other latents.

    z = relu of the k_aux largest pre-activations among dead latents,   loss: α |Σ_j z_j decoder_j − (y − x̂)|²

It acts on dead latents only. Adam divides by the size of the gradient, so that their step is nearly independent of α
and of the number of inputs. 256 inputs are enough: every second, fourth, ... at most 16th input is used, and the loss
is multiplied by that number, so that its expectation does not change.
"""

from __future__ import annotations

import torch

from saes.architectures.base import Batch, StepResult

EVERY, INPUTS = 16, 256
"""Use at most every 16th input, but at least 256 inputs."""


def revive(batch: Batch, result: StepResult) -> None:
    """Add the auxiliary loss and its gradients to a step's result."""
    if batch.dead is None or batch.config.auxiliary == 0:
        return
    weights, rows = batch.weights, batch.dead.nonzero().squeeze(1)
    every = _stride(len(batch.x) * (batch.group.size if batch.group else 1))
    x, residual = batch.x[::every], -result.residual[::every]
    encoder, decoder = weights["encoder"][rows], weights["decoder"][rows]
    z = torch.relu_(torch.addmm(weights["b_enc"][rows], x, encoder.T))
    k = batch.config.auxiliary_k or max(batch.y.shape[1] // 2, 1)
    if k < len(rows):
        z = torch.zeros_like(z).scatter_(1, *reversed(z.topk(k, dim=1, sorted=False)))
    difference = z @ decoder - residual
    scale = batch.config.auxiliary * batch.unit * len(batch.x) / len(x)
    outer = difference * (2 * scale)
    d_z = outer @ decoder.T * (z > 0)
    result.gradients["encoder"].index_add_(0, rows, d_z.T @ x)
    result.gradients["b_enc"].index_add_(0, rows, d_z.sum(0))
    d_decoder = z.T @ outer
    result.gradients["decoder"].index_add_(0, rows, d_decoder)
    result.parallel.index_add_(0, rows, (d_decoder * decoder).sum(1))
    result.losses["auxiliary"] = scale * difference.square().sum()


def _stride(n: int) -> int:
    """Return the stride between the inputs of the auxiliary loss.

    It is the largest power of two, at most `EVERY`, that leaves `INPUTS` of n inputs.

    A power of two divides the part of each process.
    """
    stride = 1
    while stride < EVERY and n >= 2 * stride * INPUTS:
        stride *= 2
    return stride
