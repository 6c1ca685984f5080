"""Sets in folders: one subfolder per dictionary, and the index `dictionaries.json`.

The index is written last, so that a folder with an index has complete dictionaries. It lists hooks and sizes, which are
then known without loading weights. A listed folder that does not exist is a missing layer, not an error.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import torch

from interp.errors import DamagedFileError, MissingInputError, UsageError
from interp.fields import read_fields
from interp.files import read_json, writable_folder, write_atomic
from saes.sets.entry import Entry, Member

if TYPE_CHECKING:
    from saes.autoencoder import SAE
    from saes.interop.files import Stored
    from saes.sets.dictionaries import DictionarySet

    Kind = TypeVar("Kind", bound=DictionarySet)

NAME = "dictionaries.json"
KIND, FORMAT = "interp dictionary set", 1


@dataclass(frozen=True)
class Listed:
    """Dictionary in the index: its folder and its description.

    >>> listed("first", dictionaries["blocks.0.hook_resid_post"]).folder
    'first'
    """

    folder: str
    entry: Entry


@dataclass(frozen=True)
class _Index:
    """Fields of `dictionaries.json`."""

    kind: str
    format: int
    dictionaries: tuple[Listed, ...]


def save(members: Iterable[Member], folder: Path) -> Path:
    """Save the dictionaries, one at a time, then the index; see `DictionarySet.save`."""
    target, listed = writable_folder(folder), []
    if (target / NAME).exists():
        raise UsageError(f"{target} already has a set of dictionaries: choose another folder.")
    for member in members:
        name = member.entry.reads
        member.load().save(target / name)
        listed.append(Listed(name, member.entry))
    write_index(target, listed)
    return target


def write_index(folder: Path, listed: Iterable[Listed]) -> None:
    """Write the index of the dictionaries in a folder."""
    index = _Index(KIND, FORMAT, tuple(listed))
    write_atomic(folder / NAME, json.dumps(asdict(index), indent=1).encode())


def listed(folder: str, sae: SAE) -> Listed:
    """Return the index entry for a dictionary in the subfolder `folder`.

    >>> listed("first", dictionaries["blocks.0.hook_resid_post"]).entry.width
    48
    """
    return Listed(folder, Entry.of(sae))


def load(
    kind: type[Kind], folder: Path, device: str | torch.device, dtype: torch.dtype | str | None, only: str = "*"
) -> Kind:
    """Open a set; see `DictionarySet.load`."""
    if not (folder / NAME).is_file():
        return kind.of(_foreign(folder, device, dtype, only))
    index = _read_index(folder)
    members, missing = [], []
    for one in index.dictionaries:
        place = folder / one.folder
        if not fnmatchcase(one.folder, only):
            continue
        if place.is_dir():
            members.append(Member(one.entry, partial(_read, place, device, dtype)))
        else:
            missing.append(one.entry.reads)
    if not members:
        reason = f"none of their folders exists (only {only!r} is read)"
        raise MissingInputError(f"{folder} lists {len(index.dictionaries)} dictionaries, but {reason}.")
    return kind.of(members, tuple(missing))


def _foreign(folder: Path, device: str | torch.device, dtype: torch.dtype | str | None, only: str) -> list[Member]:
    """Return the dictionaries in a folder of another library.

    The folder is a set, or has subfolders with one dictionary each.
    """
    from interp.devices import available
    from saes.interop import circuit_tracer, gemma_scope_2
    from saes.interop.files import dtype_of

    place, chosen = available(device), dtype_of(dtype, folder) if isinstance(dtype, str) else dtype
    for layout, fits in ((circuit_tracer, circuit_tracer.is_set), (gemma_scope_2, gemma_scope_2.is_cross_layer)):
        if fits(folder):
            return [Member(entry, partial(_moved, stored, place)) for entry, stored in layout.members(folder, chosen)]
    members = [
        Member(Entry.of(_read(path, "cpu", dtype)), partial(_read, path, device, dtype))
        for path in sorted(_dictionaries(folder))
        if fnmatchcase(path.relative_to(folder).as_posix(), only)
    ]
    if not members:
        raise MissingInputError(
            f"No set of dictionaries in {folder}: expected {NAME} (DictionarySet.save writes it), "
            f"{circuit_tracer.NAME} with a file for each layer (circuit-tracer), or folders that saes.load reads."
        )
    return members


def _moved(stored: Callable[[], Stored], device: torch.device) -> SAE:
    from saes.interop.folders import made

    return made(stored()).to(device)


def _dictionaries(folder: Path) -> Iterator[Path]:
    """Yield the folders and files below `folder` with one dictionary each."""
    from saes.interop.folders import FORMATS
    from saes.interop.torch_files import SUFFIXES, WEIGHTS

    for name, _, _ in FORMATS:
        depth = len(Path(name).parts)
        yield from (file.parents[depth - 1] for file in folder.rglob(str(name)) if file.parents[depth - 1] != folder)
    for suffix in SUFFIXES:
        yield from (file for file in folder.rglob(f"*{suffix}") if file.name != WEIGHTS)


def _read(place: Path, device: str | torch.device, dtype: torch.dtype | str | None) -> SAE:
    from saes.interop import load as load_one

    return load_one(place, device, dtype)


def _read_index(folder: Path) -> _Index:
    path = folder / NAME
    document = read_json(
        path, f"No set of dictionaries in {folder}: it has no {NAME}, which DictionarySet.save writes."
    )
    if not isinstance(document, dict) or (document.get("kind"), document.get("format")) != (KIND, FORMAT):
        raise DamagedFileError(f"{path} is not the index of a set of this version ({KIND}, format {FORMAT}).")
    index = read_fields(_Index, document, path)
    for one in index.dictionaries:
        if Path(one.folder).name != one.folder or one.folder in ("", ".", ".."):
            raise DamagedFileError(f"{path} lists the folder {one.folder!r}, which is not inside {folder}.")
    return index
