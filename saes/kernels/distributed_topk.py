"""Selection of the largest values of a distributed batch.

The rows of the batch are distributed over several processes.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from interp.group import Group
from saes.kernels.select import above, compressed, first_guess
from saes.kernels.support import Sparse


@runtime_checkable
class TrainingGroup(Group, Protocol):
    """Processes that train one SAE, each on its part of every batch."""

    def part(self, rows: Tensor) -> Tensor:
        """Return this process's rows of a batch."""
        ...

    def average(self, tensors: list[Tensor]) -> None:
        """Replace each tensor by its mean over the processes."""
        ...

    def sum(self, number: float) -> float:
        """Return the sum of a number over the processes."""
        ...

    def largest(self, values: Tensor, count: int) -> Tensor:
        """Return the `count`-th largest value of all processes."""
        ...


def distributed_top_batch(
    pre: Float[Tensor, "n width"], count: int, guess: float | None, group: TrainingGroup
) -> tuple[Sparse, float]:
    """Return this process's pairs among the largest of all processes.

    They are its pairs among the `count` largest positive values of all processes. These are the pairs that `top_batch`
    selects from the whole batch; among equal values at the threshold, the first processes have priority.

    Args:
        pre: (n, width) values of this process.
        count: number of pairs over all processes.
        guess: a value that about `count` values exceed, or None.
        group: the processes.

    Returns:
        The pairs, and the smallest selected value (-1 if none is positive).
    """
    low = max(group.sum(first_guess(pre, count // group.size)) / group.size if guess is None else guess, 0.0)
    pairs, values = above(pre, low)
    while (total := int(group.sum(len(values)))) < count and low > 0:
        low = low * 0.9 if low > 1e-6 else 0.0
        pairs, values = above(pre, low)
    if total == 0:
        return pairs, -1.0
    edge = group.largest(values, min(count, total))
    inside, ties = values > edge, (values == edge).nonzero().squeeze(1)
    remaining = min(count, total) - int(group.sum(int(inside.sum())))
    before = sum(group.gather(len(ties))[: group.rank])
    inside[ties[: max(remaining - before, 0)]] = True
    chosen = inside.nonzero().squeeze(1)
    return compressed(pairs.rows[chosen] * pairs.width + pairs.columns[chosen], *pre.shape), float(edge)
