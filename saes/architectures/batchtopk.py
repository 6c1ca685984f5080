"""BatchTopK (arXiv 2412.06410).

The k n largest pre-activations of a batch of n fire, on average k per row.

In inference a latent fires above a threshold, which is measured on training data so that k fire on average.
"""

from __future__ import annotations

from torch import Tensor

from saes.architectures.base import Batch, Final
from saes.architectures.jumprelu import jump, jump_pairs
from saes.architectures.topk import TopK
from saes.kernels.distributed_topk import distributed_top_batch
from saes.kernels.select import top_batch
from saes.kernels.support import Sparse, Values


class BatchTopK(TopK):
    """BatchTopK architecture (arXiv 2412.06410).

    >>> BatchTopK().latents, BatchTopK().sparse
    (('b_enc', 'threshold'), False)
    """

    latents = ("b_enc", "threshold")

    def activate(self, z: Tensor, final: Final) -> Tensor:
        """Return z + b_enc if it exceeds the threshold, else 0."""
        return jump(z + final.tensors["b_enc"], final.tensors["threshold"])

    def pairs(self, z: Tensor, final: Final) -> tuple[Sparse, Values]:
        """Return the pairs at which z + b_enc exceeds the threshold.

        Also returns the values there. Overwrites z.
        """
        return jump_pairs(z.add_(final.tensors["b_enc"]), final.tensors["threshold"])

    def choose(self, batch: Batch) -> tuple[Sparse, Values]:
        """Return the pairs (input, latent) that fire, and their pre-activations."""
        pre, memory, group = batch.pre(batch.weights["b_enc"]), batch.memory, batch.group
        guess = memory.guess * 0.98 if memory.guess > 0 else None
        if group is not None:
            support, memory.guess = distributed_top_batch(pre, batch.config.k * len(pre) * group.size, guess, group)
            values = support.of_pairs(pre)
        else:
            support, values = top_batch(pre, batch.config.k * len(pre), guess)
            memory.guess = float(values.min()) if len(values) else memory.guess
        return support, batch.exact(support, values, batch.weights["b_enc"])
