"""Write the activations of a model over contexts to disk, in a form that can be resumed.

The order of events for each shard: compute it, write it under another name, rename it, rewrite the manifest under
another name, rename that. Killed between any two, the folder holds a store that is whole up to its manifest, and
`resume=True` goes on from there. Batches never span shards and the manifest keeps the running statistics exactly, so
on the same machine, with as many threads, the end is byte for byte that of a harvest that was never stopped. Several
processes (`group`) write one shard each at a time and leave the manifest to the first: the same bytes again.
"""

from __future__ import annotations

import os
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from interp.cache import shards
from interp.cache.config import Config
from interp.cache.contexts import Contexts
from interp.cache.forward import activations
from interp.cache.manifest import NAME, Manifest, Shard, Statistics
from interp.cache.moments import Moments
from interp.cache.plan import Plan, plan
from interp.cache.store import Store
from interp.errors import CheckFailedError, InterpError, UsageError
from interp.files import check_same, check_space, locked, writable_folder
from interp.group import Group
from interp.progress import Progress, Rate

if TYPE_CHECKING:
    from interp.model import Model


def harvest(
    model: Model,
    source: Any,
    config: Config,
    folder: str | os.PathLike[str],
    *,
    resume: bool = False,
    progress: Progress | None = None,
    group: Group | None = None,
) -> Store:
    """Write activations over a source to disk and return the store.

    The activations of `config.hooks` over `source` are written into `folder`.

    Args:
        model: run unchanged, no deeper than the last hook.
        source: documents, token rows or `Contexts`; see `interp.cache.contexts.contexts_of`. Read whole as token ids,
            4 bytes each, before anything is computed, so that every size is known and checked first.
        config: what is stored and how.
        folder: made if missing; gets `shard-NNNNN.safetensors` and `manifest.json`.
        resume: go on where a harvest of the same model, tokens and settings was stopped: the last shard is read
            through, the others are checked for their size, and those that are missing or damaged are made again. In a
            folder without a store it starts one.
        progress: called after every batch.
        group: the processes that share the work, each with the same arguments; None for this one alone.

    Returns:
        The opened store.

    Raises:
        UsageError: what `plan` refuses, too little free disk, a disk that fills up, a folder that holds a store
            already, or one started with other settings.
        InterpError: an activation that is not finite.
        CheckFailedError: a damaged shard that is made again does not come out the same.

    >>> config = cache.Config(("blocks.1.hook_resid_post",), context=32)
    >>> store = cache.harvest(model, texts, config, folder)
    >>> len(store), store.mean.shape
    (992, torch.Size([24]))
    """
    _check_folder(Path(folder), resume=resume)
    planned = plan(model, source, config)
    target = writable_folder(folder)
    with locked(target) if _writes(group) else nullcontext():
        return _harvest(model, planned, target, progress, group)


def _harvest(model: Model, planned: Plan, target: Path, progress: Progress | None, group: Group | None) -> Store:
    """Compute and write the missing shards.

    A failure before the first one leaves no manifest.
    """
    started = (target / NAME).exists()
    manifest = _begin(planned.manifest, target)
    todo = [i for i in range(manifest.n_shard) if not _is_done(target, manifest, i)]
    _check_disk(planned, target, todo)
    rate = Rate(progress, sum(_tokens(planned.contexts, manifest, i) for i in todo), "tokens")
    size = 1 if group is None else group.size
    try:
        if _writes(group):
            manifest.save(target)
        for at in range(0, len(todo), size):
            manifest = _advance(model, planned, manifest, target, todo[at : at + size], rate, group)
    except InterpError as error:
        if not started and next(target.glob("shard-*.safetensors"), None) is None:
            (target / NAME).unlink(missing_ok=True)
            raise
        whole = f"{len(manifest.shards)} of {manifest.n_shard} shards are whole"
        raise type(error)(f"{error} In {target}, {whole}; resume goes on from there.") from error
    if group is not None:
        group.gather(None)  # the first process has written the last manifest
    return Store.open(target)


def _writes(group: Group | None) -> bool:
    """Return whether this process writes the manifest.

    No process continues before all have read the folder.
    """
    if group is not None:
        group.gather(None)
    return group is None or group.rank == 0


def _check_folder(folder: Path, *, resume: bool) -> None:
    """Raise `UsageError` if the folder has data that would be overwritten."""
    if (folder / NAME).exists():
        if not resume:
            raise UsageError(f"{folder} holds a store already: choose another folder, or resume this one.")
        return
    present = next(folder.glob("shard-*.safetensors"), None)
    if present is not None:
        raise UsageError(
            f"{folder} holds {present.name} but no {NAME}: restore the manifest, or choose an empty folder."
        )


