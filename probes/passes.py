"""Forward passes over statements: residual streams and log-probabilities of tokens.

Statements of one set often have common prefixes ("The city of Paris is in ..."). If enough tokens are shared, each
distinct prefix is computed once (`interp.model.prefixes`). Otherwise statements run in order of length, so that a batch
needs little padding. Padding is on the right, where a causal model never looks. In both cases the result of a
statement depends on the statement alone: batch size and the other statements change it by float32 rounding only.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.cache.contexts import Contexts, padded, rows_of
from interp.model import capture
from interp.model.prefixes import Prefixes, can_share, run_prefixes
from probes.layers import hook_of

if TYPE_CHECKING:
    from interp.model import Model

Streams = list[Float[Tensor, "batch n_token d"]]
"""The residual stream of a batch, by layer."""
STEP = 32
"""Fixed cost of a forward pass in tokens: every weight is read once."""
MAX_ROWS = 2048
MAX_CACHE_BYTES = 1e9
"""Memory for keys, values and residual streams while prefixes are shared."""


@dataclass(frozen=True, eq=False)
class Pass:
    """Result of the forward pass of one batch of statements.

    Attributes:
        rows: indices of the statements.
        streams: their residual streams by layer; undefined on padding.
        log_probs: (batch, n_token) log-probability (nats) of each token given those before it; 0 for the first token
            and on padding. None unless requested.

    Example:
        >>> from probes.passes import contexts_of, passes
        >>> next(passes(model, contexts_of(model, places.statements[:2], None), (0, 1), 2)).streams[0].shape
        torch.Size([2, 6, 24])
    """

    rows: Int[Tensor, " batch"]
    streams: Streams
    log_probs: Float[Tensor, "batch n_token"] | None

    def total_and_mean(self, lengths: Int[Tensor, " n"]) -> Float[np.ndarray, "batch 2"]:
        """Return the total and mean log-probability of each row.

        Both are over the row's tokens after the first.

        Args:
            lengths: (n,) number of tokens of all statements.
        """
        assert self.log_probs is not None
        total = self.log_probs.sum(1).double()
        return torch.stack([total, total / (lengths[self.rows] - 1).clamp_min(1)], dim=1).numpy()


def contexts_of(model: Model, statements: Sequence[str], prepend_bos: bool | None) -> Contexts:
    """Tokenize statements, one row each; `prepend_bos=None` follows the tokenizer.

    >>> contexts_of(model, ["the tower is in Paris"], None).tokens.shape
    torch.Size([1, 5])
    """
    rows, _, bos = rows_of(model, statements, length=model.spec.n_ctx, pack=False, prepend_bos=prepend_bos)
    token_rows = list(rows)
    tokens, lengths = padded(token_rows, max(map(len, token_rows)))
    return Contexts(tokens, lengths, bos)


def passes(
    model: Model, contexts: Contexts, layers: tuple[int, ...], batch_size: int, *, log_probs: bool = False
) -> Iterator[Pass]:
    """Yield batches of statements with their residual streams.

    Args:
        model: the model.
        contexts: the tokens of the statements.
        layers: layers of the residual streams.
        batch_size: statements per batch.
        log_probs: whether the passes continue to the logits, for log-probabilities.

    Example:
        >>> contexts = contexts_of(model, ["the tower is in Paris", "London"], None)
        >>> [batch.streams[0].shape for batch in passes(model, contexts, (0,), batch_size=2)]
        [torch.Size([2, 5, 24])]
    """
    rows = _shared_rows(model, contexts, layers)
    if rows:
        yield from _shared(model, contexts, layers, batch_size, rows, log_probs)
    else:
        yield from _padded(model, contexts, layers, batch_size, log_probs)


def _shared_rows(model: Model, contexts: Contexts, layers: tuple[int, ...]) -> int:
    """Return how many statements are run together by their distinct prefixes.

    It is 0 where that costs more than running every token.
    """
    longest, count = int(contexts.lengths.max()), len(contexts)
    if not can_share(model, longest):
        return 0
    prefixes = Prefixes.of(contexts.tokens, contexts.lengths)
    groups = max(-(-count // MAX_ROWS), math.ceil(_bytes(model, prefixes, layers) / MAX_CACHE_BYTES))
    return -(-count // groups) if len(prefixes) + STEP * longest * groups < contexts.n_token else 0


def _bytes(model: Model, prefixes: Prefixes, layers: tuple[int, ...]) -> int:
    """Return the memory of the longest keys and values, and of all residual streams."""
    spec = model.spec
    positions = max(n_token * len(ids) for n_token, ids in enumerate(prefixes.ids, 1))
    cached = 2 * spec.n_layer * spec.n_kv_head * spec.d_head * positions
    return model.dtype.itemsize * (cached + len(layers) * spec.d_model * len(prefixes))


def _shared(
    model: Model, contexts: Contexts, layers: tuple[int, ...], batch_size: int, at_once: int, log_probs: bool
) -> Iterator[Pass]:
    hooks = tuple(hook_of(layer) for layer in layers)
    order = torch.from_numpy(
        np.lexsort(contexts.tokens.numpy().T[::-1])
    )  # statements with common prefixes are adjacent
    for rows in order.split(at_once):
        lengths = contexts.lengths[rows]
        prefixes = Prefixes.of(contexts.tokens[rows], lengths)
        activations, each = run_prefixes(model, prefixes, hooks, log_probs=log_probs)
        likelihoods = None if each is None else each.cpu()
        for at in torch.arange(len(rows)).split(batch_size):
            width = int(lengths[at].max())
            nodes, present = prefixes.nodes[at, :width], torch.arange(width) < lengths[at, None]
            likelihood = None if likelihoods is None else likelihoods[nodes] * present
            yield Pass(rows[at], [activations[hook][nodes.to(model.device)] for hook in hooks], likelihood)


def _padded(
    model: Model, contexts: Contexts, layers: tuple[int, ...], batch_size: int, log_probs: bool
) -> Iterator[Pass]:
    hooks = tuple(hook_of(layer) for layer in layers)
    for rows in torch.argsort(contexts.lengths, stable=True).split(batch_size):
        lengths = contexts.lengths[rows]
        tokens = contexts.tokens[rows, : int(lengths.max())].long()
        activations, logits = _run(model, tokens, hooks, log_probs)
        likelihood = None if logits is None else _log_probs(logits, tokens, lengths)
        yield Pass(rows, [activations[hook] for hook in hooks], likelihood)


def _run(
    model: Model, tokens: Int[Tensor, "batch n_token"], hooks: tuple[str, ...], log_probs: bool
) -> tuple[dict[str, Tensor], Tensor | None]:
    """Return activations, and the logits if log-probabilities are requested."""
    if not log_probs:
        return model.run_with_cache(tokens, hooks)[1], None
    if not hooks:
        return {}, model(tokens)
    return capture.run(model, model.check_tokens(tokens), hooks, logits=True)


@torch.no_grad()
def _log_probs(
    logits: Float[Tensor, "batch n_token d_vocab"], tokens: Int[Tensor, "batch n_token"], lengths: Int[Tensor, " batch"]
) -> Float[Tensor, "batch n_token"]:
    logits = logits[:, :-1].float()
    chosen = logits.gather(-1, tokens[:, 1:, None].to(logits.device))[..., 0]
    each = torch.zeros(tokens.shape)
    each[:, 1:] = (chosen - logits.logsumexp(-1)).cpu()
    return each * (torch.arange(tokens.shape[1]) < lengths[:, None])
