"""How alike a dictionary's directions are, and what chance gives."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.coding import random_dictionary
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


def geometry(dictionary: Float[Tensor, "atoms d"], *, seed: int, block: int = 2048) -> Geometry:
    """`Geometry` of the rows of `dictionary`; a row of zeros has cosine 0 with every other."""
    norm = dictionary.norm(dim=1)
    unit = dictionary / norm.clamp_min(1e-12)[:, None]
    found = [_nearest(unit[start : start + block], unit, start) for start in range(0, len(unit), block)]
    nearest, cosine = (torch.cat(part).cpu().numpy() for part in zip(*found, strict=True))
    return Geometry(nearest, cosine, norm.cpu().numpy(), _chance(len(dictionary), dictionary.shape[1], seed))


def _nearest(part: Tensor, unit: Tensor, start: int) -> tuple[Tensor, Tensor]:
    cosine = part @ unit.T
    rows = torch.arange(len(part), device=part.device)
    cosine[rows, rows + start] = 0
    nearest = cosine.abs().argmax(1)
    return nearest, cosine[rows, nearest]


def _chance(atoms: int, d: int, seed: int) -> float:
    """The mean over random directions of the largest |cos| with the `atoms - 1` others."""
    draw = torch.Generator().manual_seed(apart(seed, "coherence"))
    unit = random_dictionary(atoms, d, generator=draw)
    return float(_nearest(unit[:SAMPLED], unit, 0)[1].abs().mean())
