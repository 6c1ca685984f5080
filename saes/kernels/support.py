"""Products with a sparse code, computed only at the latents that fire.

A *support* is the set of (input, latent) pairs for which a code has values. Both classes have the same methods, so that
every architecture is implemented once:

    at(x, W)         x_i · W_j                      for each pair; x (n, d), W (width, d)
    combine(v, W)    Σ_j v_ij W_j                   (n, d): the decoder
    spread(v, x)     Σ_i v_ij x_i                   (width, d): the gradient of the decoder, and of the encoder
    of_latents(b)    b_j                            for each pair; b (width,)
    of_pairs(p)      p_ij                           for each pair; p (n, width)
    sum_inputs(v)    Σ_i v_ij                       (width,)
    some(m)          the pairs in a mask, as `where` and `pick` take them
    where(s)         the support of some pairs      (for `Dense`: of all pairs)
    pick(v, s)       v_ij                           for each pair of where(s)

`Dense` has every pair: values are (n, width) matrices and each product is a matrix product. It is the plain reference
of `Sparse`, and is faster if many latents fire. `Sparse` has pairs in compressed rows: with k of `width` latents active
each product costs k / width of the dense one.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy.sparse import csr_matrix
from torch import Tensor

Values: TypeAlias = Tensor
"""One number per pair: (n, width) for `Dense`, (pairs,) for `Sparse`."""
MANY = 20
"""Pairs per latent from which embedding bags are faster than a compressed-row product on a CPU."""
BAGS = 2048
"""Latents of one call of embedding bags: its result is small enough that no new memory pages are needed."""


@dataclass(frozen=True)
class Dense:
    """Support of every pair of n inputs and `width` latents.

    >>> Dense(2, 3).at(torch.eye(2), torch.ones(3, 2)).shape
    torch.Size([2, 3])
    """

    n: int
    width: int

    def at(self, x: Float[Tensor, "n d"], weight: Float[Tensor, "width d"]) -> Values:
        """Compute x_i · W_j for each pair."""
        return x @ weight.T

    def combine(self, values: Values, weight: Float[Tensor, "width d"]) -> Float[Tensor, "n d"]:
        """Compute Σ_j v_ij W_j."""
        return values @ weight

    def spread(
        self, values: Values, x: Float[Tensor, "n d"], out: Float[Tensor, "width d"] | None = None
    ) -> Float[Tensor, "width d"]:
        """Compute Σ_i v_ij x_i, in `out` if given."""
        return torch.mm(values.T, x, out=out)

    def of_latents(self, latent: Float[Tensor, " width"]) -> Values:
        """Return b_j, which broadcasts."""
        return latent

    def of_pairs(self, pairs: Float[Tensor, "n width"]) -> Values:
        """Return p_ij for each pair."""
        return pairs

    def sum_inputs(self, values: Values) -> Float[Tensor, " width"]:
        """Compute Σ_i v_ij."""
        return values.sum(0)

    def some(self, mask: Values) -> Values:
        """Return the mask itself."""
        return mask

    def where(self, _some: Values) -> Dense:
        """Return this support: all pairs."""
        return self

    def pick(self, values: Values, some: Values) -> Values:
        """Return the values, with 0 outside the mask."""
        return values * some


@dataclass(frozen=True)
class Sparse:
    """Support of pairs in compressed rows.

    The latents of input i are columns[starts[i] : starts[i + 1]].

    >>> Sparse(torch.tensor([0, 1, 2]), torch.tensor([2, 0]), width=3).rows.tolist()
    [0, 1]
    """

    starts: Int[Tensor, " n_plus_1"]
    columns: Int[Tensor, " pairs"]
    width: int

    @classmethod
    def of_places(cls, places: Int[Tensor, " pairs"], n: int, width: int) -> Sparse:
        """Return the support of ascending places in a matrix (n, width), row by row.

        >>> Sparse.of_places(torch.tensor([1, 3]), n=2, width=2).columns.tolist()
        [1, 1]
        """
        starts = torch.searchsorted(places, torch.arange(0, n * width + 1, width, device=places.device))
        rows = _row_of_each(starts, len(places))
        support = cls(starts, torch.sub(places, rows, alpha=width), width)
        support.__dict__.update(rows=rows, _places=places)  # both are known, and need no second computation
        return support

    @property
    def n(self) -> int:
        """Number of inputs."""
        return len(self.starts) - 1

    @cached_property
    def rows(self) -> Int[Tensor, " pairs"]:
        """Input of each pair."""
        return _row_of_each(self.starts, len(self.columns))

    @cached_property
    def _transposed(self) -> tuple[Tensor, Tensor, Tensor]:
        """Starts, inputs and order of the same pairs, sorted by latent."""
        if self.columns.device.type == "cpu":  # SciPy counts the pairs of each latent, which needs no sorting
            numbers = np.arange(len(self.columns), dtype=np.int32)
            columns, starts = (part.numpy().astype(np.int32) for part in (self.columns, self.starts))
            by_latent = csr_matrix((numbers, columns, starts), shape=(self.n, self.width)).tocsc()
            parts = (by_latent.indptr, by_latent.indices, by_latent.data)
            return tuple(torch.from_numpy(part).long() for part in parts)  # pyright: ignore[reportReturnType]
        # Sorting takes a pass for each byte of the keys.
        keys = self.columns.to(torch.int16 if self.width <= 2**15 else torch.int32)
        order = torch.argsort(keys, stable=True)
        starts = torch.zeros(self.width + 1, dtype=torch.long, device=self.columns.device)
        torch.cumsum(torch.bincount(self.columns, minlength=self.width), 0, out=starts[1:])
        return starts, self.rows[order], order

    def at(self, x: Float[Tensor, "n d"], weight: Float[Tensor, "width d"]) -> Values:
        """Compute x_i · W_j for each pair.

        Pairs are taken latent by latent: a batch fits the cache, and the weights do not.
        """
        starts, inputs, order = self._transposed
        empty = inputs.new_zeros(len(inputs), dtype=x.dtype)
        pattern = _csr(starts, inputs, empty, (self.width, self.n))
        by_latent = torch.sparse.sampled_addmm(pattern, weight, x.T, beta=0.0).values()
        return torch.empty_like(by_latent).index_copy_(0, order, by_latent)

    def combine(self, values: Values, weight: Float[Tensor, "width d"]) -> Float[Tensor, "n d"]:
        """Compute Σ_j v_ij W_j."""
        return _bags(self.columns, weight, self.starts, values)

    def spread(
        self, values: Values, x: Float[Tensor, "n d"], out: Float[Tensor, "width d"] | None = None
    ) -> Float[Tensor, "width d"]:
        """Compute Σ_i v_ij x_i, in `out` if given.

        `out` saves new memory pages, which would cost more than the sums.
        """
        starts, inputs, order = self._transposed
        out = x.new_empty(self.width, x.shape[1]) if out is None else out
        values = values[order]
        if x.device.type != "cpu" or len(values) < MANY * self.width:
            matrix = _csr(starts, inputs, values, (self.width, self.n))
            return torch.addmm(out, matrix, x, beta=0.0, out=out)
        for first in range(0, self.width, BAGS):
            part = starts[first : first + BAGS + 1]
            pairs = slice(int(part[0]), int(part[-1]))
            out[first : first + BAGS] = _bags(inputs[pairs], x, part - part[0], values[pairs])
        return out

    def of_latents(self, latent: Float[Tensor, " width"]) -> Values:
        """Return b_j for each pair."""
        return latent[self.columns]

    @cached_property
    def _places(self) -> Int[Tensor, " pairs"]:
        """Place of each pair in a matrix of all pairs, row by row."""
        return torch.add(self.columns, self.rows, alpha=self.width)

    def of_pairs(self, pairs: Float[Tensor, "n width"]) -> Values:
        """Return p_ij for each pair."""
        return pairs.reshape(-1)[self._places]

    def put(self, values: Values, pairs: Float[Tensor, "n width"]) -> None:
        """Write v_ij to p_ij for each pair."""
        pairs.view(-1)[self._places] = values

    def sum_inputs(self, values: Values) -> Float[Tensor, " width"]:
        """Compute Σ_i v_ij."""
        return values.new_zeros(self.width).index_add_(0, self.columns, values)

    def some(self, mask: Bool[Tensor, " pairs"]) -> Int[Tensor, " some"]:
        """Return the places of the pairs in the mask, in ascending order."""
        return mask.nonzero().squeeze(1)

    def where(self, some: Int[Tensor, " some"]) -> Sparse:
        """Return the support of the pairs at these places."""
        return Sparse(torch.searchsorted(some, self.starts), self.columns[some], self.width)

    def pick(self, values: Values, some: Int[Tensor, " some"]) -> Values:
        """Return the values of the pairs at these places."""
        return values[some]


Support: TypeAlias = Dense | Sparse


def _bags(indices: Tensor, rows: Tensor, starts: Tensor, values: Tensor) -> Tensor:
    """Return the sum of the rows with these indices from each start to the next, weighted by the values."""
    return torch.nn.functional.embedding_bag(
        indices, rows, starts, mode="sum", per_sample_weights=values, include_last_offset=True
    )


def _row_of_each(starts: Tensor, pairs: int) -> Tensor:
    """Return the row of each pair."""
    rows = torch.arange(len(starts) - 1, device=starts.device)
    return torch.repeat_interleave(rows, starts.diff(), output_size=pairs)


def _csr(starts: Tensor, columns: Tensor, values: Tensor, shape: tuple[int, int]) -> Tensor:
    """Return a compressed-row matrix without checking the indices.

    They are known to be valid.
    """
    _suppress_beta_warning()
    return torch.sparse_csr_tensor(starts, columns, values, shape, check_invariants=False)


@cache
def _suppress_beta_warning() -> None:
    """Suppress PyTorch's one warning about compressed rows.

    The warning, that compressed rows are in beta, is triggered once and ignored.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.eye(1).to_sparse_csr()
