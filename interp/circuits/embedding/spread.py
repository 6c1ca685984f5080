"""`collapse`: do the vectors of a layer crowd into a corner?"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from interp.circuits.embedding.results import Collapse
from interp.circuits.embedding.streams import Streams, streams
from interp.errors import UsageError
from interp.model import Model
from interp.threads import on_a_thread_each


@torch.no_grad()
def collapse(model: Model, tokens: Tensor | Streams | None = None) -> Collapse:
    """Measure how similar residual streams become after every layer.

    It measures the mean cosine between positions, the effective rank and the mean norm. The mean cosine of n unit
    vectors to one another is (‖Σ v‖² − n) / (n(n − 1)).

    Args:
        model: the model.
        tokens: (batch, n_token) texts, or the `streams` of some; prose by default, random tokens without a tokenizer.

    Raises:
        UsageError: texts of fewer than two positions in all, or that the model cannot read.

    >>> result = collapse(model, tokens)
    >>> result.cosine.round(3), result.effective_rank.round(1)
    (array([0.008, 0.4  , 0.53 , 0.5  ]), array([3.7, 2.7, 2.5, 2.6]))
    """
    run = streams(model, tokens)
    n = run.tokens.numel()
    if n < 2:
        raise UsageError("One position has no other to be like: give at least two tokens.")
    vectors = run.vectors.double()
    total = normalize(vectors, dim=-1).sum(1).square().sum(-1)
    shares = torch.stack(on_a_thread_each(torch.linalg.svdvals, list(vectors))).square()
    shares = shares / shares.sum(-1, keepdim=True)
    return Collapse(
        cosine=((total - n) / (n * (n - 1))).cpu().numpy(),
        effective_rank=torch.special.entr(shares).sum(-1).exp().cpu().numpy(),
        norm=vectors.norm(dim=-1).mean(-1).cpu().numpy(),
        n_position=n,
        d_model=model.spec.d_model,
    )
