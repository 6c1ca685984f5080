"""Small networks as functions of a dictionary of weights, many instances in one product.

Weights are named tensors with instances along the first axis, drawn by one generator per instance, so that an instance
starts the same in every batch.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

Weights = dict[str, Tensor]
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"silu": F.silu, "relu": torch.relu, "identity": lambda x: x}
NEGATIVE = -1e9


def draw(shapes: dict[str, tuple[tuple[int, ...], float]], seeds: Sequence[int]) -> Weights:
    """Draw normal weights, an instance for each seed.

    They have the given shapes and deviations.

    Zeros where the deviation is 0.
    """
    rows: dict[str, list[Tensor]] = {name: [] for name in shapes}
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        for name, (shape, deviation) in shapes.items():
            rows[name].append(torch.randn(shape, generator=generator) * deviation)
    return {name: torch.stack(tensors) for name, tensors in rows.items()}


def perceptron(sizes: Sequence[int], seeds: Sequence[int], *, bias: bool = True, gain: float = 1.0) -> Weights:
    """Return weights "k.weight" (instances, out, in) and zero biases "k.bias".

    The deviation is sqrt(gain / in).
    """
    shapes: dict[str, tuple[tuple[int, ...], float]] = {}
    for layer, (before, after) in enumerate(itertools.pairwise(sizes)):
        shapes[f"{layer}.weight"] = ((after, before), (gain / before) ** 0.5)
        if bias:
            shapes[f"{layer}.bias"] = ((after,), 0.0)
    return draw(shapes, seeds)


def run_perceptron(
    weights: Weights, x: Float[Tensor, "instances batch inputs"], *, activation: str = "silu"
) -> Float[Tensor, "instances batch outputs"]:
    """Run a perceptron on `x`, which may have one instance for all.

    The output is W_n f(… f(W_1 x + b_1) …) + b_n.
    """
    names = [name for name in weights if name.endswith(".weight")]
    hidden = x.expand(len(weights[names[0]]), -1, -1)
    for name in names:
        matrix, bias = weights[name].transpose(1, 2), weights.get(name.replace("weight", "bias"))
        hidden = torch.bmm(hidden, matrix) if bias is None else torch.baddbmm(bias.unsqueeze(1), hidden, matrix)
        if name != names[-1]:
            hidden = ACTIVATIONS[activation](hidden)
    return hidden


def flow(weights: Weights) -> Float[Tensor, " instances"]:
    """Return the sum over all paths of the products of weights.

    Paths run through a perceptron.

    Biases are left out.
    """
    matrices = [tensor for name, tensor in weights.items() if name.endswith(".weight")]
    signal = torch.ones_like(matrices[0][:, 0, :]).unsqueeze(2)
    for matrix in matrices:
        signal = torch.bmm(matrix, signal)
    return signal.sum((1, 2))
