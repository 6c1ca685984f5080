"""Contexts: rows of token ids, as the model will read them.

How documents become contexts, following the tokenizer's own habit:

- It starts texts with BOS (Llama, Gemma), or `prepend_bos=True`: documents are joined with BOS between them, and every
  context begins with BOS, followed by the next `length - 1` tokens. A document's own BOS is not doubled.
- It does not (SmolLM2, GPT-2, Pythia), or `prepend_bos=False`: an EOS follows each document where the tokenizer has
  one, and every context is the next `length` tokens.

All packed contexts are full; what is left at the end, less than one context, is dropped. Nothing is padded, and a
document that ends inside a context is seen by the one that follows it, as in the training of most models.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Int
from torch import Tensor

from interp.cache.text import cut
from interp.errors import UsageError

if TYPE_CHECKING:
    from interp.model import Model

AT_ONCE = 64
"""Documents given to the tokenizer at once."""


@dataclass(frozen=True, eq=False)
class Contexts:
    """Token ids in memory, 4 bytes a token.

    An activation takes 4·d_model bytes a token on disk. `lengths` counts the tokens of each row; what follows is
    padding, with id 0. `prepend_bos` states whether every row begins with BOS (None: not known, or some do);
    `separator` is the id put between packed documents, if any.

    >>> Contexts(torch.zeros(2, 3, dtype=torch.long), torch.tensor([3, 2])).lengths.tolist()
    [3, 2]
    """

    tokens: Int[Tensor, "n_context context"]
    lengths: Int[Tensor, " n_context"]
    prepend_bos: bool | None = None
    separator: int | None = None

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def n_token(self) -> int:
        """Tokens in all, padding not counted."""
        return int(self.lengths.sum())

    def sha256(self) -> str:
        """Return the SHA-256 digest of the length and ids of every row.

        Padding does not change it.

        >>> store.contexts().sha256()[:8]
        '5b491f41'
        """
        digest = hashlib.sha256()
        for ids, length in zip(self.tokens.numpy(), self.lengths.tolist(), strict=True):
            digest.update(np.int32(length).tobytes() + ids[:length].tobytes())
        return digest.hexdigest()

    def stored(self, exclude: tuple[str, ...], start: int, stop: int) -> Bool[Tensor, "n context"]:
        """Return which positions of rows `start` to `stop` are stored.

        Args:
            exclude: "first", "padding", both or neither.
            start: the first row.
            stop: the row after the last.

        Returns:
            (n, context), true at positions that are stored.

        >>> store.contexts().stored(("first",), 0, 2)[:, :4]
        tensor([[False,  True,  True,  True],
                [False,  True,  True,  True]])
        """
        return stored(self.lengths[start:stop], self.tokens.shape[1], exclude)


def stored(lengths: Int[Tensor, " n"], width: int, exclude: tuple[str, ...]) -> Bool[Tensor, "n width"]:
    """Return a mask of the positions that are stored.

    It is True at positions that are neither an excluded first one nor excluded padding.
    """
    position = torch.arange(width).expand(len(lengths), width)
    mask = position < lengths[:, None] if "padding" in exclude else torch.ones_like(position, dtype=torch.bool)
    return mask & (position > 0) if "first" in exclude else mask


def contexts_of(
    model: Model, source: Any, *, length: int, pack: bool = True, prepend_bos: bool | None = None, max_tokens: int
) -> Contexts:
    """Convert `source` to contexts of at most `length` tokens.

    There are no more than `max_tokens` in all, but at least one context.

    Args:
        model: whose tokenizer is used on text; not needed for tokens.
        source: documents (an iterable of strings, see `documents`), or tokens: `Contexts`, a two-dimensional tensor or
            array whose rows are contexts, a one-dimensional one that is cut into contexts, or an iterable of either.
        length: see `Config.context`.
        pack: see `Config.pack`; rows of tokens are contexts already.
        prepend_bos: see the module; only for text.
        max_tokens: bound of what is read, and so of the memory.

    Raises:
        UsageError: no tokens, fewer than one context, a row or an unpacked document longer than a context, an id that
            is not in the vocabulary.
    """
    if isinstance(source, Contexts):
        _check_ids(_array(source.tokens), "A context of the source", model.spec.d_vocab)
        return _limited(source, length, max_tokens)
    rows, separator, bos = rows_of(model, source, length=length, pack=pack, prepend_bos=prepend_bos)
    taken = list(_until(rows, max_tokens))
    if not taken:
        raise UsageError(f"The text holds fewer than {length} tokens: give more, or a shorter context.")
    tokens, lengths = padded(taken, length)
    return Contexts(tokens, lengths, _begin_with_bos(model, tokens) if bos is None else bos, separator)


def padded(
    rows: Sequence[Int[np.ndarray, " n_token"]], length: int
) -> tuple[Int[Tensor, "n_context length"], Int[Tensor, " n_context"]]:
    """Return rows padded with id 0 on the right, and their lengths."""
    tokens = torch.zeros(len(rows), length, dtype=torch.int32)
    for i, row in enumerate(rows):
        tokens[i, : len(row)] = torch.from_numpy(row)
    return tokens, torch.tensor([len(row) for row in rows], dtype=torch.int32)


def rows_of(
    model: Model, source: Any, *, length: int, pack: bool = True, prepend_bos: bool | None = None
) -> tuple[Iterator[Int[np.ndarray, " n_token"]], int | None, bool | None]:
    """Return an iterator over contexts, the separator, and whether contexts have BOS.

    The source is read only as far as contexts are taken.
    """
    if isinstance(source, Contexts):
        _check_ids(_array(source.tokens), "A context of the source", model.spec.d_vocab)
        pairs = zip(source.tokens.numpy(), source.lengths.tolist(), strict=True)
        return (row[:count] for row, count in pairs), source.separator, source.prepend_bos
    if isinstance(source, str | bytes):
        raise UsageError('Text must come as documents: cache.documents("file.txt"), or a list of strings.')
    items = iter(_long_row(source, length) if isinstance(source, Tensor | np.ndarray) and source.ndim == 1 else source)
    first = next(items, None)
    if first is None:
        raise UsageError("No text or tokens given: the source is empty.")
    items = chain([first], items)
    if not isinstance(first, str):
        return _token_contexts(items, length, model.spec.d_vocab), None, None
    bos = model.spec.prepends_bos if prepend_bos is None else prepend_bos
    start = _bos_id(model) if bos else None
    ids = _tokenized(model, items)
    if not pack:
        return _one_each(ids, length, start), None, bool(bos)
    separator = start if bos else model.tokenizer.eos_token_id
    return _packed(ids, length, start, separator), separator, bool(bos)


def _packed(
    documents: Iterable[list[int]], length: int, bos: int | None, separator: int | None
) -> Iterator[Int[np.ndarray, " n_token"]]:
    """Yield full contexts of documents joined by `separator`.

    Each starts with `bos` if given.
    """
    head = [] if bos is None else [bos]
    between = [] if separator is None else [separator]
    waiting: list[int] = []
    for i, ids in enumerate(documents):
        waiting += ids + between if bos is None else between * (i > 0) + ids
        at = 0
        while True:
            doubled = bos is not None and waiting[at : at + 1] == head  # a context between two documents has its BOS
            end = at + doubled + length - len(head)
            if end > len(waiting):
                break
            yield np.array(head + waiting[at + doubled : end], dtype=np.int32)
            at = end
        del waiting[:at]


def _one_each(documents: Iterable[list[int]], length: int, bos: int | None) -> Iterator[Int[np.ndarray, " n_token"]]:
    for i, ids in enumerate(documents):
        row = np.array(([] if bos is None else [bos]) + ids, dtype=np.int32)
        yield _checked(row, i, length)


def _long_row(tokens: Tensor | np.ndarray, length: int) -> Iterator[np.ndarray]:
    if len(tokens) < length:
        raise UsageError(f"The source has {len(tokens)} tokens, fewer than one context of {length}.")
    return cut(_array(tokens), length)


def _token_contexts(items: Iterable[Any], length: int, d_vocab: int) -> Iterator[Int[np.ndarray, " n_token"]]:
    for i, item in enumerate(items):
        row = _array(item)
        if row.ndim != 1 or (row.size and row.dtype.kind not in "iu"):
            raise UsageError(f"Item {i} of the source is {type(item).__name__}, not a row of integer token ids.")
        _check_ids(row, f"Row {i} of the source", d_vocab)
        yield _checked(row.astype(np.int32), i, length)


def _check_ids(ids: np.ndarray, what: str, d_vocab: int) -> None:
    """Raise `UsageError` for an id outside the vocabulary.

    A narrower integer type would turn it into another id.
    """
    outside = ids[(ids < 0) | (ids >= d_vocab)] if ids.size else ids
    if outside.size:
        raise UsageError(f"{what} has the token id {outside.flat[0]}; this model's are 0 to {d_vocab - 1:,}.")


def _array(item: Any) -> np.ndarray:
    return np.asarray(item.cpu() if isinstance(item, Tensor) else item)


def _checked(row: Int[np.ndarray, " n_token"], index: int, length: int) -> Int[np.ndarray, " n_token"]:
    if not 0 < len(row) <= length:
        raise UsageError(f"Row {index} of the source has {len(row)} tokens: one to {length} fit a context of {length}.")
    return row


def _tokenized(model: Model, documents: Iterable[Any]) -> Iterator[list[int]]:
    texts = iter(documents)
    while some := list(islice(texts, AT_ONCE)):
        if not all(isinstance(text, str) for text in some):
            raise UsageError("Some items of the source are text and some are not: give one or the other.")
        yield from model.tokenizer(some, add_special_tokens=False, verbose=False).input_ids


def _bos_id(model: Model) -> int:
    bos = model.tokenizer.bos_token_id
    if bos is None:
        raise UsageError("prepend_bos=True, but this tokenizer has no BOS token.")
    return bos


def _until(rows: Iterator[np.ndarray], max_tokens: int) -> Iterator[np.ndarray]:
    """Yield rows while their tokens fit; the first one in any case."""
    seen = 0
    for row in rows:
        if seen and seen + len(row) > max_tokens:
            return
        seen += len(row)
        yield row


def _limited(contexts: Contexts, length: int, max_tokens: int) -> Contexts:
    if contexts.tokens.shape[1] != length:
        raise UsageError(f"The contexts have {contexts.tokens.shape[1]} tokens, but the configuration says {length}.")
    count = max(int((contexts.lengths.long().cumsum(0) <= max_tokens).sum()), 1)
    tokens, lengths = contexts.tokens[:count].int(), contexts.lengths[:count].int()
    return Contexts(tokens, lengths, contexts.prepend_bos, contexts.separator)


def _begin_with_bos(model: Model, tokens: Int[Tensor, "n_context context"]) -> bool | None:
    """Return whether rows of tokens begin with BOS.

    None without a tokenizer, or when only some do.
    """
    bos = model.tokenizer.bos_token_id if model.has_tokenizer else None
    if bos is None:
        return None
    begins = tokens[:, 0] == bos
    return bool(begins[0]) if begins.all() or not begins.any() else None
