"""`train_set`: train a dictionary for each of several hooks.

They are trained from one pass of the model.

A cross-layer transcoder is one model of all its hooks. It is trained as one and saved as a set with one part per layer.

From a store, the dictionaries are trained one after another, with the memory of one; each is identical to a run of
`saes.train` on its hooks. From a stream, all are trained in parallel, batch by batch, so that the model runs once and
only the dictionaries are written; each gets the same batches as alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interp.cache import ModelStream, Store
from interp.errors import UsageError, require
from saes.config import Config
from saes.interop import load
from saes.runs import checkpoint
from saes.runs.loop import Place, Session, Unsaved, open_record, train
from saes.runs.record import Record
from saes.runs.settings import Run
from saes.runs.stop import stop_requested
from saes.runs.train import train as train_in_memory
from saes.sets import folders
from saes.sets.dictionaries import DictionarySet
from saes.sets.feed import Feed, Window
from saes.sets.hooks import Ends, resolve
from saes.training.data import hook_names, origin
from saes.training.trainer import Trainer

if TYPE_CHECKING:
    from saes.autoencoder import SAE

Progress = Callable[[str, dict[str, float]], None]
"""Called with the input hook of a dictionary and the metrics of its step."""


def train_set(
    config: Config,
    activations: Store | ModelStream,
    hooks: str | tuple[str, ...] | list[str],
    *,
    folder: str | os.PathLike[str] | None = None,
    resume: bool = False,
    run: Run | None = None,
    progress: Progress | None = None,
) -> DictionarySet:
    """Train one dictionary for each matching hook.

    Each dictionary is identical to that of `saes.train`.

    Args:
        config: configuration of every dictionary; `variant` selects autoencoders, transcoders, or the parts of one
            cross-layer transcoder.
        activations: a store with the hooks, or a stream (`interp.cache.ModelStream`), which needs no disk.
        hooks: patterns such as "blocks.*.mlp" or "blocks.[0-9].hook_resid_post"; see `saes.sets.hooks.resolve`.
        folder: folder of the set, with one subfolder per dictionary; None trains in memory.
        resume: whether to continue an interrupted run in the folder; finished dictionaries are loaded.
        run: device and intervals of checkpoints and log.
        progress: called with the input hook and the metrics of every step.

    Returns:
        A `DictionarySet`.

    Raises:
        UsageError: patterns without a match; errors of `saes.train`.
        Stopped: by Ctrl-C or SIGTERM, after a checkpoint.

    Example:
        >>> config = saes.Config(width=48, k=4, steps=2, batch_size=64)
        >>> saes.train_set(config, store, "blocks.*.resid_post")  # store = interp.cache.Store.open("folder")
        DictionarySet(3 topk autoencoders: layers 0 to 2, 48 latents)
    """
    if folder is None and resume:
        raise UsageError("resume=True needs the folder of the run: folder=...")
    place = None if folder is None else Place(folder, resume)
    with nullcontext() if place is None else place.locked():
        return train_locked(config, activations, hooks, place, run=run, progress=progress)


def train_locked(
    config: Config,
    activations: Store | ModelStream,
    hooks: str | tuple[str, ...] | list[str],
    place: Place | None,
    *,
    run: Run | None = None,
    metadata: dict[str, Any] | None = None,
    progress: Progress | None = None,
) -> DictionarySet:
    """Train like `train_set`, for a caller that has locked the folder.

    `metadata` is written into every dictionary.
    """
    require(config, Config, "config")
    require(activations, (Store, ModelStream), "activations")
    known = activations.hooks if isinstance(activations, Store) else tuple(activations.model.hooks())
    chosen = resolve(hooks, known, config.variant)
    job = _Job(config, chosen, place, run or Run(), metadata or {}, progress)
    if config.variant == "crosslayer":
        return job.cross_layer(activations)
    trained = job.one_by_one(activations) if isinstance(activations, Store) else job.in_parallel(activations)
    if place is None:
        return DictionarySet(trained)
    folder = Path(place.folder)
    listed = [folders.listed(ends.reads, sae) for ends, sae in zip(chosen, trained, strict=True)]
    folders.write_index(folder, listed)
    return DictionarySet.load(folder, job.run.device)


@dataclass(frozen=True)
class _Job:
    """Set to train: the arguments of `train_set` with resolved patterns."""

    config: Config
    chosen: tuple[Ends, ...]
    place: Place | None
    run: Run
    metadata: dict[str, Any]
    progress: Progress | None

    def one_by_one(self, store: Store) -> Iterator[SAE]:
        """Train the dictionaries one after another."""
        for ends in self.chosen:
            alone, report = store.select(ends.hooks), self._report(ends)
            about = origin(store.manifest, ends.hooks, self.config.variant) | self.metadata
            place = self._place(ends)
            if place is None:
                yield train_in_memory(self.config, alone, device=self.run.device, metadata=about, progress=report)
            else:
                yield train(self.config, alone, place, run=self.run, metadata=about, progress=report)
                checkpoint.remove(place.folder)

    def in_parallel(self, stream: ModelStream) -> Iterator[SAE]:
        """Train every dictionary on a batch before the next batch is computed."""
        shared = stream.select(tuple(dict.fromkeys(hook for ends in self.chosen for hook in ends.hooks)))
        with ExitStack() as stack:
            records = {ends: self._record(ends, shared, stack) for ends in self.chosen}
            runs: dict[Ends, Session | Unsaved] = {}
            todo = [ends for ends, record in records.items() if record is None or not record.finished]
            if todo:
                window = Window(self.config, shared)
                runs = {ends: self._open_run(ends, records[ends], shared, window) for ends in todo}
                window.begin()
                self._steps(window, [*runs.values()])
            for ends in self.chosen:
                place = self._place(ends)
                if ends in runs:
                    yield runs[ends].finish()
                elif place is not None:
                    yield load(place.folder)
                if place is not None:
                    checkpoint.remove(place.folder)

    def cross_layer(self, activations: Store | ModelStream) -> DictionarySet:
        """Train one cross-layer transcoder of all the hooks."""
        hooks = (*(ends.reads for ends in self.chosen), *(ends.writes for ends in self.chosen))
        given, place = activations.select(hooks), self.place
        where = given.origin() if isinstance(given, ModelStream) else origin(given.manifest, hooks, "crosslayer")
        about = where | hook_names(hooks, "crosslayer") | self.metadata
        record = None if place is None else open_record(self.config, given, place, about)
        if place is not None and record is not None and record.finished:
            return DictionarySet.load(place.folder, self.run.device)
        report = None if self.progress is None else partial(self.progress, self.chosen[0].reads)
        trainer = Trainer(self.config, given, device=self.run.device, metadata=about)
        if place is None or record is None:
            unsaved = Unsaved(trainer, report)
            for _ in range(self.config.steps):
                unsaved.step()
            return DictionarySet(trainer.parts())
        session = Session(trainer, record, given, place, self.run, report)
        with stop_requested() as asked:
            session.go(asked)
        folder = DictionarySet(trainer.parts()).save(place.folder)
        session.close()
        checkpoint.remove(folder)
        return DictionarySet.load(folder, self.run.device)

    def _steps(self, window: Window, runs: list[Session | Unsaved]) -> None:
        """Train the remaining steps.

        Runs with later checkpoints wait for the one that is furthest behind.
        """
        with stop_requested() as asked:
            for step in range(self.config.steps):
                window.advance()
                behind = [one for one in runs if one.trainer.step_number == step]
                for one in behind:
                    one.step()
                stop = asked()
                for one in behind:
                    if stop or one.due:
                        one.save()
                if stop:
                    runs[0].stop()

    def _record(self, ends: Ends, shared: ModelStream, stack: ExitStack) -> Record | None:
        """Return the record of one run and lock its folder.

        None in memory.
        """
        place = self._place(ends)
        if place is None:
            return None
        stack.enter_context(place.locked())
        return open_record(self.config, shared.select(ends.hooks), place, self._about(ends, shared))

    def _open_run(self, ends: Ends, record: Record | None, shared: ModelStream, window: Window) -> Session | Unsaved:
        """Return the run of one dictionary.

        It gets its batches from the window.
        """
        place, report = self._place(ends), self._report(ends)
        feed, about = Feed(window, shared, ends.hooks), self._about(ends, shared)
        trainer = Trainer(self.config, feed, device=self.run.device, metadata=about)
        if place is None or record is None:
            return Unsaved(trainer, report)
        return Session(trainer, record, shared.select(ends.hooks), place, self.run, report)

    def _place(self, ends: Ends) -> Place | None:
        """Return the folder of one dictionary."""
        return None if self.place is None else Place(Path(self.place.folder) / ends.reads, self.place.resume)

    def _about(self, ends: Ends, stream: ModelStream) -> dict[str, Any]:
        return stream.origin() | hook_names(ends.hooks, self.config.variant) | self.metadata

    def _report(self, ends: Ends) -> Callable[[dict[str, float]], None] | None:
        return None if self.progress is None else partial(self.progress, ends.reads)
