"""Matryoshka BatchTopK (arXiv 2503.17547): prefixes of the latents reconstruct on their own.

    loss: mean over prefixes m of |Σ_{j < m} f_j decoder_j + b_dec − y|² + AuxK;  f chosen as in batchtopk

A prefix is a cut of the code, so the sparse products are those of a code with a row for every (input, group): group g
holds the latents between two widths, prefix sums over groups give the reconstructions, and the gradient of a latent
in group g is that of all prefixes from g on.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from saes.architectures.auxiliary import revive
from saes.architectures.base import Batch, Found
from saes.architectures.batchtopk import BatchTopK
from saes.kernels.support import Sparse


def by_group(support: Sparse, widths: tuple[int, ...]) -> Sparse:
    """The same pairs, with a row for every (input, group): input i and group g are row i · groups + g."""
    ends = torch.tensor(widths, device=support.columns.device)
    group = torch.searchsorted(ends, support.columns, right=True)
    counts = torch.bincount(support.rows * len(widths) + group, minlength=support.n * len(widths))
    starts = torch.zeros(len(counts) + 1, dtype=torch.long, device=counts.device)
    torch.cumsum(counts, 0, out=starts[1:])
    return Sparse(starts, support.columns, support.width)


class Matryoshka(BatchTopK):
    """See the module."""

    def step(self, batch: Batch) -> Found:
        """Forward and backward pass."""
        weights, (support, pre) = batch.weights, self.choose(batch)
        nested = by_group(support, batch.config.prefixes)
        f = torch.relu(pre)
        residuals = self._residuals(batch, nested, f)
        outer = residuals * (2 * batch.unit / len(batch.config.prefixes))
        outer = outer.flip(1).cumsum(1).flip(1)
        flat = outer.reshape(nested.n, -1)
        d_f = nested.at(flat, weights["decoder"])
        d_pre = d_f * (f > 0)
        gradients = batch.gradients(support, d_pre, nested, f, flat)
        gradients["b_enc"] = support.sum_inputs(d_pre)
        inner = residuals[:, :-1].square().sum() - (residuals.shape[1] - 1) * residuals[:, -1].square().sum()
        found = Found(
            gradients,
            parallel=support.sum_inputs(f * d_f),
            fired=support.sum_inputs((f > 0).to(f.dtype)),
            residual=residuals[:, -1],
            losses={"nested": inner * (batch.unit / residuals.shape[1])},
        )
        revive(batch, found)
        return found

    def _residuals(self, batch: Batch, nested: Sparse, f: Tensor) -> Float[Tensor, "n group d_out"]:
        """Of each prefix."""
        parts = nested.combine(f, batch.weights["decoder"]).view(len(batch.x), -1, batch.y.shape[1])
        base = batch.weights["b_dec"] - batch.y
        if "W_skip" in batch.weights:
            base = base.addmm(batch.x, batch.weights["W_skip"].T)
        return parts.cumsum(1).add_(base[:, None])
