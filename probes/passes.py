"""Forward passes over statements: their residual streams, and the log-probabilities of their tokens.

Statements of one set often begin alike ("The city of Paris is in ..."). Where enough of their tokens are shared, each
distinct prefix is computed once (`interp.model.prefixes`); otherwise statements run shortest first, so that a batch
has little padding, which is on the right: no position of a causal model sees what comes behind it. Either way what a
statement's row is depends on the statement alone; batch size and neighbours change it by float32 rounding only.
"""

from __future__ import annotations

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
"""What one forward pass costs besides its tokens, in tokens: every weight is read once."""
MAX_ROWS = 512
MAX_CACHE_BYTES = 5e8
"""Keys and values kept at a time while prefixes are shared."""


@dataclass(frozen=True, eq=False)
class Pass:
    """What one batch of statements gave.

    Attributes:
        rows: the numbers of the statements.
        streams: their residual stream, by layer; meaningless on padding.
        log_probs: (batch, n_token) log-probability of each token given those before it, in nats; 0 for the first and
            on padding. None unless asked for.
    """

    rows: Int[Tensor, " batch"]
    streams: Streams
    log_probs: Float[Tensor, "batch n_token"] | None

    def total_and_mean(self, lengths: Int[Tensor, " n"]) -> Float[np.ndarray, "batch 2"]:
        """Return the total and mean log-probability of each row's tokens after its first; `lengths` of all rows."""
        assert self.log_probs is not None
        total = self.log_probs.sum(1).double()
        return torch.stack([total, total / (lengths[self.rows] - 1).clamp_min(1)], dim=1).numpy()


def contexts_of(model: Model, statements: Sequence[str], prepend_bos: bool | None) -> Contexts:
    """Return the tokens of each statement, one row each, with the tokenizer's own BOS habit or another."""
    rows, _, bos = rows_of(model, statements, length=model.spec.n_ctx, pack=False, prepend_bos=prepend_bos)
    taken = list(rows)
    tokens, lengths = padded(taken, max(map(len, taken)))
    return Contexts(tokens, lengths, bos)


def passes(
    model: Model, contexts: Contexts, layers: tuple[int, ...], batch: int, *, log_probs: bool = False
) -> Iterator[Pass]:
    """Yield every statement once, `batch` at a time, with its residual stream at `layers`.

    With `log_probs` the passes go on to the logits.
    """
    longest = int(contexts.lengths.max())
    rows = _rows_at_once(model, longest)
    if _worth_sharing(model, contexts, rows):
        yield from _shared(model, contexts, layers, batch, rows, log_probs)
    else:
        yield from _padded(model, contexts, layers, batch, log_probs)


def _worth_sharing(model: Model, contexts: Contexts, rows: int) -> bool:
    """Return whether running distinct prefixes costs less than running every token."""
    longest = int(contexts.lengths.max())
    if not can_share(model, longest):
        return False
    steps = longest * -(-len(contexts) // rows)
    return len(Prefixes.of(contexts.tokens, contexts.lengths)) + STEP * steps < contexts.n_token


def _rows_at_once(model: Model, longest: int) -> int:
    spec = model.spec
    each = 2 * spec.n_layer * spec.n_kv_head * spec.d_head * model.dtype.itemsize * longest
    return max(1, min(MAX_ROWS, int(MAX_CACHE_BYTES / each)))


def _shared(
    model: Model, contexts: Contexts, layers: tuple[int, ...], batch: int, at_once: int, log_probs: bool
) -> Iterator[Pass]:
    hooks = tuple(hook_of(layer) for layer in layers)
    order = torch.from_numpy(np.lexsort(contexts.tokens.numpy().T[::-1]))  # those that begin alike stand together
    for rows in order.split(at_once):
        lengths = contexts.lengths[rows]
        prefixes = Prefixes.of(contexts.tokens[rows], lengths)
        found, each = run_prefixes(model, prefixes, hooks, log_probs=log_probs)
        likelihoods = None if each is None else each.cpu()
        for at in torch.arange(len(rows)).split(batch):
            width = int(lengths[at].max())
            nodes, present = prefixes.nodes[at, :width], torch.arange(width) < lengths[at, None]
            likelihood = None if likelihoods is None else likelihoods[nodes] * present
            yield Pass(rows[at], [found[hook][nodes.to(model.device)] for hook in hooks], likelihood)


def _padded(model: Model, contexts: Contexts, layers: tuple[int, ...], batch: int, log_probs: bool) -> Iterator[Pass]:
    hooks = tuple(hook_of(layer) for layer in layers)
    for rows in torch.argsort(contexts.lengths, stable=True).split(batch):
        lengths = contexts.lengths[rows]
        tokens = contexts.tokens[rows, : int(lengths.max())].long()
        found, logits = _run(model, tokens, hooks, log_probs)
        likelihood = None if logits is None else _log_probs(logits, tokens, lengths)
        yield Pass(rows, [found[hook] for hook in hooks], likelihood)


def _run(
    model: Model, tokens: Int[Tensor, "batch n_token"], hooks: tuple[str, ...], log_probs: bool
) -> tuple[dict[str, Tensor], Tensor | None]:
    """Return activations, and the logits if log-probabilities are asked for."""
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
