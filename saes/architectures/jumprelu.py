"""JumpReLU (arXiv 2407.14435).

It has a learned threshold per latent, and a penalty on the number of active latents.

    f = pre [pre > θ],  pre = x·encoder + b_enc        loss: |x̂ − y|² + λ Σ_j [pre_j > θ_j] + dead-latent loss

The step function has no useful derivative; its straight-through estimate in θ is −1/ε inside the window |pre − θ| < ε/2
(and −θ/ε for f). Dead latents have the loss c Σ_j relu(θ_j − pre_j) |decoder_j| (Anthropic, January 2025), which
raises their pre-activations. Its gradient is the same for all inputs on which the latent does not fire, so that it
costs one row sum.
"""

from __future__ import annotations

import torch
from torch import Tensor

from saes.architectures.base import Architecture, Batch, Final, StepResult, Weights
from saes.kernels.select import above
from saes.kernels.support import Sparse, Support, Values


def jump(pre: Tensor, threshold: Tensor) -> Tensor:
    """Return relu(pre) if pre exceeds the threshold, else 0.

    >>> jump(torch.tensor([0.5, 2.0]), torch.tensor(1.0)).tolist()
    [0.0, 2.0]
    """
    return torch.relu(pre) * (pre > threshold)


def jump_pairs(pre: Tensor, threshold: Tensor) -> tuple[Sparse, Values]:
    """Return the pairs at which pre exceeds the threshold and zero.

    Also returns the values of pre there.

    >>> support, values = jump_pairs(torch.tensor([[0.5, 3.0]]), torch.tensor([1.0, 1.0]))
    >>> support.columns.tolist(), values.tolist()
    ([1], [3.0])
    """
    return above(pre, threshold.clamp(min=0.0))


class JumpReLU(Architecture):
    """JumpReLU architecture (arXiv 2407.14435).

    >>> JumpReLU().latents, JumpReLU().sparse
    (('b_enc', 'threshold'), True)
    """

    latents = ("b_enc", "threshold")
    sparse = True

    def activate(self, z: Tensor, final: Final) -> Tensor:
        """Return z + b_enc if it exceeds the threshold, else 0."""
        return jump(z + final.tensors["b_enc"], final.tensors["threshold"])

    def pairs(self, z: Tensor, final: Final) -> tuple[Sparse, Values]:
        """Return the pairs at which z + b_enc exceeds the threshold.

        Also returns the values there. Overwrites z.
        """
        return jump_pairs(z.add_(final.tensors["b_enc"]), final.tensors["threshold"])

    def start(self, quantile: Tensor) -> Weights:
        """Return thresholds that `start_density` of the inputs exceed."""
        return {"b_enc": torch.zeros_like(quantile), "threshold": quantile.clamp(min=0.0)}

    def step(self, batch: Batch) -> StepResult:
        """Run the forward and backward pass of a batch."""
        weights, width = batch.weights, batch.config.bandwidth
        threshold = weights["threshold"]
        support, shifted = batch.active(weights["b_enc"] - threshold + width / 2)
        excess = shifted - width / 2  # pre - threshold
        reached = support.some(excess >= 0)  # many pairs are in the window below the threshold
        code, over = support.where(reached), support.pick(excess, reached)
        fires = over > 0
        f = torch.relu(over + code.of_latents(threshold)) * fires
        residual = batch.reconstruct(code, f).sub_(batch.y)
        outer = residual * (2 * batch.unit)
        d_f = support.at(outer, weights["decoder"])
        window = (excess.abs() < width / 2).to(f.dtype)
        penalty = batch.sparsity * batch.unit
        d_code = support.pick(d_f, reached)
        d_pre = d_code * (f > 0)
        pull = _pull(batch, code, support.pick(excess >= 0, reached), over)
        gradients = batch.gradients(code, d_pre if pull is None else d_pre + pull[0], code, f, outer)
        gradients["b_enc"] = code.sum_inputs(d_pre)
        below = threshold * support.sum_inputs(window * d_f) + penalty * support.sum_inputs(window)
        gradients["threshold"] = below / -width
        fired = code.sum_inputs(fires.to(f.dtype))
        losses = {"sparsity": penalty * fired.sum()}
        if pull is not None:
            losses["auxiliary"] = _apply(pull, batch, code, gradients)
        return StepResult(gradients, code.sum_inputs(f * d_code), fired, residual, losses)


def _pull(batch: Batch, support: Support, reached: Values, excess: Values) -> tuple[Tensor, Tensor, Tensor] | None:
    """Compute the dead-latent loss of the firing pairs.

    Returns gradient in pre of the firing pairs, weight per latent, excess of the pairs. `reached` are the pairs at
    which pre reaches the threshold, `excess` is pre − θ there.

    The gradient is −weight for inputs on which the latent does not fire. It is written as −weight everywhere
    (`_apply`) plus weight at the firing pairs, all of which are in the support.
    """
    if batch.dead is None or batch.config.pre_act == 0:
        return None
    norms = torch.linalg.vector_norm(batch.weights["decoder"], dim=1)
    weight = batch.config.pre_act * batch.unit * norms * batch.dead
    loud = support.of_latents(weight) * reached
    return loud, weight, loud * excess


def _apply(pull: tuple[Tensor, Tensor, Tensor], batch: Batch, support: Support, gradients: dict[str, Tensor]) -> Tensor:
    """Add the dead-latent loss on all inputs to `gradients`.

    Returns the loss.
    """
    loud, weight, excess = pull
    n, sum_x, weights = len(batch.x), batch.x.sum(0), batch.weights
    net = support.sum_inputs(loud) - n * weight
    rows = weight.nonzero().squeeze(1)
    gradients["encoder"].index_add_(0, rows, -weight[rows, None] * sum_x)
    gradients["b_enc"] += net
    gradients["threshold"] -= net
    silent = n * (weights["threshold"] - weights["b_enc"])[rows] - weights["encoder"][rows] @ sum_x
    return (weight[rows] * silent).sum() + support.sum_inputs(excess).sum()
