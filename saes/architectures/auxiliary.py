"""AuxK (arXiv 2406.04093): dead latents learn to reconstruct what the living left over.

    z = relu of the k_aux largest pre-activations among dead latents,   loss: α |Σ_j z_j decoder_j − (y − x̂)|²

It acts on dead latents only, so Adam, which divides by the gradient's own size, makes their step nearly independent
of α and of the number of inputs it is measured on. 256 of them are enough: every second, fourth, ... at most 16th
input is taken, and the loss multiplied by as many, so that its expectation stays.
"""

from __future__ import annotations

import torch

from saes.architectures.base import Batch, Found

EVERY, INPUTS = 16, 256
"""At most every 16th input is measured on, and fewer are left out where less than 256 would remain."""


def revive(batch: Batch, found: Found) -> None:
    """Add the auxiliary loss and its gradients to `found`."""
    if batch.dead is None or batch.config.auxiliary == 0:
        return
    weights, rows = batch.weights, batch.dead.nonzero().squeeze(1)
    every = _stride(len(batch.x) * (batch.group.size if batch.group else 1))
    x, left = batch.x[::every], -found.residual[::every]
    encoder, decoder = weights["encoder"][rows], weights["decoder"][rows]
    z = torch.relu_(torch.addmm(weights["b_enc"][rows], x, encoder.T))
    k = batch.config.auxiliary_k or max(batch.y.shape[1] // 2, 1)
    if k < len(rows):
        z = torch.zeros_like(z).scatter_(1, *reversed(z.topk(k, dim=1, sorted=False)))
    difference = z @ decoder - left
    scale = batch.config.auxiliary * batch.unit * len(batch.x) / len(x)
    outer = difference * (2 * scale)
    d_z = outer @ decoder.T * (z > 0)
    found.gradients["encoder"].index_add_(0, rows, d_z.T @ x)
    found.gradients["b_enc"].index_add_(0, rows, d_z.sum(0))
    d_decoder = z.T @ outer
    found.gradients["decoder"].index_add_(0, rows, d_decoder)
    found.parallel.index_add_(0, rows, (d_decoder * decoder).sum(1))
    found.losses["auxiliary"] = scale * difference.square().sum()


def _stride(n: int) -> int:
    """The power of two that leaves at least `INPUTS` of n inputs, at most `EVERY`: it divides each process's part."""
    stride = 1
    while stride < EVERY and n >= 2 * stride * INPUTS:
        stride *= 2
    return stride
