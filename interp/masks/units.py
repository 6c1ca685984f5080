"""Masks over neurons and heads: weights that stay or are removed as one."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from interp.masks.training import Weights

Units = dict[str, tuple[tuple[str, int], ...]]
"""Kind of unit -> the tensors that belong to it, each with the axis that counts the units.

The hidden neurons of a perceptron: `{"hidden": (("0.weight", 1), ("0.bias", 1), ("1.weight", 2))}`.
"""


def unit_scores(scores: Weights, units: Units) -> dict[str, Float[Tensor, "instances units"]]:
    """Return the sum of the scores of every unit's weights.

    `keep` takes the result as it takes weights' scores.

    >>> scores = {"in": torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])}  # (instances, inputs, units)
    >>> unit_scores(scores, {"neuron": [("in", 2)]})
    {'neuron': tensor([[4., 6.]])}
    """
    return {
        kind: torch.stack([_rest(scores[name], axis).sum(2) for name, axis in members]).sum(0)
        for kind, members in units.items()
    }


def spread(unit_masks: Weights, units: Units, weights: Weights) -> Weights:
    """Return masks of weights from masks of units.

    A shared weight needs both units.

    Args:
        unit_masks: of each kind of units, (instances, units).
        units: where each kind's weights are.
        weights: of the network.

    Returns:
        Masks of the shapes of the weights.

    >>> weights = {"in": torch.ones(1, 2, 2)}  # (instances, inputs, units)
    >>> spread({"neuron": torch.tensor([[1.0, 0.0]])}, {"neuron": [("in", 2)]}, weights)
    {'in': tensor([[[1., 0.],
             [1., 0.]]])}
    """
    masks = {name: torch.ones_like(tensor) for name, tensor in weights.items()}
    for kind, members in units.items():
        for name, axis in members:
            shape = [1] * weights[name].ndim
            shape[0], shape[axis] = unit_masks[kind].shape
            masks[name] = masks[name] * unit_masks[kind].view(shape)
    return masks


def _rest(score: Tensor, axis: int) -> Float[Tensor, "instances units rest"]:
    return score.movedim(axis, 1).flatten(2) if score.ndim > 2 else score.unsqueeze(2)
