"""How alike a dictionary's directions are, and what chance gives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.arguments import checked
from interp.coding import nearest, random_dictionary
from interp.errors import UsageError
from saes.evaluation.scores import apart

SAMPLED = 512
"""Directions from which chance is estimated."""


@dataclass(frozen=True)
class Geometry:
    """The nearest other direction of each, by |cos|, their signed cosine, and the mean nearest |cos| of random ones."""

    nearest: Int[np.ndarray, " atoms"]
    cosine: Float[np.ndarray, " atoms"]
    norm: Float[np.ndarray, " atoms"]
    chance: float


@checked
def geometry(dictionary: Float[Tensor, "atoms d"], *, seed: int) -> Geometry:
    """Return the `Geometry` of the rows of `dictionary`; a row of zeros has cosine 0 with every other."""
    if not dictionary.is_floating_point() or not dictionary.numel():
        shape = tuple(dictionary.shape)
        raise UsageError(
            f"A dictionary is a matrix of floating-point numbers, not {dictionary.dtype} of shape {shape}."
        )
    norm = dictionary.norm(dim=1)
    unit = dictionary / norm.clamp_min(1e-12)[:, None]
    near = nearest(unit, unit, 1, absolute=True)
    index, cosine = (part[:, 0].cpu().numpy() for part in (near.index, near.value))
    draw = torch.Generator().manual_seed(apart(seed, "coherence"))
    chance = chance_cosine(len(dictionary), dictionary.shape[1], draw, absolute=True)
    return Geometry(index, cosine, norm.cpu().numpy(), chance)


@checked
def chance_cosine(atoms: int, d: int, draw: torch.Generator, *, absolute: bool) -> float:
    """Return the mean, over random directions, of the largest cosine (or |cosine|) with the `atoms - 1` others."""
    if atoms == 1:
        return 0.0
    unit = random_dictionary(atoms, d, generator=draw)
    largest = nearest(unit[:SAMPLED], unit, 1, absolute=absolute).value
    return float((largest.abs() if absolute else largest).mean())
