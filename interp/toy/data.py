"""Sparse data with known features.

One pair of uniform draws (which, how much) serves every cell: cell c sees the same draws cut at its own density. These
common random numbers make an instance's data independent of the other instances, make the cells comparable and
cost one cell's random numbers instead of all. Data come in four kinds, the last three in groups of `group` features:

- independent: feature i is active with probability p_i.
- correlated: all features of a group are active together, with the density of the group's first feature.
- anticorrelated: with that probability exactly one feature of the group is active, each as likely. (The density is
  the group's, as in the paper; other toolkits give the feature's.)
- hierarchical: the group's first feature is active with its density, and the others only when it is, each with its own
  density as the conditional probability.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interp.arguments import checked
from interp.errors import UsageError, whole


@checked
def sample(
    kind: str,
    density: Float[Tensor, "cells features"],
    count: int,
    generator: torch.Generator,
    *,
    group: int = 2,
    values: str = "uniform",
) -> Float[Tensor, "cells features count"]:
    """Return `count` inputs for every cell, zero where a feature is inactive.

    Args:
        kind: "independent", "correlated" or "anticorrelated"; see `interp.toy.data`.
        density: probability that a feature is active, by cell.
        count: inputs.
        generator: source of randomness.
        group: features that are active or inactive together, where they depend on each other.
        values: distribution of the values of active features, "uniform" by default.

    Returns:
        (cells, features, count) inputs.

    Raises:
        UsageError: `group` does not divide the features.

    >>> x = toy.sample("independent", torch.full((1, 3), 0.5), 4, torch.Generator().manual_seed(0))
    >>> (x > 0).int()
    tensor([[[1, 1, 1, 0],
             [0, 0, 1, 1],
             [0, 0, 1, 0]]], dtype=torch.int32)
    """
    features, count = density.shape[1], whole(count, "count", 1)
    if kind != "independent" and features % group:
        raise UsageError(f"group is {group}; it must divide the {features} features.")
    device = generator.device
    uniform = torch.rand(features, count, generator=generator, device=device, dtype=density.dtype)
    chance = torch.rand(features, count, generator=generator, device=device, dtype=density.dtype)
    return magnitudes(values, uniform) * activity(kind, density, chance, group)


def activity(
    kind: str, density: Float[Tensor, "cells features"], chance: Float[Tensor, "features count"], group: int
) -> Bool[Tensor, "cells features count"]:
    """Return which features are active, from uniform draws."""
    own = chance < density.unsqueeze(2)
    if kind == "independent":
        return own
    features, count = chance.shape
    grouped = own.view(-1, features // group, group, count)
    first = grouped[:, :, :1]
    if kind == "correlated":
        return first.expand_as(grouped).reshape(own.shape)
    if kind == "hierarchical":
        return torch.cat([first, grouped[:, :, 1:] & first], dim=2).view(own.shape)
    # The second draw of a group, not used for its own density here, names the one member that is active.
    chosen = (chance.view(-1, group, count)[:, 1] * group).long()
    member = chosen.unsqueeze(1) == torch.arange(group, device=chance.device).view(1, group, 1)
    return (member & first).reshape(own.shape)


def magnitudes(kind: str, uniform: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return the values of active features, by inverse distribution function.

    The distributions are U[0,1], U[-1,1], Exp(1), |N(0,1)| and 1.
    """
    if kind == "uniform":
        return uniform
    if kind == "signed":
        return 2 * uniform - 1
    if kind == "exponential":
        return -torch.log1p(-uniform)
    if kind == "normal":
        return torch.special.ndtri((uniform + 1) / 2)
    return torch.ones_like(uniform)


def patterns(
    kind: str, density: Float[np.ndarray, "cells features"], group: int
) -> tuple[Bool[np.ndarray, "patterns features"], Float[np.ndarray, "cells patterns"]]:
    """Return every activity pattern, and its probability in each cell.

    The probabilities sum to 1.
    """
    size = 1 if kind == "independent" else group
    subsets = np.array(list(itertools.product((False, True), repeat=size)))
    active, weight = np.zeros((1, 0), bool), np.ones((len(density), 1))
    for start in range(0, density.shape[1], size):
        chances = _group_chances(kind, density[:, start : start + size], subsets)
        possible = chances.max(axis=0) > 0
        chances, known = chances[:, possible], subsets[possible]
        active = np.concatenate([active.repeat(len(known), 0), np.tile(known, (len(active), 1))], axis=1)
        weight = (weight[:, :, None] * chances[:, None, :]).reshape(len(density), -1)
    return active, weight


@checked
def zipf(features: int, mean: float, exponent: float = 1.0) -> Float[np.ndarray, " features"]:
    """Return densities proportional to 1 / rank^exponent with a given mean.

    Args:
        features: how many.
        mean: of the densities.
        exponent: 0 makes all equal.

    Returns:
        (features,) densities, the largest first.

    Raises:
        UsageError: a first density above 1.

    >>> zipf(3, 0.1, 1.0).round(3)
    array([0.164, 0.082, 0.055])
    """
    shape = np.arange(1, whole(features, "features", 1) + 1, dtype=np.float64) ** -exponent
    density = mean * shape / shape.mean()
    if not 0 < density[0] <= 1:
        raise UsageError(
            f"A mean density of {mean:g} gives the commonest of {features} features {density[0]:.3g}; it must be "
            "above 0 and at most 1: lower the mean or the exponent."
        )
    return density


def _group_chances(
    kind: str, density: Float[np.ndarray, "cells group"], subsets: Bool[np.ndarray, "subsets group"]
) -> Float[np.ndarray, "cells subsets"]:
    """Return the probability of each subset of active features of one group."""
    own = np.where(subsets[None], density[:, None], 1 - density[:, None])
    if kind == "independent":
        return own.prod(axis=2)
    first, size, some = density[:, :1], subsets.sum(axis=1), subsets.any(axis=1)
    none = (1 - first) * ~some
    if kind == "correlated":
        return none + first * subsets.all(axis=1)
    if kind == "anticorrelated":
        return none + first / subsets.shape[1] * (size == 1)
    return none + own.prod(axis=2) * subsets[:, 0]
