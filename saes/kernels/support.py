"""Products with a sparse code: only at the latents that fire.

A *support* says which (input, latent) pairs a code holds values for. Both kinds answer the same six questions, so
that every architecture is written once:

    at(x, W)         x_i · W_j                      for each pair; x (n, d), W (width, d)
    combine(v, W)    Σ_j v_ij W_j                   (n, d): the decoder
    spread(v, x)     Σ_i v_ij x_i                   (width, d): the gradient of the decoder, and of the encoder
    of_latents(b)    b_j                            for each pair; b (width,)
    of_pairs(p)      p_ij                           for each pair; p (n, width)
    sum_inputs(v)    Σ_i v_ij                       (width,)

`Dense` holds every pair: values are (n, width) matrices and each product is a matrix product. It is the plain
reference of `Sparse`, and what is quicker when many latents fire. `Sparse` holds pairs in compressed rows: with k of
`width` latents active each product costs k / width of the dense one.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor

Values: TypeAlias = Tensor
"""One number a pair: (n, width) for `Dense`, (pairs,) for `Sparse`."""


@dataclass(frozen=True)
class Dense:
    """Every pair of n inputs and `width` latents."""

    n: int
    width: int

    def at(self, x: Float[Tensor, "n d"], weight: Float[Tensor, "width d"]) -> Values:
        """x_i · W_j."""
        return x @ weight.T

    def combine(self, values: Values, weight: Float[Tensor, "width d"]) -> Float[Tensor, "n d"]:
        """Σ_j v_ij W_j."""
        return values @ weight

    def spread(
        self, values: Values, x: Float[Tensor, "n d"], out: Float[Tensor, "width d"] | None = None
    ) -> Float[Tensor, "width d"]:
        """Σ_i v_ij x_i, into `out` if it is given."""
        return torch.mm(values.T, x, out=out)

    def of_latents(self, latent: Float[Tensor, " width"]) -> Values:
        """b_j, as it broadcasts."""
        return latent

    def of_pairs(self, pairs: Float[Tensor, "n width"]) -> Values:
        """p_ij."""
        return pairs

    def sum_inputs(self, values: Values) -> Float[Tensor, " width"]:
        """Σ_i v_ij."""
        return values.sum(0)


@dataclass(frozen=True)
class Sparse:
    """Pairs in compressed rows: those of input i are columns[starts[i] : starts[i + 1]]."""

    starts: Int[Tensor, " n_plus_1"]
    columns: Int[Tensor, " pairs"]
    width: int

    @property
    def n(self) -> int:
        """Number of inputs."""
        return len(self.starts) - 1

    @cached_property
    def rows(self) -> Int[Tensor, " pairs"]:
        """The input of each pair."""
        counts = self.starts.diff()
        return torch.repeat_interleave(
            torch.arange(self.n, device=counts.device), counts, output_size=len(self.columns)
        )

    @cached_property
    def _transposed(self) -> tuple[Tensor, Tensor, Tensor]:
        """(starts, inputs, order) of the same pairs, latent by latent."""
        order = torch.argsort(self.columns, stable=True)
        starts = torch.zeros(self.width + 1, dtype=torch.long, device=self.columns.device)
        torch.cumsum(torch.bincount(self.columns, minlength=self.width), 0, out=starts[1:])
        return starts, self.rows[order], order

    def at(self, x: Float[Tensor, "n d"], weight: Float[Tensor, "width d"]) -> Values:
        """x_i · W_j."""
        empty = self.columns.new_zeros(len(self.columns), dtype=x.dtype)
        pattern = _csr(self.starts, self.columns, empty, (self.n, self.width))
        return torch.sparse.sampled_addmm(pattern, x, weight.T, beta=0.0).values()

    def combine(self, values: Values, weight: Float[Tensor, "width d"]) -> Float[Tensor, "n d"]:
        """Σ_j v_ij W_j."""
        return torch.nn.functional.embedding_bag(
            self.columns, weight, self.starts, mode="sum", per_sample_weights=values, include_last_offset=True
        )

    def spread(
        self, values: Values, x: Float[Tensor, "n d"], out: Float[Tensor, "width d"] | None = None
    ) -> Float[Tensor, "width d"]:
        """Σ_i v_ij x_i, into `out` if it is given: fresh pages would cost more than the sums."""
        starts, inputs, order = self._transposed
        matrix = _csr(starts, inputs, values[order], (self.width, self.n))
        out = x.new_empty(self.width, x.shape[1]) if out is None else out
        return torch.addmm(out, matrix, x, beta=0.0, out=out)

    def of_latents(self, latent: Float[Tensor, " width"]) -> Values:
        """b_j."""
        return latent[self.columns]

    def of_pairs(self, pairs: Float[Tensor, "n width"]) -> Values:
        """p_ij."""
        return pairs[self.rows, self.columns]

    def sum_inputs(self, values: Values) -> Float[Tensor, " width"]:
        """Σ_i v_ij."""
        return values.new_zeros(self.width).index_add_(0, self.columns, values)


Support: TypeAlias = Dense | Sparse


def _csr(starts: Tensor, columns: Tensor, values: Tensor, shape: tuple[int, int]) -> Tensor:
    """A compressed-row matrix of indices that are known to be right."""
    _beta_warning_spent()
    return torch.sparse_csr_tensor(starts, columns, values, shape, check_invariants=False)


@cache
def _beta_warning_spent() -> None:
    """PyTorch warns once a process that compressed rows are in beta: here, where nobody has to read it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.eye(1).to_sparse_csr()
