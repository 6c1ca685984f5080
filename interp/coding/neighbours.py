"""Nearest neighbours of many vectors, in blocks of bounded memory."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

NUMBERS = 2**24
"""Products in memory at once."""


@dataclass(frozen=True)
class Neighbours:
    """Nearest other rows of each row, with their products.

    The largest products come first.

    >>> near = coding.nearest(torch.eye(3)[:2], torch.tensor([[9.0, 0, 0], [1, 2, 0], [0, 5, 0]]), 1)
    >>> near.value.flatten(), near.index.flatten()
    (tensor([1., 5.]), tensor([1, 2]))
    """

    value: Float[Tensor, "row k"]
    index: Int[Tensor, "row k"]


def nearest(
    rows: Float[Tensor, "row d"],
    others: Float[Tensor, "other d"],
    k: int,
    *,
    own: Int[Tensor, " row"] | None = None,
    absolute: bool = False,
) -> Neighbours:
    """Return, for each row, the k others of largest product with it.

    Args:
        rows: vectors; of length 1, as the others, for cosines.
        others: what they are compared with.
        k: how many for each row, at most the number of others.
        own: the other that is the row itself; by default that of the same number.
        absolute: compare by size; the values keep their signs, and a row that is itself the only other has 0.

    Returns:
        Products and indices, largest first.

    >>> nearest(torch.eye(3)[:2], torch.tensor([[9.0, 0, 0], [1, 2, 0], [0, 5, 0]]), 1).index.flatten()
    tensor([1, 2])
    """
    own = torch.arange(len(rows), device=rows.device) if own is None else own
    size = max(1, NUMBERS // len(others))
    result = []
    for block, itself in zip(rows.split(size), own.split(size), strict=True):
        product = (block @ others.T).scatter_(1, itself[:, None], 0.0 if absolute else -torch.inf)
        index = (product.abs() if absolute else product).topk(k, 1).indices
        result.append((product.gather(1, index), index))
    return Neighbours(*(torch.cat(part) for part in zip(*result, strict=True)))
