"""Activations in any form behind one protocol: tensors, a store, batches, or a callable.

    source = open_source(activations)
    for parts in source.batches(2048, seed=0): ...     # a tuple: one tensor of rows a part, aligned
    source.store                                       # the `Store` behind it, which knows contexts; else None

A part is a hook of a store, or one of the two tensors of a pair (the inputs and outputs of a transcoder).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from interp.cache.store import Store
from interp.cache.tensors import sha256
from interp.errors import UsageError, require

Parts = tuple[Tensor, ...]


@runtime_checkable
class Rows(Protocol):
    """Protocol of the rows of hooks, read by hook name.

    It has one or several hooks; `Store` is one.
    """

    @property
    def hooks(self) -> tuple[str, ...]:
        """Return the names of the hooks."""
        ...

    def __len__(self) -> int: ...

    def batches(self, batch_size: int, *, seed: int | None, hook: str, start: int = 0) -> Iterator[Tensor]:
        """Yield one epoch of the rows of a hook, as `Store.batches` does."""
        ...


class Source(Protocol):
    """Activations in any form: a tensor, a store, or batches."""

    @property
    def hooks(self) -> tuple[str, ...]:
        """Names of the parts; empty where they have none."""
        ...

    @property
    def rows(self) -> int | None:
        """Return the number of rows; None where it is not known."""
        ...

    @property
    def again(self) -> bool:
        """Return whether the activations can be read more than once."""
        ...

    @property
    def store(self) -> Store | None:
        """Return the store that activations are read from, if any."""
        ...

    def batches(self, size: int, *, seed: int | None = None, start: int = 0) -> Iterator[Parts]:
        """Yield one epoch from row `start` on, in batches of `size`.

        The order is that of `seed`, or as given.

        A stream has its own order and its own sizes, and starts where it is.
        """
        ...

    def identity(self) -> dict[str, Any]:
        """Return what identifies the activations: a digest, or that they are streamed."""
        ...


def open_source(activations: Any, hooks: tuple[str, ...] | None = None) -> Source:
    """Return the source of `activations`.

    Of a store only `hooks` are read if they are named.

    Raises `UsageError` for what holds no activations, and for a hook that the store does not have.
    """
    if isinstance(activations, Rows):
        return OnDisk(activations, tuple(activations.hooks) if hooks is None else hooks)
    if isinstance(activations, Tensor | np.ndarray):
        return InMemory((torch.as_tensor(activations),))
    if is_pair(activations):
        return InMemory(tuple(torch.as_tensor(part) for part in activations))
    if callable(activations) or isinstance(activations, Iterable):
        return Stream(activations)
    kind = type(activations).__name__
    raise UsageError(f"Activations are a tensor, a pair of tensors, a store or batches of tensors, not {kind}.")


def is_pair(value: Any) -> bool:
    """Return whether `value` is a tuple of two tensors or arrays."""
    return isinstance(value, tuple) and len(value) == 2 and all(isinstance(part, Tensor | np.ndarray) for part in value)


def _parts(item: Any) -> Parts:
    parts = tuple(item) if isinstance(item, tuple | list) else (item,)
    for part in parts:
        require(part, (Tensor, np.ndarray), "activations (each batch)")
    return tuple(map(torch.as_tensor, parts))


@dataclass(frozen=True, eq=False)
class InMemory:
    """Source in memory: one tensor, or two of as many rows."""

    tensors: Parts
    hooks: tuple[str, ...] = ()
    again: bool = True
    store: Store | None = None

    def __post_init__(self) -> None:
        counts = [len(part) for part in self.tensors]
        if len(set(counts)) > 1:
            raise UsageError(f"There are {counts[0]} inputs and {counts[1]} outputs: give as many of both.")

    @property
    def rows(self) -> int:
        """Return the number of rows; see `Source`."""
        return len(self.tensors[0])

    def batches(self, size: int, *, seed: int | None = None, start: int = 0) -> Iterator[Parts]:
        """Return batches of the tensors; see `Source`."""
        if seed is None:
            return zip(*(part[start:].split(size) for part in self.tensors), strict=True)
        order = torch.randperm(self.rows, generator=torch.Generator().manual_seed(seed))[start:]
        return (tuple(part[rows.to(part.device)] for part in self.tensors) for rows in order.split(size))

    def identity(self) -> dict[str, Any]:
        """Return what identifies the tensors; see `Source`."""
        digest = sha256((f"{part.dtype};", part) for part in self.tensors)
        return {"kind": "tensor", "shape": [list(part.shape) for part in self.tensors], "sha256": digest}


@dataclass(frozen=True, eq=False)
class OnDisk:
    """Source on disk: hooks of a store."""

    given: Rows
    hooks: tuple[str, ...]
    again: bool = True

    @property
    def rows(self) -> int:
        """Return the number of rows; see `Source`."""
        return len(self.given)

    @property
    def store(self) -> Store | None:
        """Return the store; see `Source`."""
        return self.given if isinstance(self.given, Store) else None

    def batches(self, size: int, *, seed: int | None = None, start: int = 0) -> Iterator[Parts]:
        """Return batches of the store's rows; see `Source`."""
        parts = (self.given.batches(size, seed=seed, hook=hook, start=start) for hook in self.hooks)
        return zip(*parts, strict=True)

    def identity(self) -> dict[str, Any]:
        """Return what identifies the store; see `Source`."""
        return {"kind": "iterable"} if self.store is None else self.store.identity()


@dataclass(frozen=True, eq=False)
class Stream:
    """Source of batches in the given order.

    An iterator can be read once, a collection or a callable again from its start.
    """

    given: Callable[[], Any] | Iterable[Any]
    hooks: tuple[str, ...] = ()
    rows: int | None = None
    store: Store | None = None

    @property
    def again(self) -> bool:
        """Return whether it can be read again; see `Source`."""
        return not isinstance(self.given, Iterator)

    def batches(self, size: int = 0, *, seed: int | None = None, start: int = 0) -> Iterator[Parts]:  # noqa: ARG002
        """Return the batches that the iterable gives; see `Source`.

        An item is one tensor, or a tuple or list of them.
        """
        items = self.given() if callable(self.given) else self.given
        if not isinstance(items, Iterable):
            raise UsageError(f"Activations come in batches of tensors, but the callable gave {type(items).__name__}.")
        return map(_parts, items)

    def identity(self) -> dict[str, Any]:
        """Return what identifies the iterable; see `Source`.

        An object may name itself by its own method `identity()`.
        """
        named = getattr(self.given, "identity", None)
        return {"kind": "iterable"} if named is None else named()
