"""Loading of the inputs of a study.

They are autoencoders, stores of activations, held-out text and the model.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import numpy as np

import interp
import saes
from analyses.dictionary.passages import hooks_read
from interp import cache
from interp.cache import Store
from interp.cache.contexts import rows_of
from interp.cache.manifest import NAME as MANIFEST
from interp.errors import MissingInputError, UsageError
from interp.model import Model
from interp.progress import Progress
from saes.autoencoder import SAE
from saes.runs.activations import COLUMN

OWN = "activations"
"""Folder inside a training run's folder that has the activations it harvested."""
NO_MODEL = "none"


@dataclass(frozen=True)
class Opened:
    """An autoencoder with its folder, its own store and its model.

    `own` is the store that its training run harvested, or None if it is not there.
    """

    folder: Path
    sae: SAE
    own: Store | None
    model: Model | None


def opened(
    folder: str | os.PathLike[str],
    store: Store | None,
    model: str | None,
    device: str = "cpu",
    hook: str | None = None,
) -> Opened:
    """Open an autoencoder and the model its activations are of.

    Args:
        folder: folder of the autoencoder, in any format that `saes.load` reads.
        store: store of activations that the autoencoder will be read on, if one is given.
        model: name of the model, "none", or None for the one that the store or the autoencoder names.
        device: device of the autoencoder and the model.
        hook: hook that the autoencoder reads, for a folder that does not say so.

    Raises:
        MissingInputError: the folder has no autoencoder, or the model is neither on this machine nor reachable.
        UsageError: the model or the hook is not the store's.
    """
    path = Path(folder)
    sae = placed(saes.load(path, device=device), hook, store)
    own = Store.open(path / OWN) if (path / OWN / MANIFEST).is_file() else None
    source = store or own
    if source is not None:
        hooks_read(sae, source)
    known = source.manifest.model if source is not None else _named(sae)
    lm = None
    if model != NO_MODEL:
        lm = _load(model or known.get("model", ""), known.get("dtype", "float32"), device)
        for one in (store, own):
            if one is not None:
                one.check_model(lm)
    return Opened(path, sae, own, lm)


def opened_set(
    folder: str | os.PathLike[str], store: Store | None, model: str | None, device: str = "cpu"
) -> tuple[saes.DictionarySet, Opened]:
    """Open a set of dictionaries, and what is needed to evaluate it.

    The second result has the set's first dictionary as its autoencoder. Raises the errors of `opened`.
    """
    path = Path(folder)
    dictionaries = saes.DictionarySet.load(path, device)
    first = next(iter(dictionaries.values()))
    own = Store.open(path / OWN) if (path / OWN / MANIFEST).is_file() else None
    known = own.manifest.model if own is not None else _named(first)
    lm = None if store is not None else _load(model or known.get("model", ""), known.get("dtype", "float32"), device)
    return dictionaries, Opened(path, first, own, lm)


def placed(sae: SAE, hook: str | None, store: Store | None) -> SAE:
    """Return `sae` with the hook that it reads in its metadata.

    The hook is the one in its metadata, `hook`, or the only one of the store. Raises `UsageError` if there is none of
    these, or if `hook` differs from the one in its metadata.
    """
    own = sae.metadata.get("hook_name") or (sae.metadata.get("hook_names") or [None])[0]
    if own and hook and hook != own:
        raise UsageError(f"The autoencoder reads {own}, not {hook}: leave out the hook.")
    only = store.hooks[0] if store is not None and len(store.hooks) == 1 else None
    if not (own or hook or only):
        hooks_of_store = f", and the store holds {', '.join(store.hooks)}" if store is not None else ""
        raise UsageError(f"The autoencoder does not say which hook it reads{hooks_of_store}: name it with hook=.")
    if not own:
        sae.metadata["hook_name"] = hook or only
    return sae


def fresh(
    loaded: Opened,
    text: tuple[str, ...],
    tokens: int,
    folder: Path,
    *,
    hooks: tuple[str, ...] = (),
    column: str | None = None,
    progress: Progress | None = None,
) -> Store:
    """Harvest a store of text that the autoencoder was not trained on.

    The store is written to `folder`/heldout. Contexts that are in the autoencoder's own store are left out. So `text`
    may be the text it was trained on, if that is longer than what was used; this is the default. Repeated passages of
    a text can still be alike. `hooks` are the hooks harvested, by default those that the autoencoder reads and writes.

    `column` is the column of the rows that has their text; by default that of the training, or "text".

    Raises `UsageError` if there is no model to run, no text is known, or the text has no new context.
    """
    sae, model, own = loaded.sae, loaded.model, loaded.own
    if model is None:
        raise UsageError("Fresh text takes the model: name it with model=, or give store=.")
    names = text or tuple(part for part in str(sae.metadata.get("dataset_path") or "").split(", ") if part)
    if not names:
        raise UsageError("It is not recorded what text the autoencoder was trained on: give store= or text=.")
    length = int(sae.metadata.get("context_size") or 128)
    seen = set() if own is None else {row.tobytes() for row in own.contexts().tokens.int().numpy()}
    column = column or str(sae.metadata.get(COLUMN) or "text")
    rows, _, _ = rows_of(model, cache.documents(*names, column=column), length=length, prepend_bos=_bos(sae))
    new = islice((row for row in rows if row.astype(np.int32).tobytes() not in seen), max(1, tokens // length))
    first = next(new, None)
    if first is None:
        raise UsageError(f"{', '.join(names)} has no context that it was not trained on: give other text= instead.")
    config = cache.Config(hooks=hooks or _hooks(sae), context=length)
    target = folder / "heldout"
    _clear(target)
    return cache.harvest(model, list(chain([first], new)), config, target, progress=progress)


def _hooks(sae: SAE) -> tuple[str, ...]:
    about = sae.metadata
    several = about.get("hook_names")
    names = several or [name for name in (about.get("hook_name"), about.get("hook_name_out")) if name]
    if not names:
        raise UsageError("The autoencoder does not say which hook it reads: give a store of it as store=.")
    return tuple(names)


def _bos(sae: SAE) -> bool | None:
    value = sae.metadata.get("prepend_bos")
    return None if value is None else bool(value)


def _named(sae: SAE) -> dict[str, str]:
    about = sae.metadata
    return {"model": str(about.get("model_name") or ""), "dtype": str(about.get("model_dtype") or "float32")}


def _load(name: str, dtype: str, device: str) -> Model:
    if not name:
        raise UsageError(
            "Neither the store nor the autoencoder names its model: give model=, or do without by model= none."
        )
    try:
        return interp.load(name, dtype=dtype, device=device)
    except MissingInputError as error:
        raise MissingInputError(f"{error} Or judge without it: model= none.") from error


def _clear(folder: Path) -> None:
    """Remove an earlier harvest, which may be of other text."""
    for file in [folder / MANIFEST, *folder.glob("shard-*.safetensors")]:
        file.unlink(missing_ok=True)