def _begin(fresh: Manifest, folder: Path) -> Manifest:
    """Return the manifest to continue from.

    It is `fresh`, or the one in the folder.

    The latter must be of the same harvest.
    """
    for file in shards.stray(folder, fresh):
        file.unlink(missing_ok=True)
    if not (folder / NAME).exists():
        return fresh
    result = Manifest.load(folder)
    check_same(f"The store in {folder}", result.origin(), fresh.origin())
    return result


def _is_done(folder: Path, manifest: Manifest, index: int) -> bool:
    """Return whether a shard is complete.

    Only the last one written is read through.
    """
    if index >= len(manifest.shards):
        return False
    shard = manifest.shards[index]
    if index == len(manifest.shards) - 1:
        return shards.fault(folder, shard) is None
    file = folder / shard.file
    return file.is_file() and file.stat().st_size == shard.bytes


def _check_disk(planned: Plan, folder: Path, todo: list[int]) -> None:
    check_space(folder, int(planned.disk_bytes * len(todo) / planned.manifest.n_shard), "What is left of the store")


Made = tuple[Shard, dict[str, Statistics]] | InterpError | None
"""What became of a shard: itself and the statistics of its rows, why there is none, or nothing asked."""


def _advance(
    model: Model,
    planned: Plan,
    manifest: Manifest,
    folder: Path,
    indices: list[int],
    rate: Rate,
    group: Group | None,
) -> Manifest:
    """Compute and write one shard in each process.

    A new one is listed; one that is made again must match the manifest.
    """
    if group is None:
        every: list[Made] = [_made(model, planned, manifest, folder, indices[0], rate)]
    else:
        mine = indices[group.rank : group.rank + 1]
        every = group.gather(_tried(model, planned, manifest, folder, mine[0], rate) if mine else None)
        rate.add(sum(_tokens(planned.contexts, manifest, i) for i in indices if i not in mine))
    for index, made in zip(indices, every, strict=False):
        if isinstance(made, InterpError):
            raise made
        assert made is not None
        shard, result = made
        if index < len(manifest.shards):
            _check_same(shard, manifest.shards[index])
        else:
            manifest = manifest.with_shard(shard, _merged(manifest.statistics, result))
    if group is None or group.rank == 0:
        manifest.save(folder)
    return manifest


def _tried(model: Model, planned: Plan, manifest: Manifest, folder: Path, index: int, rate: Rate) -> Made:
    """Return a shard, or the error that made it fail.

    All processes then raise that error.
    """
    try:
        return _made(model, planned, manifest, folder, index, rate)
    except InterpError as error:
        return error


def _made(model: Model, planned: Plan, manifest: Manifest, folder: Path, index: int, rate: Rate) -> Made:
    tensors, result = _computed(model, planned, manifest, index, rate)
    shard = shards.write(folder, index, tensors, rows=len(tensors[manifest.hooks[0].name]))
    return shard, {name: moments.saved() for name, moments in result.items()}


def _computed(
    model: Model, planned: Plan, manifest: Manifest, index: int, rate: Rate
) -> tuple[dict[str, Tensor], dict[str, Moments]]:
    """Return the tensors of a shard, and the moments of its rows.

    Moments are given for each hook.
    """
    contexts = _contexts(planned.contexts, manifest, index)
    names = tuple(hook.name for hook in manifest.hooks)
    parts: dict[str, list[Tensor]] = {name: [] for name in names}
    result: dict[str, Moments] = {}
    batches = activations(
        model,
        contexts,
        names,
        batch_size=manifest.batch,
        dtype=manifest.dtype,
        exclude=manifest.exclude,
        numbered_from=manifest.bounds(index)[0],
    )
    for at, rows in enumerate(batches):
        for name in names:
            parts[name].append(rows[name])
            if len(rows[name]):
                moments = Moments.of(rows[name])
                result[name] = result[name].merge(moments) if name in result else moments
        rate.add(int(contexts.lengths[at * manifest.batch : (at + 1) * manifest.batch].sum()))
    tensors = {name: torch.cat(parts.pop(name)) for name in names}
    return tensors | {"tokens": contexts.tokens, "lengths": contexts.lengths}, result


def _contexts(contexts: Contexts, manifest: Manifest, index: int) -> Contexts:
    start, stop = manifest.bounds(index)
    return replace(contexts, tokens=contexts.tokens[start:stop].clone(), lengths=contexts.lengths[start:stop].clone())


def _tokens(contexts: Contexts, manifest: Manifest, index: int) -> int:
    start, stop = manifest.bounds(index)
    return int(contexts.lengths[start:stop].sum())


def _merged(before: dict[str, Statistics], new: dict[str, Statistics]) -> dict[str, Statistics]:
    merged = dict(before)
    for name, one in new.items():
        merged[name] = Moments.read(before[name]).merge(Moments.read(one)).saved() if name in before else one
    return merged


def _check_same(made: Shard, listed: Shard) -> None:
    if made != listed:
        raise CheckFailedError(
            f"{made.file} was damaged and made again, but came out different from what the manifest lists: another "
            "machine, version or number of threads rounds differently. Harvest again into another folder."
        )
