"""Mean, squared deviations and mean norm of rows, merged batch by batch in float64.

Each batch is summed about its own mean, and two summaries are merged by the shift between their means
(Chan, Golub and LeVeque 1983, "Algorithms for computing the sample variance"):

    n = a.n + b.n,  δ = b.mean - a.mean,  mean = a.mean + δ b.n / n,  squares = a.squares + b.squares + δ² a.n b.n / n

so that no large common part is ever squared, and the result does not depend on how the rows were cut but for rounding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from jaxtyping import Float
from torch import Tensor

from interp.cache.manifest import Statistics


@dataclass(frozen=True, eq=False)
class Moments:
    """Moments of a number of rows; see `Statistics` for the fields."""

    count: int
    mean: Float[Tensor, " d"]
    squares: Float[Tensor, " d"]
    norm: float

    @classmethod
    def of(cls, rows: Float[Tensor, "n d"]) -> Self:
        """Return the moments of one batch of at least one row."""
        double = rows.double()
        mean = double.mean(0)
        norm = float(torch.linalg.vector_norm(double, dim=1).mean())
        return cls(len(rows), mean, (double.sub_(mean)).square_().sum(0), norm)

    @classmethod
    def read(cls, saved: Statistics) -> Self:
        """Return the moments in a manifest, exactly."""
        mean, squares = torch.tensor([saved.mean, saved.squares], dtype=torch.float64)
        return cls(saved.count, mean, squares, saved.norm)

    def merge(self, other: Self) -> Self:
        """Return the moments of two sets of rows combined."""
        count = self.count + other.count
        part = other.count / count
        shift = other.mean - self.mean
        squares = self.squares + other.squares + shift.square() * (self.count * part)
        return type(self)(count, self.mean + shift * part, squares, self.norm + (other.norm - self.norm) * part)

    def saved(self) -> Statistics:
        """Return the fields as a manifest stores them.

        A float64 is written so that it reads back the same.
        """
        return Statistics(self.count, tuple(self.mean.tolist()), tuple(self.squares.tolist()), self.norm)
