"""Shards of a store: safetensors files, written atomically.

It holds, for each hook, a tensor (rows, d) under the hook's name; `tokens`, the ids (contexts, context) with padding
0; and `lengths` (contexts,). Any reader of safetensors can open it.
"""

from __future__ import annotations

import hashlib
import json
import mmap
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from interp.cache.manifest import Manifest, Shard, name_of
from interp.errors import DamagedFileError, MissingInputError
from interp.files import write_atomic

NUMPY = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype("<u2"), "I32": np.dtype("<i4")}
"""How safetensors' formats are mapped; numpy has no bfloat16, whose bits are carried as integers."""
BLOCK = 1 << 22


@dataclass(frozen=True, eq=False)
class Mapped:
    """Tensor of a shard as a memory map.

    It is read only where it is indexed.
    """

    array: np.ndarray
    bfloat16: bool

    def tensor(self, rows: slice | np.ndarray) -> Tensor:
        """Return a copy of some rows, in the stored number format."""
        copied = torch.from_numpy(np.array(self.array[rows]))
        return copied.view(torch.bfloat16) if self.bfloat16 else copied


def write(folder: Path, index: int, tensors: dict[str, Tensor], *, rows: int) -> Shard:
    """Write a shard atomically.

    Raises `UsageError` if the disk is full or not writable.
    """
    from safetensors.torch import save

    content = save(tensors)
    file = name_of(index)
    write_atomic(folder / file, content)
    return Shard(file, len(tensors["lengths"]), rows, len(content), hashlib.sha256(content).hexdigest())


def opened(folder: Path, shard: Shard) -> dict[str, Mapped]:
    """Return every tensor of a shard as a memory map.

    Raises `DamagedFileError` if it is not what was written.

    A process reads a shard through once, before its first use, and again only if the file has changed since.
    """
    check_size(folder, shard)
    file = folder / shard.file
    _check_bytes(file.absolute(), file.stat().st_mtime_ns, shard)
    try:
        with file.open("rb") as stream:
            data = np.frombuffer(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)
        start = 8 + int(data[:8].view("<u8")[0])
        header: dict[str, Any] = json.loads(data[8:start].tobytes())
        return {name: _mapped(data[start:], entry) for name, entry in header.items() if name != "__metadata__"}
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedFileError(f"{file} was altered: its header cannot be read ({error}). {_fix()}") from error


@cache
def _check_bytes(file: Path, modified: int, shard: Shard) -> None:  # noqa: ARG001  a changed file is read again
    """Raise `DamagedFileError` unless every byte is what was written.

    A successful check is remembered.
    """
    if fault(file.parent, shard) is not None:
        raise DamagedFileError(f"{file} was altered: its bytes are not those that were written. {_fix()}")


def _mapped(data: np.ndarray, entry: dict[str, Any]) -> Mapped:
    first, last = entry["data_offsets"]
    return Mapped(data[first:last].view(NUMPY[entry["dtype"]]).reshape(entry["shape"]), entry["dtype"] == "BF16")


def check_size(folder: Path, shard: Shard) -> None:
    """Check quickly that the file is there and has its length."""
    file = folder / shard.file
    if not file.is_file():
        raise MissingInputError(f"{file} is missing from its store. {_fix()}")
    if file.stat().st_size != shard.bytes:
        raise DamagedFileError(f"{file} is truncated: {file.stat().st_size} of {shard.bytes} bytes. {_fix()}")


def fault(folder: Path, shard: Shard) -> str | None:
    """Return what is wrong with a shard, None if it is unchanged.

    Reads every byte.
    """
    file = folder / shard.file
    if not file.is_file():
        return "missing"
    if file.stat().st_size != shard.bytes:
        return f"{file.stat().st_size} of {shard.bytes} bytes"
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(BLOCK):
            digest.update(block)
    return None if digest.hexdigest() == shard.sha256 else "altered"


def _fix() -> str:
    return "Run the same harvest with resume to make it again; the other shards are not changed."


def stray(folder: Path, manifest: Manifest) -> list[Path]:
    """Return the temporary files that a killed harvest left."""
    names = [name_of(i) for i in range(manifest.n_shard)] + ["manifest.json"]
    return [file for name in names for file in folder.glob(f".{name}.*")]
