"""Scores of weights: one score per weight, and the lowest are pruned first."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from interp.masks.training import Objective, Weights, gradients


def magnitude(weights: Weights) -> Weights:
    """Return the magnitude |θ| of every weight.

    >>> magnitude({"w": torch.tensor([[-2.0, 1.0]])})["w"].tolist()
    [[2.0, 1.0]]
    """
    return {name: tensor.abs() for name, tensor in weights.items()}


def random(weights: Weights, *, seed: int = 0) -> Weights:
    """Return uniform scores in [0, 1), a control for other scores.

    >>> random({"w": torch.ones(1, 3)})
    {'w': tensor([[0.496, 0.768, 0.088]])}
    """
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.rand(w.shape, generator=generator).to(w) for name, w in weights.items()}


def snip(weights: Weights, loss: Objective) -> Weights:
    """Return SNIP scores |θ ∂L/∂θ|.

    The score is the first-order change of the loss when the weight is removed (SNIP, arXiv 1810.02340).

    >>> snip({"w": torch.tensor([[1.0, 2.0]])}, lambda w: w["w"].square().sum(1))  # |θ · 2θ|
    {'w': tensor([[2., 8.]])}
    """
    slopes = gradients(weights, loss)
    return {name: (weights[name] * slopes[name]).abs() for name in weights}


def grasp(weights: Weights, loss: Objective) -> Weights:
    """Return GraSP scores θ ⊙ H g.

    The score is the loss of gradient norm when the weight is removed (GraSP, arXiv 2002.07376).

    Removing θ changes ‖g‖² by −2 θ (H g) to first order, with g the gradient and H the Hessian of the loss.

    >>> grasp({"w": torch.tensor([[1.0, 2.0]])}, lambda w: w["w"].square().sum(1))  # θ · 2 · 2θ
    {'w': tensor([[ 4., 16.]])}
    """
    leaves = {name: tensor.detach().requires_grad_() for name, tensor in weights.items()}
    first = torch.autograd.grad(loss(leaves).sum(), list(leaves.values()), create_graph=True, allow_unused=True)
    norm = sum((slope.square().sum() for slope in first if slope is not None), torch.zeros(()))
    second = torch.autograd.grad(norm / 2, list(leaves.values()), allow_unused=True)
    return {
        name: torch.zeros_like(leaf) if curve is None else (leaf * curve).detach()
        for (name, leaf), curve in zip(leaves.items(), second, strict=True)
    }


def synflow(weights: Weights, flow: Objective) -> Weights:
    """Return SynFlow scores |θ| ∂R/∂|θ|, which use no data.

    R is the flow at the weights' magnitudes (SynFlow, arXiv 2006.05467).

    `flow` maps weights to the summed output for an input of ones, as the sum over all paths of the products of their
    weights. Conservation: without biases every layer's scores sum to R, and the scores into a hidden neuron sum to
    the scores out of it. Prune in many rounds (100 in the paper): then no layer is lost before the others.

    >>> weights = {"in": torch.tensor([[1.0, -2.0]]), "out": torch.tensor([[3.0, 1.0]])}
    >>> synflow(weights, lambda w: (w["in"] * w["out"]).sum(1))
    {'in': tensor([[3., 2.]], dtype=torch.float64), 'out': tensor([[3., 2.]], dtype=torch.float64)}
    """
    size = {name: tensor.abs().double() for name, tensor in weights.items()}
    slopes = gradients(size, flow)
    return {name: size[name] * slopes[name] for name in weights}


def flow_by_tensor(scores: Weights) -> dict[str, Float[Tensor, " instances"]]:
    """Return the sum of every tensor's scores.

    It is equal for all layers of a network without biases under `synflow`.

    >>> flow_by_tensor({"in": torch.tensor([[3.0, 2.0]]), "out": torch.tensor([[3.0, 2.0]])})
    {'in': tensor([5.]), 'out': tensor([5.])}
    """
    return {name: score.flatten(1).sum(1) for name, score in scores.items()}
