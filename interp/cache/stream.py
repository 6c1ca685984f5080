"""Activations for training without disk, from a bounded buffer that is shuffled and refilled."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interp.cache.config import EXCLUDED
from interp.cache.contexts import Contexts, padded, rows_of
from interp.cache.forward import DTYPES, activations, shapes
from interp.cache.store import rebatched
from interp.errors import UsageError

if TYPE_CHECKING:
    from interp.model import Model

AT_ONCE = 16
"""Contexts a forward pass."""


def stream(
    model: Model,
    tokens: Any,
    hook: str | Sequence[str],
    *,
    seed: int,
    buffer: int = 65_536,
    batch_size: int = 2048,
    context: int = 128,
) -> Iterator[Any]:
    """Yield shuffled float32 batches of a hook's activations, computed on demand.

    Each row is yielded exactly once.

    The buffer is filled, mixed, and half of it is given out; the other half is mixed again with what refills it, so
    that neighbours in the text are rarely neighbours in training. Position 0 and padding are left out. At most about
    three times `buffer` rows are in memory: the buffer, what is yielded, and the next batch. The last batch may be
    smaller.

    Args:
        model: run no deeper than the hook.
        tokens: documents or rows of tokens, read only as far as needed, so they may be endless.
        hook: a transformer_lens name, for tensors (batch, d); or several, for tuples of such tensors whose rows belong
            to the same tokens.
        seed: of the mixing.
        buffer: rows mixed at a time.
        batch_size: rows a batch, at most the buffer.
        context: the length of a context.

    Returns:
        An iterator over tensors (batch, d), or over tuples of them for several hooks.

    Raises:
        UsageError: an unknown hook, or a batch larger than the buffer.

    >>> batches = stream(model, texts, "blocks.1.hook_resid_post", seed=0, buffer=512, batch_size=256, context=32)
    >>> [tuple(batch.shape) for batch in batches]
    [(256, 24), (256, 24), (256, 24), (224, 24)]
    """
    hooks = (hook,) if isinstance(hook, str) else tuple(hook)
    batches = _batches(model, tokens, hooks, _Mixing(seed, buffer, batch_size, context))
    return (batch[0] for batch in batches) if isinstance(hook, str) else batches


@dataclass(frozen=True)
class _Mixing:
    """Settings of a stream's shuffling; see `ModelStream`."""

    seed: int
    buffer: int
    batch_size: int
    context: int
    dtype: str = "float32"


def _batches(model: Model, tokens: Any, hooks: tuple[str, ...], how: _Mixing) -> Iterator[tuple[Tensor, ...]]:
    """Return batches of the hooks, computed on demand.

    Arguments are checked at once.
    """
    if not 1 <= how.batch_size <= how.buffer:
        raise UsageError(f"batch_size={how.batch_size} must be between 1 and the buffer of {how.buffer} rows.")
    widths = [one.width for one in shapes(model, hooks)]
    rows, _, _ = rows_of(model, tokens, length=how.context)
    pool = torch.empty(how.buffer, sum(widths), dtype=DTYPES[how.dtype])
    pieces = _activations(model, rows, hooks, how)
    mixed = rebatched(_mixed(pieces, pool, torch.Generator().manual_seed(how.seed)), how.batch_size)
    return (tuple(part.float().contiguous() for part in batch.split(widths, dim=1)) for batch in mixed)


@dataclass(frozen=True, eq=False)
class ModelStream:
    """Activations of a model over text, computed on demand.

    Each call gives the same batches.

    Attributes:
        model: run no deeper than the last hook.
        text: gives documents or rows of tokens from their start; see `interp.cache.contexts.rows_of`.
        hooks: that are read, in this order.
        batch_size: rows a batch; a last smaller one is left out.
        seed: of the mixing.
        context: tokens a context.
        buffer: rows mixed at a time; the order of the rows depends on it.
        dtype: of the buffer.
        about: facts that identify the text, for `identity`.

    >>> hooks = ("blocks.0.hook_resid_post", "blocks.1.hook_resid_post")
    >>> live = cache.ModelStream(model, lambda: texts, hooks, batch_size=256, context=32, buffer=512)
    >>> [part.shape for part in next(iter(live()))]
    [torch.Size([256, 24]), torch.Size([256, 24])]
    """

    model: Model
    text: Callable[[], Any]
    hooks: tuple[str, ...]
    batch_size: int = 2048
    seed: int = 0
    context: int = 128
    buffer: int = 65_536
    dtype: str = "float32"
    about: dict[str, Any] = field(default_factory=dict)

    def __call__(self) -> Iterator[Any]:
        """Yield batches of activations.

        Of one hook they are (batch, d), of several a tuple of such tensors.
        """
        how = _Mixing(self.seed, self.buffer, self.batch_size, self.context, self.dtype)
        whole = (b for b in _batches(self.model, self.text(), self.hooks, how) if len(b[0]) == self.batch_size)
        return (batch[0] for batch in whole) if len(self.hooks) == 1 else whole

    def select(self, hooks: Sequence[str]) -> Self:
        """Return the same rows in the same order, of these hooks only.

        >>> live.select(["blocks.1.hook_resid_post"]).hooks
        ('blocks.1.hook_resid_post',)
        """
        return replace(self, hooks=tuple(hooks))

    def identity(self) -> dict[str, Any]:
        """Return what a resumed run must have in common with this one.

        >>> sorted(live.identity())
        ['buffer', 'context', 'dtype', 'hooks', 'kind', 'weights_sha256']
        """
        weights = self.model.weights_sha256
        settings = {"hooks": list(self.hooks), "context": self.context, "buffer": self.buffer, "dtype": self.dtype}
        return {"kind": "stream", "weights_sha256": weights, **settings, **self.about}

    def origin(self) -> dict[str, Any]:
        """Return where the activations come from, under the names that SAELens knows.

        >>> sorted(live.origin())[:3]
        ['context_size', 'excluded_positions', 'model_dtype']
        """
        identity = self.model.identity()
        return {
            "model_name": identity["model"],
            "model_weights_sha256": identity["weights_sha256"],
            "model_dtype": identity["dtype"],
            "context_size": self.context,
            "prepend_bos": bool(self.model.spec.prepends_bos),
            "excluded_positions": list(EXCLUDED),
        }


def _activations(
    model: Model, rows: Iterator[np.ndarray], hooks: tuple[str, ...], how: _Mixing
) -> Iterator[Float[Tensor, "n_row d_all"]]:
    """Yield the rows of all hooks, concatenated along the last axis."""
    while some := list(islice(rows, AT_ONCE)):
        contexts = Contexts(*padded(some, how.context))
        for result in activations(model, contexts, hooks, batch_size=AT_ONCE, dtype=how.dtype):
            yield result[hooks[0]] if len(hooks) == 1 else torch.cat([result[hook] for hook in hooks], dim=1)


def _mixed(
    pieces: Iterator[Float[Tensor, "n d"]], pool: Float[Tensor, "size d"], generator: torch.Generator
) -> Iterator[Float[Tensor, "n d"]]:
    """Yield half the pool, shuffled, each time it is full.

    At the end all of it is yielded.
    """
    size, filled, half = len(pool), 0, len(pool) // 2
    for piece in pieces:
        rest = piece
        while len(rest):
            taken, rest = rest.split([min(size - filled, len(rest)), max(len(rest) - (size - filled), 0)])
            pool[filled : filled + len(taken)] = taken
            filled += len(taken)
            if filled == size:
                order = torch.randperm(size, generator=generator)
                yield pool[order[half:]]
                pool[:half], filled = pool[order[:half]], half
    yield pool[torch.randperm(filled, generator=generator)]
