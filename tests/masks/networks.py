"""A small perceptron that learns a planted function, for tests of masks; several instances at once."""

import torch

from interp.toy.networks import perceptron, run_perceptron

SIZES = (6, 16, 16, 2)


def network(seeds=(0, 1), sizes=SIZES, *, bias=False):
    return perceptron(sizes, seeds, bias=bias, gain=2.0)


def planted(x):
    """Of six inputs two matter."""
    return torch.stack([x[..., 0].abs(), x[..., 1].relu()], dim=-1)


def batch(step, count=128):
    generator = torch.Generator().manual_seed(step)
    return torch.randn(1, count, 6, generator=generator)


def loss(weights, step=0):
    x = batch(step)
    return (run_perceptron(weights, x, activation="relu") - planted(x)).square().mean((1, 2))
