"""BatchTopK (arXiv 2412.06410): the k n largest pre-activations of a batch of n fire; k a row on average.

In inference a latent fires above one threshold, measured on training data so that k fire on average.
"""

from __future__ import annotations

from torch import Tensor

from saes.architectures.base import Batch, Final
from saes.architectures.jumprelu import jump
from saes.architectures.topk import TopK
from saes.kernels.select import top_batch
from saes.kernels.support import Sparse
from saes.kernels.together import top_together


class BatchTopK(TopK):
    """See the module."""

    latents = ("b_enc", "threshold")

    def activate(self, z: Tensor, final: Final) -> Tensor:
        """Keeps z + b_enc where it exceeds the threshold."""
        return jump(z + final.tensors["b_enc"], final.tensors["threshold"])

    def choose(self, batch: Batch) -> Sparse:
        """The pairs that fire."""
        pre, memory = batch.pre(batch.weights["b_enc"]), batch.memory
        guess = memory.guess * 0.98 if memory.guess > 0 else None
        if batch.group is not None:
            support, memory.guess = top_together(pre, batch.config.k * len(pre) * batch.group.size, guess, batch.group)
            return support
        support = top_batch(pre, batch.config.k * len(pre), guess)
        if len(support.columns):
            memory.guess = float(support.of_pairs(pre).min())
        return support
