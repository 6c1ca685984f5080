"""Activations with their tokens, read in pieces of whole contexts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.cache.contexts import stored
from interp.errors import UsageError

if TYPE_CHECKING:
    from interp.cache import Store
    from saes.autoencoder import SAE


@dataclass(frozen=True)
class Passage:
    """Consecutive contexts with their activations.

    Attributes:
        first: number of the first context.
        tokens: ids, -1 where a context has ended.
        row: row of `x` that belongs to a position, -1 where no activation is stored (position 0, padding).
        x: activations.

    Example:
        >>> Corpus.of_tensors(torch.rand(3, 5, 4), torch.arange(15).view(3, 5)).read(1, 2).tokens.tolist()
        [[5, 6, 7, 8, 9]]
    """

    first: int
    tokens: Int[Tensor, "context position"]
    row: Int[Tensor, "context position"]
    x: Float[Tensor, " n *d_in"]


@dataclass(frozen=True)
class Corpus:
    """Contexts with activations that can be read by number.

    Made by `of_store` or `of_tensors`.

    Attributes:
        contexts: number of contexts.
        length: number of tokens of a context.
        read: function that returns the contexts from its first number up to, not including, its second.

    Example:
        >>> Corpus.of_tensors(torch.rand(3, 5, 4), torch.zeros(3, 5, dtype=torch.long)).contexts
        3
    """

    contexts: int
    length: int
    read: Callable[[int, int], Passage]

    @classmethod
    def of_store(cls, store: Store, sae: SAE) -> Self:
        """Return the contexts of a store, with the activations that `sae` reads.

        Raises `UsageError` if the store does not have them.

        >>> corpus = Corpus.of_store(store, dictionaries["blocks.1.hook_resid_post"])
        >>> corpus.contexts, corpus.length, corpus.read(0, 2).x.shape
        (40, 10, torch.Size([18, 24]))
        """
        hooks, first_row = hooks_read(sae, store), _first_rows(store)

        def read(start: int, stop: int) -> Passage:
            contexts = store.contexts(start, stop)
            mask = contexts.stored(store.manifest.exclude, 0, stop - start)
            inside = torch.arange(contexts.tokens.shape[1]) < contexts.lengths[:, None]
            low, high = int(first_row[start]), int(first_row[stop])
            parts = [store.tensor(hook, low, high).float() for hook in hooks]
            x = parts[0] if len(parts) == 1 else torch.stack(parts, 1)
            return Passage(start, contexts.tokens.long().where(inside, -1), _numbered(mask), x)

        return cls(store.manifest.contexts, store.manifest.context, read)

    @classmethod
    def of_tensors(cls, x: Float[Tensor, "context position d_in"], tokens: Int[Tensor, "context position"]) -> Self:
        """Return contexts in memory, with an activation at every position.

        >>> corpus = Corpus.of_tensors(torch.rand(3, 5, 4), torch.arange(15).view(3, 5))
        >>> corpus.read(0, 2).tokens.tolist()
        [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
        """
        if x.shape[:2] != tokens.shape:
            raise UsageError(f"{tuple(x.shape)} activations do not belong to {tuple(tokens.shape)} tokens.")

        def read(start: int, stop: int) -> Passage:
            every = torch.ones_like(tokens[start:stop], dtype=torch.bool)
            return Passage(start, tokens[start:stop].long(), _numbered(every), x[start:stop].flatten(0, 1).float())

        return cls(len(tokens), tokens.shape[1], read)

    def passages(self, rows: int) -> Iterator[Passage]:
        """Yield all contexts, in pieces of about `rows` rows.

        A piece has at least one context.

        >>> corpus = Corpus.of_tensors(torch.rand(3, 5, 4), torch.arange(15).view(3, 5))
        >>> [passage.x.shape for passage in corpus.passages(rows=10)]
        [torch.Size([10, 4]), torch.Size([5, 4])]
        """
        step = max(1, rows // self.length)
        return (self.read(at, min(at + step, self.contexts)) for at in range(0, self.contexts, step))


def hooks_read(sae: SAE, store: Store) -> tuple[str, ...]:
    """Return the hooks of `store` that `sae` reads.

    Raises `UsageError` if the autoencoder belongs to another hook, another size or another model.

    >>> hooks_read(dictionaries["blocks.1.hook_resid_post"], store)
    ('blocks.1.hook_resid_post',)
    """
    about, names = sae.metadata, store.hooks
    model, harvested = about.get("model_name"), store.manifest.model["model"]
    weights, theirs = about.get("model_weights_sha256"), store.manifest.model["weights_sha256"]
    if (weights and weights != theirs) or (not weights and model and model != harvested):
        raise UsageError(f"The autoencoder is of {model}, but the store was harvested from {harvested}: give its own.")
    wanted = about.get("hook_names") if sae.variant == "crosscoder" else [about.get("hook_name")]
    wanted = tuple(name for name in wanted or () if name) or (names if len(names) == 1 else ())
    if not wanted:
        raise UsageError(f"The autoencoder does not say which hook it reads, and the store has {', '.join(names)}.")
    for name in wanted:
        if name not in names:
            raise UsageError(
                f"The autoencoder reads {name}, but the store holds {', '.join(names)}: harvest that hook."
            )
    width = sum(store.manifest.hook(name).width for name in wanted)
    if width != sae.d_in:
        raise UsageError(f"The autoencoder reads {sae.d_in} numbers a row, but {' and '.join(wanted)} has {width}.")
    return wanted


def _first_rows(store: Store) -> Int[Tensor, " contexts_and_one"]:
    """Return the first row of every context, and the number of rows."""
    manifest, parts = store.manifest, [torch.zeros(1, dtype=torch.long)]
    for start in range(0, manifest.contexts, 65_536):
        lengths = store.contexts(start, start + 65_536).lengths
        parts.append(stored(lengths, manifest.context, manifest.exclude).sum(1))
    return torch.cat(parts).cumsum(0)


def _numbered(mask: Tensor) -> Tensor:
    return (mask.flatten().cumsum(0) - 1).view_as(mask).where(mask, -1)
