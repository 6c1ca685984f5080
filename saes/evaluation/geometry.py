"""Similarity of a dictionary's directions, compared with chance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.arguments import checked
from interp.coding import nearest, random_dictionary
from interp.errors import UsageError
from saes.evaluation.scores import derived_seed

SAMPLED = 512
"""Number of directions from which chance is estimated."""


@dataclass(frozen=True)
class Geometry:
    """Nearest other direction of each direction, with chance.

    Attributes:
        nearest: index of the nearest other direction, by |cos|.
        cosine: signed cosine with it.
        norm: length of each direction.
        chance: mean nearest |cos| of random directions.

    Example:
        >>> geometry(torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, -2.0]]), seed=0).nearest.tolist()
        [1, 0, 1]
    """

    nearest: Int[np.ndarray, " atoms"]
    cosine: Float[np.ndarray, " atoms"]
    norm: Float[np.ndarray, " atoms"]
    chance: float


@checked
def geometry(dictionary: Float[Tensor, "atoms d"], *, seed: int) -> Geometry:
    """Return the `Geometry` of the rows of `dictionary`.

    A row of zeros has cosine 0 with every other row.

    >>> result = geometry(torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, -2.0]]), seed=0)
    >>> result.nearest.tolist(), result.cosine.astype(float).round(2).tolist()
    ([1, 0, 1], [0.71, 0.71, -0.71])
    """
    if not dictionary.is_floating_point() or not dictionary.numel():
        shape = tuple(dictionary.shape)
        raise UsageError(
            f"A dictionary is a matrix of floating-point numbers, not {dictionary.dtype} of shape {shape}."
        )
    norm = dictionary.norm(dim=1)
    unit = dictionary / norm.clamp_min(1e-12)[:, None]
    near = nearest(unit, unit, 1, absolute=True)
    index, cosine = (part[:, 0].cpu().numpy() for part in (near.index, near.value))
    draw = torch.Generator().manual_seed(derived_seed(seed, "coherence"))
    chance = chance_cosine(len(dictionary), dictionary.shape[1], draw, absolute=True)
    return Geometry(index, cosine, norm.cpu().numpy(), chance)


@checked
def chance_cosine(atoms: int, d: int, draw: torch.Generator, *, absolute: bool) -> float:
    """Compute the largest cosine that random directions have by chance.

    It is the mean, over random directions, of the largest cosine (or |cosine|) with the `atoms - 1` others.

    >>> draw = torch.Generator().manual_seed(0)
    >>> round(chance_cosine(64, 16, draw, absolute=True), 1)
    0.6
    """
    if atoms == 1:
        return 0.0
    unit = random_dictionary(atoms, d, generator=draw)
    largest = nearest(unit[:SAMPLED], unit, 1, absolute=absolute).value
    return float((largest.abs() if absolute else largest).mean())
