"""A set in a folder: one folder a dictionary, and `dictionaries.json` that lists them.

The index is written last, so that a folder with one holds whole dictionaries. It lists what is known without reading
weights; a listed folder that is gone is a missing layer, not an error.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import torch

from interp.errors import DamagedFileError, MissingInputError, UsageError
from interp.fields import read_fields
from interp.files import read_json, writable_folder, write_atomic
from saes.sets.entry import Entry, Member

if TYPE_CHECKING:
    from saes.autoencoder import SAE
    from saes.sets.dictionaries import DictionarySet

    Kind = TypeVar("Kind", bound=DictionarySet)

NAME = "dictionaries.json"
KIND, FORMAT = "interp dictionary set", 1


@dataclass(frozen=True)
class Listed:
    """A dictionary of the index: its folder, and what is known of it."""

    folder: str
    entry: Entry


@dataclass(frozen=True)
class _Index:
    """The fields of `dictionaries.json`."""

    kind: str
    format: int
    dictionaries: tuple[Listed, ...]


def save(members: Iterable[Member], folder: Path) -> Path:
    """Write the dictionaries, one at a time, then the index; see `DictionarySet.save`."""
    target, listed = writable_folder(folder), []
    if (target / NAME).exists():
        raise UsageError(f"{target} holds a set of dictionaries already: choose another folder.")
    for member in members:
        name = member.entry.reads
        member.load().save(target / name)
        listed.append(Listed(name, member.entry))
    write_index(target, listed)
    return target


def write_index(folder: Path, listed: Iterable[Listed]) -> None:
    """Write the index of dictionaries that are in the folder."""
    index = _Index(KIND, FORMAT, tuple(listed))
    write_atomic(folder / NAME, json.dumps(asdict(index), indent=1).encode())


def listed(folder: str, sae: SAE) -> Listed:
    """Return the index's line for a dictionary in `folder`, a name inside the set's own."""
    return Listed(folder, Entry.of(sae))


def load(
    kind: type[Kind], folder: Path, device: str | torch.device = "cpu", dtype: torch.dtype | str | None = None
) -> Kind:
    """Open a set; see `DictionarySet.load`."""
    found = _read_index(folder)
    members, missing = [], []
    for one in found.dictionaries:
        place = folder / one.folder
        if place.is_dir():
            members.append(Member(one.entry, lambda place=place: _read(place, device, dtype)))
        else:
            missing.append(one.entry.reads)
    if not members:
        raise MissingInputError(f"{folder} lists {len(missing)} dictionaries, but none of their folders is there.")
    return kind.of(members, tuple(missing))


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
            raise DamagedFileError(f"{path} lists the folder {one.folder!r}, which does not lie inside {folder}.")
    return index
