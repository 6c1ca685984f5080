"""Activations for training with no disk: a bounded buffer that is mixed, half used, and refilled."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interp.cache.contexts import Contexts, padded, rows_of
from interp.cache.forward import activations, shapes
from interp.cache.store import rebatched
from interp.errors import UsageError

if TYPE_CHECKING:
    from interp.model import Model

AT_ONCE = 16
"""Contexts a forward pass."""


def stream(
    model: Model,
    tokens: Any,
    hook: str,
    *,
    seed: int,
    buffer: int = 65_536,
    batch_size: int = 2048,
    context: int = 128,
) -> Iterator[Float[Tensor, "batch d"]]:
    """Shuffled float32 batches of a hook's activations, computed as they are asked for; each row exactly once.

    The buffer is filled, mixed, and half of it is given out; the other half is mixed again with what refills it, so
    that neighbours in the text are seldom neighbours in training. Position 0 and padding are left out. At most about
    three times `buffer` rows are held: the buffer, what is given out, and a batch in the making. The last batch may be
    smaller.

    Args:
        model: run no deeper than the hook.
        tokens: documents or rows of tokens, read only as far as needed, so they may be endless.
        hook: one transformer_lens name.
        seed: of the mixing.
        buffer: rows mixed at a time.
        batch_size: rows a batch, at most the buffer.
        context: the length of a context.

    Raises:
        UsageError: an unknown hook, or a batch larger than the buffer.
    """
    if not 1 <= batch_size <= buffer:
        raise UsageError(f"batch_size={batch_size} must be between 1 and the buffer of {buffer} rows.")
    width = shapes(model, (hook,))[0].width
    rows, _, _ = rows_of(model, tokens, length=context)
    mixed = _mixed(_activations(model, rows, hook, context), width, buffer, torch.Generator().manual_seed(seed))
    return rebatched(mixed, batch_size)


def _activations(
    model: Model, rows: Iterator[np.ndarray], hook: str, context: int
) -> Iterator[Float[Tensor, "n_row d"]]:
    while some := list(islice(rows, AT_ONCE)):
        for found in activations(model, Contexts(*padded(some, context)), (hook,), batch=AT_ONCE):
            yield found[hook]


def _mixed(
    pieces: Iterator[Float[Tensor, "n d"]], width: int, size: int, generator: torch.Generator
) -> Iterator[Float[Tensor, "n d"]]:
    """Half the pool, freshly mixed, each time it is full; at the end all of it."""
    pool, held, half = torch.empty(size, width), 0, size // 2
    for piece in pieces:
        rest = piece
        while len(rest):
            taken, rest = rest.split([min(size - held, len(rest)), max(len(rest) - (size - held), 0)])
            pool[held : held + len(taken)] = taken
            held += len(taken)
            if held == size:
                order = torch.randperm(size, generator=generator)
                yield pool[order[half:]]
                pool[:half], held = pool[order[:half]], half
    yield pool[torch.randperm(held, generator=generator)]
