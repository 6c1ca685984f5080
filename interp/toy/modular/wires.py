"""Neurons with places: the cost of their wires, and the cheapest arrangement.

Brain-inspired modular training, Liu, Gan and Tegmark 2023 (arXiv 2305.08746).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy.optimize import linear_sum_assignment
from torch import Tensor

Weights = dict[str, Tensor]
Places = dict[str, Float[Tensor, "instances neurons"]]
"""Layer -> where its neurons are along it, between 0 and 1."""

GAP = 0.5
"""Distance of neighbouring layers: the price of a wire that goes straight up."""


@dataclass(frozen=True)
class Wires:
    """Weight tensor and the layers it joins.

    The tensor is (instances, target neurons, source neurons).

    >>> modular.Wires("0.weight", source="0", target="1")
    Wires(name='0.weight', source='0', target='1')
    """

    name: str
    source: str
    target: str


def perceptron_wires(layers: int) -> tuple[Wires, ...]:
    """Return the wires of a perceptron of `layers` matrices.

    Layer "0" is the input.

    >>> [wire.name for wire in perceptron_wires(2)]
    ['0.weight', '1.weight']
    """
    return tuple(Wires(f"{k}.weight", str(k), str(k + 1)) for k in range(layers))


def even_places(weights: Weights, wires: Sequence[Wires]) -> Places:
    """Return evenly spaced places for the neurons of every layer.

    Places are (k + 1/2) / n.

    >>> even_places({"0.weight": torch.ones(1, 1, 2)}, perceptron_wires(1))
    {'0': tensor([[0.250, 0.750]]), '1': tensor([[0.500]])}
    """
    sizes: dict[str, int] = {}
    count = 0
    for wire in wires:
        count, targets, sources = weights[wire.name].shape
        sizes |= {wire.source: sources, wire.target: targets}
    return {layer: ((torch.arange(n) + 0.5) / n).repeat(count, 1) for layer, n in sizes.items()}


def lengths(places: Places, wires: Sequence[Wires], locality: float | Tensor) -> Weights:
    """Return the length of every wire.

    It is d = locality · |p_target − p_source| + 1/2.

    A locality of 0 makes all wires equal: their cost is then the L1 norm.

    Args:
        places: of the neurons of each layer.
        wires: the matrices that are wires.
        locality: one number, or one a network.

    Returns:
        One tensor of lengths for each matrix.

    >>> wires = perceptron_wires(1)
    >>> lengths(even_places({"0.weight": torch.ones(1, 1, 2)}, wires), wires, locality=4.0)
    {'0.weight': tensor([[[1.500, 1.500]]])}
    """
    locality = torch.as_tensor(locality, dtype=torch.float32).reshape(-1, 1, 1)
    return {
        wire.name: locality * (places[wire.target].unsqueeze(2) - places[wire.source].unsqueeze(1)).abs() + GAP
        for wire in wires
    }


def wiring_cost(weights: Weights, length: Weights) -> Float[Tensor, " instances"]:
    """Return Σ over matrices of the mean of |w| · d.

    See arXiv 2305.08746; as in its code, means take the place of sums.

    >>> wiring_cost({"0.weight": torch.tensor([[[1.0, -2.0]]])}, {"0.weight": torch.tensor([[[1.5, 0.5]]])})
    tensor([1.250])
    """
    return torch.stack([(weights[name].abs() * d).flatten(1).mean(1) for name, d in length.items()]).sum(0)


def rearrange(weights: Weights, places: Places, wires: Sequence[Wires]) -> Places:
    """Return places rearranged within each layer for the cheapest wiring.

    Neurons of one layer have no wires between them, so the best exchange is a linear assignment of neurons to places,
    with cost C[a, s] = Σ_b |w_ab| |s − p_b|, and the cost never rises. (The paper tries swaps of pairs: a permutation
    is a product of swaps, and this one is the best.) Networks compute what they computed: only places change.

    Args:
        weights: named tensors of shape (instances, ...).
        places: of the neurons of each layer.
        wires: the matrices that are wires.

    Returns:
        The new places.

    >>> weights, wires = {"0.weight": torch.tensor([[[0.0, 1.0], [1.0, 0.0]]])}, perceptron_wires(1)
    >>> rearrange(weights, even_places(weights, wires), wires)
    {'0': tensor([[0.750, 0.250]]), '1': tensor([[0.250, 0.750]])}
    """
    arranged = {layer: place.clone() for layer, place in places.items()}
    for layer, place in arranged.items():
        cost = _cost_of_places(weights, arranged, wires, layer)
        for instance, table in enumerate(cost.numpy()):
            neurons, slots = linear_sum_assignment(table)
            # Rounding, and neurons without wires, leave equally good orders: only exchanges that gain are made.
            gain = np.trace(table) - table[neurons, slots].sum()
            if gain > 1e-9 * max(1.0, float(np.trace(table))):
                place[instance] = place[instance][torch.from_numpy(slots)]
    return arranged


def _cost_of_places(
    weights: Weights, places: Places, wires: Sequence[Wires], layer: str
) -> Float[Tensor, "instances neurons places"]:
    """Return the cost of each neuron at each place of its layer.

    Entry (a, s) is what neuron a would cost at the present place of neuron s of its layer.
    """
    total = torch.zeros(())
    for wire in wires:
        size = weights[wire.name].detach().abs().double()
        size = size / size[0].numel()
        if wire.target == layer:
            total = total + torch.bmm(size, _gaps(places[wire.source], places[layer]))
        if wire.source == layer:
            total = total + torch.bmm(size.transpose(1, 2), _gaps(places[wire.target], places[layer]))
    return total


def _gaps(others: Tensor, own: Tensor) -> Float[Tensor, "instances others own"]:
    return (others.unsqueeze(2) - own.unsqueeze(1)).abs().double()
