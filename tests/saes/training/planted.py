"""Activations made of known features, and a helper that trains on them."""

from __future__ import annotations

import torch
from torch import Tensor

import saes

D, FEATURES, CHANCE = 32, 64, 0.05


def features() -> Tensor:
    """(64, 32) random unit vectors: twice as many as dimensions."""
    result = torch.randn(FEATURES, D, generator=torch.Generator().manual_seed(77_003))
    return result / result.norm(dim=1, keepdim=True)


def activations(n: int, seed: int = 1) -> Tensor:
    """(n, 32) sums of features that fire in one input of twenty, with a common offset of norm 4."""
    generator = torch.Generator().manual_seed(seed)
    fires = torch.rand(n, FEATURES, generator=generator) < CHANCE
    strength = 0.5 + torch.rand(n, FEATURES, generator=generator)
    return (fires * strength) @ features() + 0.7


def cosines(decoder: Tensor) -> Tensor:
    """(64) of each feature, the largest cosine with a decoder row."""
    rows = torch.nn.functional.normalize(decoder)
    return (features() @ rows.T).max(1).values


def fvu(sae: saes.SAE, x: Tensor, y: Tensor | None = None) -> float:
    """Fraction of variance unexplained."""
    y = x if y is None else y
    residual = (sae(x) - y).flatten(1)
    flat = y.flatten(1)
    return float(residual.square().sum() / (flat - flat.mean(0)).square().sum())
