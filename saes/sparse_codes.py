"""Codes without their zeros.

They are the (row, latent) pairs that fire and their values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from saes.kernels.encode import zeros
from saes.kernels.support import Sparse


@dataclass(frozen=True, eq=False)
class SparseCodes:
    """Sparse code of a matrix of inputs.

    It has the pairs of row and latent that are not zero, ordered by row and latent.

    Attributes:
        support: the pairs, in compressed rows.
        values: (pairs,) the code there.

    >>> codes = SparseCodes.of(torch.tensor([[0.0, 2.0], [0.0, 0.0], [1.0, 3.0]]))
    >>> codes.rows.tolist(), codes.latents.tolist(), codes.values.tolist()
    ([0, 2, 2], [1, 0, 1], [2.0, 1.0, 3.0])
    """

    support: Sparse
    values: Float[Tensor, " pairs"]

    @classmethod
    def of(cls, code: Float[Tensor, "n width"]) -> SparseCodes:
        """Return the pairs of a dense code."""
        rows, latents = code.nonzero(as_tuple=True)
        starts = torch.zeros(len(code) + 1, dtype=torch.long, device=code.device)
        torch.cumsum(rows.bincount(minlength=len(code)), 0, out=starts[1:])
        return cls(Sparse(starts, latents, code.shape[1]), code[rows, latents])

    @classmethod
    def joined(cls, parts: Sequence[SparseCodes]) -> SparseCodes:
        """Return the codes of several batches of rows as one."""
        if len(parts) == 1:
            return parts[0]
        ends = torch.cat([parts[0].support.starts[:1], *(one.support.starts.diff() for one in parts)]).cumsum(0)
        columns = torch.cat([one.support.columns for one in parts])
        return cls(Sparse(ends, columns, parts[0].width), torch.cat([one.values for one in parts]))

    def __len__(self) -> int:
        return self.support.n

    @property
    def width(self) -> int:
        """Number of latents."""
        return self.support.width

    @property
    def rows(self) -> Int[Tensor, " pairs"]:
        """The row of each pair."""
        return self.support.rows

    @property
    def latents(self) -> Int[Tensor, " pairs"]:
        """The latent of each pair."""
        return self.support.columns

    @cached_property
    def counts(self) -> Int[Tensor, " n"]:
        """How many latents fire on each row."""
        return self.support.starts.diff()

    def dense(self) -> Float[Tensor, "n width"]:
        """Return the code with its zeros."""
        code = zeros((len(self), self.width), like=self.values)
        self.support.put(self.values, code)
        return code

    def where(self, chosen: Bool[Tensor, " n"]) -> SparseCodes:
        """Return the codes of the chosen rows."""
        pairs = chosen.to(self.rows.device)[self.rows]
        starts = torch.cat([self.support.starts[:1], self.counts[chosen.to(self.counts.device)].cumsum(0)])
        return SparseCodes(Sparse(starts, self.latents[pairs], self.width), self.values[pairs])
