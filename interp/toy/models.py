"""Toy models and their gradients, written out for many instances in one product.

Shapes are (instances, features, batch), the batch last: the products are then of few rows and long columns, eight
times as fast for five features as the usual order. Every sum over the batch is a matrix product, whose order of
summation for one instance does not depend on how many others there are (on one CPU thread), so that an instance
trained alone is bit-identical to the same instance among hundreds.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Architecture:
    """Form of a toy model.

    The map x -> h = f(E x) -> y = g(D h + b).

    f and g are ReLU or nothing, and D = Eᵀ when tied.
    """

    tied: bool
    hidden_relu: bool
    output_relu: bool
    absolute: bool = False
    """The target is |x| instead of x."""


ARCHITECTURES = {
    "relu": Architecture(tied=True, hidden_relu=False, output_relu=True),
    "linear": Architecture(tied=True, hidden_relu=False, output_relu=False),
    "relu_hidden": Architecture(tied=True, hidden_relu=True, output_relu=True),
    "absolute": Architecture(tied=False, hidden_relu=True, output_relu=True, absolute=True),
}


@dataclass(frozen=True)
class Weights:
    """Weights of many instances, as views of one tensor (instances, parameters).

    The optimiser steps that tensor.
    """

    flat: Float[Tensor, "instances parameters"]
    encoder: Float[Tensor, "instances hidden features"]
    decoder: Float[Tensor, "instances features hidden"]
    """Of a tied model: the transposed view of the encoder."""
    bias: Float[Tensor, "instances features 1"]


def layout(flat: Float[Tensor, "instances parameters"], features: int, hidden: int, *, tied: bool) -> Weights:
    """Return `Weights` over `flat`: encoder, decoder unless tied, bias."""
    size, count = features * hidden, len(flat)
    encoder = flat[:, :size].view(count, hidden, features)
    decoder = encoder.transpose(1, 2) if tied else flat[:, size : 2 * size].view(count, features, hidden)
    return Weights(flat, encoder, decoder, flat[:, -features:].view(count, features, 1))


def parameters(features: int, hidden: int, *, tied: bool) -> int:
    """Return how many numbers one instance has."""
    return features * hidden * (1 if tied else 2) + features


def initialise(
    architecture: Architecture, features: int, hidden: int, *, starts: range, seed: int
) -> Float[Tensor, "starts parameters"]:
    """Return normal weights of deviation sqrt(2/(features + hidden)), zero biases (Glorot).

    There is a generator for each start.

    (Glorot initialisers called on the whole 3-D tensor, as toy-model code often does, read the number of instances as
    a fan and give every instance a scale that depends on the number of instances.)
    """
    rows = []
    for start in starts:
        # Two 31-bit words, so that (seed, start) never meets (seed + 1, start - 1).
        generator = torch.Generator().manual_seed((seed << 31) + start)
        matrices = torch.randn(parameters(features, hidden, tied=architecture.tied) - features, generator=generator)
        rows.append(torch.cat([matrices * (2 / (features + hidden)) ** 0.5, torch.zeros(features)]))
    return torch.stack(rows)


def target(architecture: Architecture, x: Tensor) -> Tensor:
    """Return the desired output of a model for the inputs `x`."""
    return x.abs() if architecture.absolute else x


def forward(
    architecture: Architecture, weights: Weights, x: Float[Tensor, "instances features batch"]
) -> tuple[Float[Tensor, "instances hidden batch"], Float[Tensor, "instances features batch"]]:
    """Return the hidden layer and the output.

    `x` may have one instance for all.
    """
    x = x.expand(len(weights.encoder), -1, -1)
    h = torch.bmm(weights.encoder, x)
    h = h.relu_() if architecture.hidden_relu else h
    # One product for weights and bias: the hidden layer gets a last row of ones (see `gradient`).
    h = torch.cat([h, torch.ones_like(h[:, :1])], dim=1)
    y = torch.bmm(torch.cat([weights.decoder, weights.bias], dim=2), h)
    return h, y.relu_() if architecture.output_relu else y


def gradient(
    architecture: Architecture,
    weights: Weights,
    into: Weights,
    x: Float[Tensor, "instances features batch"],
    weight: Float[Tensor, "instances features 1"],
) -> Float[Tensor, "instances features batch"]:
    """Write the gradient of the loss into `into`; return the errors.

    The errors are y − target.

    The loss is Σ_features,batch weight/2 (y − target)².

    Equation: g = weight (y − t) [y > 0]; dD = g hᵀ, db = g 1, dh = Dᵀ g [h > 0], dE = dh xᵀ (+ dDᵀ when tied).
    """
    hidden = weights.encoder.shape[1]
    h, y = forward(architecture, weights, x)
    error = y - target(architecture, x)
    g = error * weight
    if architecture.output_relu:
        g = torch.ops.aten.threshold_backward(g, y, 0)
    d_decoder = torch.bmm(g, h.transpose(1, 2))
    d_hidden = torch.bmm(weights.decoder.transpose(1, 2), g)
    if architecture.hidden_relu:
        d_hidden = torch.ops.aten.threshold_backward(d_hidden, h[:, :hidden], 0)
    d_encoder = torch.bmm(d_hidden, x.transpose(1, 2))
    into.bias.copy_(d_decoder[:, :, hidden:])
    if architecture.tied:
        into.encoder.copy_(d_encoder + d_decoder[:, :, :hidden].transpose(1, 2))
    else:
        into.encoder.copy_(d_encoder)
        into.decoder.copy_(d_decoder[:, :, :hidden])
    return error
