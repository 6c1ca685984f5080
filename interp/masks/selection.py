"""Pruning: from scores to masks of the best weights of every network.

Weights are pruned in one round or in several of one schedule.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interp.errors import UsageError, nearest
from interp.masks.training import Weights

SCOPES = ("all", "tensor")
"""Weights compete with all others of their network, or with those of their own tensor."""

Density = float | Float[Tensor, " instances"]


def schedule(density: Density, rounds: int) -> list[Density]:
    """Return the density after each round of pruning.

    It is ρ^(k / rounds): each removes the same share.

    >>> schedule(0.01, 2)
    [0.1, 0.01]
    """
    if rounds < 1:
        raise UsageError(f"rounds is {rounds}; it must be 1 or more.")
    return [density ** (k / rounds) for k in range(1, rounds + 1)]


def keep(scores: Weights, density: Density, *, among: Weights | None = None, scope: str = "all") -> Weights:
    """Return masks that keep the highest scores of every network.

    Args:
        scores: Tensors of shape (instances, ...).
        density: Share of the weights to keep, rounded up to a whole number: one for all networks, or one for each.
        among: Masks of the weights that may remain; all others are removed at any score.
        scope: "all": one ranking a network. "tensor": one for each of its tensors.

    Returns:
        Tensors of 0 and 1.

    Raises:
        UsageError: A density is outside [0, 1], a score is NaN, or `scope` is unknown.

    >>> keep({"w": torch.tensor([[3.0, 1.0, 2.0, 0.0]])}, 0.5)
    {'w': tensor([[1., 0., 1., 0.]])}
    """
    if scope not in SCOPES:
        raise UsageError(f'scope is "{scope}"; it must be one of {", ".join(SCOPES)}{nearest(scope, SCOPES)}.')
    if scope == "tensor":
        parts = [{name: score} for name, score in scores.items()]
        return {name: mask for part in parts for name, mask in keep(part, density, among=among).items()}
    flat = torch.cat([score.flatten(1).double() for score in scores.values()], dim=1)
    if torch.isnan(flat).any():
        raise UsageError("A score is NaN: the loss or its gradient is not finite at these weights.")
    if among is not None:
        allowed = torch.cat([among[name].flatten(1) for name in scores], dim=1)
        flat = flat.masked_fill(allowed == 0, -torch.inf)
    inside = (_rank(flat) < _count(density, flat)) & (flat > -torch.inf)
    sizes = [score[0].numel() for score in scores.values()]
    split = zip(scores.items(), inside.split(sizes, dim=1), strict=True)
    return {name: part.view(score.shape).to(score.dtype) for (name, score), part in split}


def prune(
    weights: Weights,
    score: Callable[[Weights], Weights],
    *,
    density: Density,
    rounds: int = 1,
    scope: str = "all",
    among: Weights | None = None,
) -> Weights:
    """Return masks at `density`, pruned round by round.

    Scores are recomputed in every round of the `schedule`.

    Args:
        weights: named tensors of shape (instances, ...).
        score: maps weights to scores of the same shapes, as `masks.magnitude` does.
        density: share of the weights left.
        rounds: of pruning.
        scope: see `keep`.
        among: see `keep`.

    Returns:
        Tensors of 0 and 1.

    >>> prune({"w": torch.tensor([[0.1, -0.5, 0.3, 1.0]])}, masks.magnitude, density=0.5, rounds=2)
    {'w': tensor([[0., 1., 0., 1.]])}
    """
    masks = among or {name: torch.ones_like(tensor) for name, tensor in weights.items()}
    for wanted in schedule(density, rounds):
        masks = keep(score(apply(weights, masks)), wanted, among=masks, scope=scope)
        masks = {name: mask.to(weights[name].dtype) for name, mask in masks.items()}
    return masks


def smallest(
    scores: Weights,
    loss: Callable[[Weights], Float[Tensor, " instances"]],
    allowed: Density,
    *,
    halvings: int = 12,
) -> Weights:
    """Return the masks of fewest weights whose loss is at most `allowed`.

    Weights are taken in the order of their scores.

    The density results from bisection, for every network by itself: with a loss that does not fall steadily as weights
    are added, it is one of the points where the loss crosses `allowed`. All weights where none does.

    Args:
        scores: Tensors of shape (instances, ...).
        loss: Loss of every network given its masks.
        allowed: Largest loss, one for all networks or one for each.
        halvings: Steps of the bisection: the density is exact to 2^-halvings.

    Returns:
        Tensors of 0 and 1.

    >>> weights = torch.tensor([[0.1, -0.5, 0.3, 1.0]])
    >>> smallest({"w": weights.abs()}, lambda m: ((1 - m["w"]) * weights).square().sum(1), allowed=0.2)
    {'w': tensor([[0., 1., 0., 1.]])}
    """
    count = len(next(iter(scores.values())))
    low, high = torch.zeros(count, dtype=torch.float64), torch.ones(count, dtype=torch.float64)
    for _ in range(halvings):
        middle = (low + high) / 2
        with torch.no_grad():
            fine = loss(keep(scores, middle)) <= allowed
        low, high = torch.where(fine, low, middle), torch.where(fine, middle, high)
    return keep(scores, high)


def apply(weights: Weights, masks: Weights) -> Weights:
    """Return the weights times their masks; tensors without a mask are unchanged.

    >>> apply({"w": torch.ones(1, 2)}, {"w": torch.tensor([[1.0, 0.0]])})["w"].tolist()
    [[1.0, 0.0]]
    """
    return {name: tensor * masks[name] if name in masks else tensor for name, tensor in weights.items()}


def density_of(masks: Weights) -> Float[Tensor, " instances"]:
    """Return the share of weights in the mask, for every network.

    >>> density_of({"w": torch.tensor([[1.0, 0.0]])}).tolist()
    [0.5]
    """
    return torch.cat([mask.flatten(1).double() for mask in masks.values()], dim=1).mean(1)


def empty_tensors(masks: Weights) -> Bool[Tensor, "instances tensors"]:
    """Return which tensors have no weight left (layer collapse).

    >>> empty_tensors({"w": torch.zeros(1, 2), "v": torch.ones(1, 2)})
    tensor([[ True, False]])
    """
    return torch.stack([mask.flatten(1).sum(1) == 0 for mask in masks.values()], dim=1)


def _rank(flat: Float[Tensor, "instances weights"]) -> Tensor:
    """Return the rank of every number in its row.

    0 is for the highest; ties are ranked by order.
    """
    order = flat.argsort(dim=1, descending=True, stable=True)
    return torch.empty_like(order).scatter_(1, order, torch.arange(flat.shape[1], device=flat.device).expand_as(order))


def _count(density: Density, flat: Tensor) -> Tensor:
    share = torch.as_tensor(density, dtype=torch.float64, device=flat.device)
    if not ((share >= 0) & (share <= 1)).all():
        raise UsageError(f"A density is {float(share.flatten()[0]):g}; it must be between 0 and 1.")
    # A product such as 0.1 · 30 is 3.0000000000000004 in floating point, and is to be 3.
    return (share * flat.shape[1] - 1e-6).ceil().long().view(-1, 1)
