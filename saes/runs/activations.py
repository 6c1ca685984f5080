"""Training data of a run.

It is an existing store, text harvested into the run's folder, or streamed text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from interp import cache
from interp.cache import Store
from interp.cache.manifest import NAME as MANIFEST, Manifest
from interp.errors import NotFiniteError, UsageError
from interp.progress import Progress
from saes.config import Config
from saes.runs.settings import SMOLLM2, Data
from saes.sets.hooks import resolve
from saes.training.data import hook_names, origin

FOLDER = "activations"
"""Subfolder of a run's folder into which text is harvested."""
COLUMN = "dataset_column"
"""Key of an SAE's metadata: the column of its text, if it is not "text"."""
LOOKED_AT = 8192
"""Rows read at a time when searching for values that are not finite."""


def open_activations(
    data: Data,
    config: Config,
    folder: Path,
    *,
    device: str = "cpu",
    progress: Progress | None = None,
    group: Any = None,
    check: bool = False,
) -> tuple[Any, dict[str, Any]]:
    """Open the activations of a run.

    Returns them with the metadata for the SAE. Text is harvested into `folder`/activations. An interrupted harvest
    continues; a finished one is opened without loading the model, unless `check` is set.

    Args:
        data: where the activations come from.
        config: configuration of the SAE.
        folder: folder of the run.
        device: device of the model.
        progress: called with the progress of a harvest.
        group: processes that share the harvest.
        check: whether to compare the model's weights with those of a finished harvest.

    Raises:
        MissingInputError: a store, text or model that does not exist.
        DamagedFileError: a truncated shard or an altered manifest.
        UsageError: an unknown hook, another model than the store's, text too short, too little disk space.
    """
    if data.store:
        store = Store.open(data.store, load_model(data, device) if data.model else None)
        return _chosen(store, data, config)
    if data.stream:
        return _streamed(data, config, device)
    target = folder / FOLDER
    if not ((target / MANIFEST).is_file() and Manifest.load(target).complete):
        model = load_model(data, device)
        how = harvest_config(data, hooks_read(data, config, tuple(model.hooks())))
        cache.harvest(model, documents(data), how, target, resume=True, progress=progress, group=group)
        check = False
    return _chosen(Store.open(target, load_model(data, device) if check else None), data, config)


def hooks_read(data: Data, config: Config, known: Sequence[str]) -> tuple[str, ...]:
    """Return the hooks that a run reads.

    They are those of one dictionary, or those among `known` that the patterns of a set match.
    """
    if not data.hooks:
        return data.trained_on
    return tuple(dict.fromkeys(hook for ends in resolve(data.hooks, known, config.variant) for hook in ends.hooks))


def harvest_config(data: Data, hooks: tuple[str, ...]) -> cache.Config:
    """Return the settings for harvesting text.

    >>> hook = "blocks.12.hook_resid_post"
    >>> harvest_config(Data(text=("notes.txt",), model="smollm2", hook=(hook,)), (hook,)).context
    128
    """
    return cache.Config(
        hooks=hooks,
        context=data.context,
        dtype=data.store_dtype,
        max_tokens=data.max_tokens,
        max_gigabytes=1e6,  # the free disk is the limit
    )


def documents(data: Data) -> Iterator[str]:
    """Return the documents of the text."""
    return cache.documents(*data.text, column=data.column)


def text_metadata(data: Data) -> dict[str, str]:
    """Return what the metadata of an SAE say about its text.

    >>> text_metadata(Data(text=("notes.txt",), model="smollm2", hook=("blocks.12.hook_resid_post",)))
    {'dataset_path': 'notes.txt'}
    """
    named = {} if data.column == "text" else {COLUMN: data.column}
    return {"dataset_path": ", ".join(data.text)} | named


def load_model(data: Data, device: str) -> Any:
    """Load the model of the activations."""
    import interp

    return interp.load(data.model or SMOLLM2, dtype=data.model_dtype, device=device)


def locate_not_finite(activations: Any, error: Exception) -> str:
    """Return where a store has values that are not finite.

    Returns "" unless `error` is about such values.
    """
    if not isinstance(error, NotFiniteError) or not isinstance(activations, Store):
        return ""
    places = (place for hook in activations.hooks if (place := _first_not_finite(activations, hook)) is not None)
    first = next(places, None)
    return "" if first is None else f" {first}"


def _first_not_finite(store: Store, hook: str) -> str | None:
    first = 0
    for shard in store.manifest.shards:
        for start in range(first, first + shard.rows, LOOKED_AT):
            rows = store.tensor(hook, start, min(start + LOOKED_AT, first + shard.rows))
            bad = (~torch.isfinite(rows)).any(1).nonzero()
            if len(bad):
                row = start + int(bad[0])
                context, position = store.places(row, row + 1)[0].tolist()
                return (
                    f"The first is row {row - first:,} of {store.folder / shard.file}, {hook}: context {context:,}, "
                    f"position {position}; check the store with interp cache verify."
                )
        first += shard.rows
    return None


def _chosen(store: Store, data: Data, config: Config) -> tuple[Store, dict[str, Any]]:
    hooks = hooks_read(data, config, store.hooks) or store.hooks
    text = text_metadata(data) if data.text else {}
    of_one = {} if data.hooks else origin(store.manifest, hooks, config.variant)
    return store.select(hooks), of_one | text


def _streamed(data: Data, config: Config, device: str) -> tuple[cache.ModelStream, dict[str, Any]]:
    if "-" in data.text:
        raise UsageError(
            "data.stream reads its text again every epoch, which is not possible with standard input: give a file."
        )
    model = load_model(data, device)
    if data.max_tokens is None:
        source: Callable[[], Any] = lambda: documents(data)  # noqa: E731
    else:
        from interp.cache.contexts import contexts_of

        texts = documents(data)
        contexts = contexts_of(model, texts, length=data.context, max_tokens=data.max_tokens)
        source = lambda: contexts  # noqa: E731
    stream = cache.ModelStream(
        model,
        source,
        hooks_read(data, config, tuple(model.hooks())),
        batch_size=config.batch_size,
        seed=config.seed,
        context=data.context,
        buffer=max(data.buffer, 4 * config.batch_size),
        dtype=data.store_dtype,
        about={"text": list(data.text), "max_tokens": data.max_tokens},
    )
    of_one = {} if data.hooks else stream.origin() | hook_names(stream.hooks, config.variant)
    return stream, of_one | text_metadata(data)
