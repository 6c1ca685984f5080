"""The largest values of a batch whose rows are spread over several processes."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from interp.group import Group
from saes.kernels.select import above, compressed, first_guess
from saes.kernels.support import Sparse


@runtime_checkable
class TrainingGroup(Group, Protocol):
    """Processes that train one SAE together, each on its part of every batch."""

    def part(self, rows: Tensor) -> Tensor:
        """This process's rows of a batch."""
        ...

    def average(self, tensors: list[Tensor]) -> None:
        """Replace each tensor by its mean over the processes."""
        ...

    def sum(self, number: float) -> float:
        """The sum of a number over the processes."""
        ...

    def largest(self, values: Tensor, count: int) -> Tensor:
        """() the `count`-th largest of the values of all processes."""
        ...


def top_together(
    pre: Float[Tensor, "n width"], count: int, guess: float | None, group: TrainingGroup
) -> tuple[Sparse, float]:
    """(this process's pairs among the `count` largest positive values of all processes' rows, the smallest of these).

    The same pairs that `top_batch` chooses of the whole batch; of equal values at the edge, those of the first
    processes. The smallest value is -1 where none is positive.
    """
    low = max(group.sum(first_guess(pre, count // group.size)) / group.size if guess is None else guess, 0.0)
    found = above(pre, low)
    while (total := int(group.sum(len(found.columns)))) < count and low > 0:
        low = low * 0.9 if low > 1e-6 else 0.0
        found = above(pre, low)
    if total == 0:
        return found, -1.0
    values = found.of_pairs(pre)
    edge = group.largest(values, min(count, total))
    inside, ties = values > edge, (values == edge).nonzero().squeeze(1)
    room = min(count, total) - int(group.sum(int(inside.sum())))
    before = sum(group.gather(len(ties))[: group.rank])
    inside[ties[: max(room - before, 0)]] = True
    kept = inside.nonzero().squeeze(1)
    return compressed(found.rows[kept] * found.width + found.columns[kept], *pre.shape), float(edge)
