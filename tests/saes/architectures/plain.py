"""The loss of every architecture as its paper writes it: dense, and left to autograd."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from saes.architectures.base import Batch


class Step(torch.autograd.Function):
    """[pre > threshold], with the straight-through estimate −1/width inside the window as derivative in threshold."""

    @staticmethod
    def forward(ctx: Any, pre: Tensor, threshold: Tensor, width: float) -> Tensor:
        ctx.save_for_backward(pre, threshold)
        ctx.width = width
        return (pre > threshold).to(pre)

    @staticmethod
    def backward(ctx: Any, *gradient: Tensor) -> tuple[None, Tensor, None]:
        pre, threshold = ctx.saved_tensors
        window = ((pre - threshold).abs() < ctx.width / 2).to(pre)
        return None, -(window / ctx.width * gradient[0]).sum(0), None


class Jump(torch.autograd.Function):
    """pre [pre > threshold], with −threshold/width inside the window as derivative in threshold."""

    @staticmethod
    def forward(ctx: Any, pre: Tensor, threshold: Tensor, width: float) -> Tensor:
        ctx.save_for_backward(pre, threshold)
        ctx.width = width
        return torch.relu(pre) * (pre > threshold)

    @staticmethod
    def backward(ctx: Any, *gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        pre, threshold = ctx.saved_tensors
        window = ((pre - threshold).abs() < ctx.width / 2).to(pre)
        d_pre = gradient[0] * ((pre > threshold) & (pre > 0))
        return d_pre, -(window * threshold / ctx.width * gradient[0]).sum(0), None


def loss(batch: Batch) -> Tensor:
    """The loss of `batch` with its weights, differentiable."""
    w, config = batch.weights, batch.config
    z = batch.x @ w["encoder"].T
    if config.architecture == "standard":
        f = torch.relu(z + w["b_enc"])
        total = squares(decoded(batch, f) - batch.y) + batch.sparsity * (f * w["decoder"].norm(dim=1)).sum()
    elif config.architecture == "gated":
        gate = torch.relu(z + w["b_gate"])
        f = torch.relu(z * w["r_mag"].exp() + w["b_mag"]) * (gate > 0)
        frozen = {name: weight.detach() for name, weight in w.items()}
        by_gate = gate @ frozen["decoder"] + frozen["b_dec"]
        if "W_skip" in w:
            by_gate = by_gate + batch.x @ frozen["W_skip"].T
        total = squares(decoded(batch, f) - batch.y) + batch.sparsity * gate.sum() + squares(by_gate - batch.y)
    elif config.architecture == "jumprelu":
        total = _jumprelu(batch, z + w["b_enc"])
    else:
        total = _largest(batch, z + w["b_enc"])
    return total * batch.unit


def decoded(batch: Batch, f: Tensor) -> Tensor:
    """The reconstruction of a dense code."""
    out = f @ batch.weights["decoder"] + batch.weights["b_dec"]
    return out + batch.x @ batch.weights["W_skip"].T if "W_skip" in batch.weights else out


def squares(t: Tensor) -> Tensor:
    """Σ t²."""
    return t.square().sum()


def _jumprelu(batch: Batch, pre: Tensor) -> Tensor:
    threshold, width = batch.weights["threshold"], batch.config.bandwidth
    f = Jump.apply(pre, threshold, width)
    total = squares(decoded(batch, f) - batch.y) + batch.sparsity * Step.apply(pre, threshold, width).sum()
    if batch.dead is not None:
        below = torch.relu(threshold - pre) * batch.weights["decoder"].norm(dim=1).detach()
        total = total + batch.config.pre_act * below[:, batch.dead].sum()
    return total


def _largest(batch: Batch, pre: Tensor) -> Tensor:
    config = batch.config
    if config.architecture == "topk":
        chosen = torch.zeros_like(pre).scatter(1, pre.topk(config.k, dim=1).indices, 1.0)
    else:
        smallest = pre.reshape(-1).topk(config.k * len(pre)).values[-1]
        chosen = (pre >= smallest).to(pre)
    f = torch.relu(pre) * chosen
    prefixes = config.prefixes or (config.width,)
    inside = torch.arange(config.width)
    total = sum(squares(decoded(batch, f * (inside < m)) - batch.y) for m in prefixes) / len(prefixes)
    assert isinstance(total, Tensor)
    return total if batch.dead is None else total + _auxiliary(batch, pre, decoded(batch, f))


def _auxiliary(batch: Batch, pre: Tensor, reconstruction: Tensor) -> Tensor:
    """AuxK on every second input, times two."""
    assert batch.dead is not None
    left = (batch.y - reconstruction).detach()[::2]
    dead = torch.where(batch.dead, pre, -torch.inf)[::2]
    k = min(batch.config.auxiliary_k or batch.y.shape[1] // 2, int(batch.dead.sum()))
    values, indices = dead.topk(k, dim=1)
    z = torch.zeros_like(dead).scatter(1, indices, torch.relu(values))
    scale = batch.config.auxiliary * len(batch.x) / len(left)
    return scale * squares(z @ batch.weights["decoder"] - left)
