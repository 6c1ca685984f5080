"""Matryoshka BatchTopK (arXiv 2503.17547).

Every prefix of the latents is trained to reconstruct.

    loss: mean over prefixes m of |Σ_{j < m} f_j decoder_j + b_dec − y|² + AuxK;  f selected as in batchtopk

The sparse products use a code with one row per (input, group): group g has the latents between two widths, prefix sums
over groups give the reconstructions, and the gradient of a latent in group g is that of all prefixes from g on.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from saes.architectures.auxiliary import revive
from saes.architectures.base import Batch, StepResult
from saes.architectures.batchtopk import BatchTopK
from saes.kernels.support import Sparse


def by_group(support: Sparse, widths: tuple[int, ...]) -> Sparse:
    """Return the same pairs with one row per (input, group).

    The row of input i and group g is i · groups + g.
    """
    ends = torch.tensor(widths, device=support.columns.device)
    group = torch.searchsorted(ends, support.columns, right=True)
    counts = torch.bincount(support.rows * len(widths) + group, minlength=support.n * len(widths))
    starts = torch.zeros(len(counts) + 1, dtype=torch.long, device=counts.device)
    torch.cumsum(counts, 0, out=starts[1:])
    return Sparse(starts, support.columns, support.width)


class Matryoshka(BatchTopK):
    """Matryoshka architecture over BatchTopK (arXiv 2503.17547).

    >>> Matryoshka().latents, Matryoshka().sparse
    (('b_enc', 'threshold'), False)
    """

    def step(self, batch: Batch) -> StepResult:
        """Run the forward and backward pass of a batch."""
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
        result = StepResult(
            gradients,
            parallel=support.sum_inputs(f * d_f),
            fired=support.sum_inputs((f > 0).to(f.dtype)),
            residual=residuals[:, -1],
            losses={"nested": inner * (batch.unit / residuals.shape[1])},
        )
        revive(batch, result)
        return result

    def _residuals(self, batch: Batch, nested: Sparse, f: Tensor) -> Float[Tensor, "n group d_out"]:
        """Return the residual of each prefix."""
        parts = nested.combine(f, batch.weights["decoder"]).view(len(batch.x), -1, batch.y.shape[1])
        base = batch.weights["b_dec"] - batch.y
        if "W_skip" in batch.weights:
            base = base.addmm(batch.x, batch.weights["W_skip"].T)
        return parts.cumsum(1).add_(base[:, None])
