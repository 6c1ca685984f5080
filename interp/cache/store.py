"""Read a store: rows by number, or shuffled batches through memory maps.

    store = Store.open("out/acts")
    len(store), store.mean, store.scale
    for batch in store.batches(2048, seed=0): ...          # one epoch, each row exactly once
    store.tensor("blocks.10.hook_resid_post", 0, 1000)     # rows in the dtype of the store

How rows are shuffled: runs of 16 neighbouring rows are put into a random order over the whole store, and each 1,024
of them (16,384 rows) are mixed row by row. A batch thus draws on a thousand places of all shards, while the disk is
read in runs. A store of no more rows than that is mixed completely.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.cache import shards
from interp.cache.contexts import Contexts, stored
from interp.cache.forward import DTYPES
from interp.cache.manifest import Hook, Manifest, Statistics
from interp.errors import CheckFailedError, DamagedFileError, MissingInputError, UsageError

if TYPE_CHECKING:
    from interp.model import Model

RUN = 16
MIXED = 1024


@dataclass(frozen=True, eq=False)
class Store:
    """Finished harvest on disk.

    Open it with `Store.open`. The object has no open file and no activation in memory.

    >>> config = cache.Config(("blocks.1.hook_resid_post",), context=32)
    >>> store = cache.harvest(model, texts, config, folder)
    >>> len(store), store.hooks
    (992, ('blocks.1.hook_resid_post',))
    """

    folder: Path
    manifest: Manifest
    selected: tuple[str, ...] | None = None
    """The hooks that are read, in this order; None for all."""

    @classmethod
    def open(cls, folder: str | os.PathLike[str], model: Model | None = None) -> Self:
        """Open the store in `folder`.

        With `model`, it is opened only if it was harvested from that model.

        Raises:
            MissingInputError: no manifest, a harvest that was stopped before its end, or a missing shard.
            DamagedFileError: an altered manifest or a truncated shard. Altered bytes are detected when a shard is
                first read, or by `verify`.
            UsageError: a model with other weights.

        >>> cache.Store.open(store.folder, model).hooks
        ('blocks.1.hook_resid_post',)
        """
        path = Path(folder)
        manifest = Manifest.load(path)
        if not manifest.complete:
            done = f"{len(manifest.shards)} of {manifest.n_shard} shards"
            raise MissingInputError(f"The harvest in {path} was stopped ({done}): resume it to use the store.")
        for shard in manifest.shards:
            shards.check_size(path, shard)
        store = cls(path, manifest)
        if model is not None:
            store.check_model(model)
        return store

    def __repr__(self) -> str:
        return f"Store({str(self.folder)!r}: {len(self):,} rows of {', '.join(self.hooks)})"

    def __len__(self) -> int:
        """Return the number of rows of each hook."""
        return self.manifest.rows

    @property
    def hooks(self) -> tuple[str, ...]:
        """Return the names of the stored hooks."""
        return tuple(hook.name for hook in self.manifest.hooks) if self.selected is None else self.selected

    def select(self, hooks: Iterable[str]) -> Self:
        """Return the same store with only these hooks, in this order.

        Raises `UsageError` for a hook that it does not have.

        >>> store.select(["blocks.1.hook_resid_post"]).hooks
        ('blocks.1.hook_resid_post',)
        """
        return replace(self, selected=tuple(self.manifest.hook(name).name for name in hooks))

    def identity(self) -> dict[str, Any]:
        """Return what identifies the rows: settings and a digest of all shards.

        >>> list(store.identity())[:3]
        ['kind', 'model', 'weights_sha256']
        """
        settings = self.manifest.settings()
        digest = hashlib.sha256("".join(shard.sha256 for shard in self.manifest.shards).encode())
        recorded = ("dtype", "context", "exclude", "rows", "token_sha256")
        return {
            "kind": "store",
            "model": settings["model"]["model"],
            "weights_sha256": settings["model"]["weights_sha256"],
            "hooks": list(self.hooks),
            **{name: settings[name] for name in recorded},
            "sha256": digest.hexdigest(),
        }

    @property
    def mean(self) -> Float[Tensor, " d"]:
        """Return the mean row of a store with one hook.

        It is float64; see `statistics` for several hooks.
        """
        return torch.tensor(self.statistics().mean, dtype=torch.float64)

    @property
    def scale(self) -> float:
        """Return the factor that gives rows a mean norm of sqrt(d).

        It is sqrt(d) / mean norm of a store with one hook.
        """
        return self.statistics().scale

    def statistics(self, hook: str | None = None) -> Statistics:
        """Return count, mean, squared deviations and mean norm of a hook.

        The hook may be left out if there is only one.

        >>> store.statistics().count, store.statistics().norm
        (992, 28.753)
        """
        return self.manifest.statistics[self._hook(hook).name]

    def tensor(self, hook: str, start: int, stop: int) -> Float[Tensor, "n d"]:
        """Return rows `start` to `stop` of a hook, as stored.

        They are in the order of the text.

        Args:
            hook: its name.
            start: the first row.
            stop: the row after the last.

        Returns:
            (stop − start, d) values in the store's dtype.

        Raises:
            UsageError: rows that do not exist.

        >>> store.tensor("blocks.1.hook_resid_post", 0, 5).shape
        torch.Size([5, 24])
        """
        self.manifest.hook(hook)
        if not 0 <= start <= stop <= len(self):
            raise UsageError(f"Rows {start} to {stop} do not exist: the store has rows 0 to {len(self)}.")
        return self._gather(hook, np.arange(start, stop))

    def batches(
        self,
        batch_size: int,
        *,
        seed: int | None,
        hook: str | None = None,
        start: int = 0,
        dtype: torch.dtype = torch.float32,
    ) -> Iterator[Float[Tensor, "batch d"]]:
        """Yield one epoch of a hook's rows, each exactly once.

        The last batch may be smaller.

        The order depends on `seed` alone: batches of any size are cuts of one and the same sequence, and two hooks read
        with one seed stay aligned (the input and the output of a transcoder). A run that stopped goes on with `start`,
        the number of rows it has seen.

        Args:
            batch_size: rows a batch.
            seed: of the order; None for the order of the text.
            hook: may be left out if the store has only one.
            start: rows of the sequence to skip.
            dtype: what the stored numbers are converted to.

        Returns:
            An iterator over tensors (batch_size, d).

        Raises:
            UsageError: a batch size below 1, or a start outside the store.

        >>> [tuple(batch.shape) for batch in store.batches(400, seed=0)]
        [(400, 24), (400, 24), (192, 24)]
        """
        name = self._hook(hook).name
        if batch_size < 1 or not 0 <= start <= len(self):
            raise UsageError(f"batch_size={batch_size}, start={start}: expected at least 1, and 0 to {len(self)} rows.")
        return rebatched((self._gather(name, rows).to(dtype) for rows in self._order(seed, start)), batch_size)

    def contexts(self, start: int = 0, stop: int | None = None) -> Contexts:
        """Return the token ids of contexts `start` to `stop` (all).

        They are as the model read them.

        >>> store.contexts(0, 2).tokens.shape
        torch.Size([2, 32])
        """
        stop = self.manifest.contexts if stop is None else min(stop, self.manifest.contexts)
        if not 0 <= start < stop:
            raise UsageError(f"No contexts from {start} to {stop}: the store has {self.manifest.contexts}.")
        size, parts = self.manifest.shard_contexts, []
        for index in range(start // size, -(-stop // size)):
            at = index * size
            inside = slice(max(start - at, 0), stop - at)
            maps = shards.opened(self.folder, self.manifest.shards[index])
            parts.append((maps["tokens"].tensor(inside), maps["lengths"].tensor(inside)))
        tokens, lengths = (torch.cat(part) for part in zip(*parts, strict=True))
        return Contexts(tokens, lengths, self.manifest.prepend_bos, self.manifest.separator)

    def places(self, start: int = 0, stop: int | None = None) -> Int[Tensor, "n 2"]:
        """Return (context, position) of rows `start` to `stop` (all).

        >>> store.places(0, 3)  # position 0 is not stored
        tensor([[0, 1],
                [0, 2],
                [0, 3]])
        """
        stop = len(self) if stop is None else stop
        result, first = [], 0
        for index, shard in enumerate(self.manifest.shards):
            low, high = max(start - first, 0), min(stop - first, shard.rows)
            if low < high:
                lengths = shards.opened(self.folder, shard)["lengths"].tensor(slice(None))
                inside = stored(lengths, self.manifest.context, self.manifest.exclude).nonzero()[low:high]
                result.append(inside + torch.tensor([self.manifest.bounds(index)[0], 0]))
            first += shard.rows
        return torch.cat(result) if result else torch.zeros(0, 2, dtype=torch.long)

    def _hook(self, name: str | None) -> Hook:
        """Return the hook with this name.

        Without a name it is the only hook that is read.
        """
        return self.manifest.hook(self.hooks[0] if name is None and len(self.hooks) == 1 else name)

    def check_model(self, model: Model) -> None:
        """Raise `UsageError` unless this store was harvested from `model`.

        Weights and number format must be the same.

        >>> store.check_model(model)
        """
        identity = model.identity()
        self.manifest.check_model(identity["model"], identity["weights_sha256"], identity["dtype"])

    def _order(self, seed: int | None, start: int) -> Iterator[Int[np.ndarray, " n"]]:
        """Yield row numbers in the order of an epoch.

        They come a pool at a time.
        """
        count, pool = len(self), RUN * MIXED
        if seed is None:
            yield from (np.arange(at, min(at + pool, count)) for at in range(start, count, pool))
            return
        draw = np.random.default_rng(seed)
        runs, skip = draw.permutation(-(-count // RUN)), start
        for at in range(0, len(runs), MIXED):
            rows = (runs[at : at + MIXED, None] * RUN + np.arange(RUN)).ravel()
            rows = draw.permutation(rows[rows < count])
            if skip < len(rows):
                yield rows[skip:]
            skip = max(skip - len(rows), 0)

    def _gather(self, hook: str, rows: Int[np.ndarray, " n"]) -> Float[Tensor, "n d"]:
        """Return rows by their numbers, in the order given.

        Each shard is opened once and read from its start to its end.
        """
        width = self.manifest.hook(hook).width
        out = torch.empty(len(rows), width, dtype=DTYPES[self.manifest.dtype])
        ends = np.cumsum([shard.rows for shard in self.manifest.shards])
        owner = np.searchsorted(ends, rows, side="right")
        order = np.lexsort((rows, owner))
        for index in np.unique(owner).tolist():
            places = order[slice(*np.searchsorted(owner[order], [index, index + 1]))]
            shard = self.manifest.shards[index]
            maps = shards.opened(self.folder, shard)
            if hook not in maps or maps[hook].array.shape != (shard.rows, width):
                raise DamagedFileError(f"{self.folder / shard.file} does not hold {shard.rows} rows of {hook}.")
            out[torch.from_numpy(places)] = maps[hook].tensor(rows[places] - (ends[index] - shard.rows))
        return out


def rebatched(pieces: Iterable[Float[Tensor, "n d"]], size: int) -> Iterator[Float[Tensor, "size d"]]:
    """Yield pieces of any length as batches of `size` rows.

    The order is the same.

    The last one may be smaller.
    """
    rest: Tensor | None = None
    for piece in pieces:
        joined = piece if rest is None or not len(rest) else torch.cat([rest, piece])
        whole = len(joined) - len(joined) % size
        yield from joined[:whole].split(size) if whole else ()
        rest = joined[whole:]
    if rest is not None and len(rest):
        yield rest


def verify(folder: str | os.PathLike[str]) -> Manifest:
    """Read every byte of a store and return its manifest.

    Raises:
        MissingInputError: there is no store, or it is not finished.
        CheckFailedError: the manifest or shards are not what was written; the message names each.

    >>> verify(store.folder).complete
    True
    """
    path = Path(folder)
    try:
        manifest = Manifest.load(path)
    except DamagedFileError as error:
        raise CheckFailedError(str(error)) from error
    faults = [(shard.file, shards.fault(path, shard)) for shard in manifest.shards]
    wrong = [f"{file} ({what})" for file, what in faults if what is not None]
    if wrong:
        shown = ", ".join(wrong[:5]) + (f" and {len(wrong) - 5} more" if len(wrong) > 5 else "")
        raise CheckFailedError(
            f"{len(wrong)} of {len(manifest.shards)} shards of {path} are not what was written: {shown}. "
            "Delete them and resume the harvest; the others are not changed."
        )
    if not manifest.complete:
        done = f"{len(manifest.shards)} of {manifest.n_shard} shards"
        raise MissingInputError(f"The harvest in {path} was stopped ({done}, all whole): resume it.")
    return manifest
