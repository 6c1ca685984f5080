"""A checkpoint: one safetensors file with everything training needs to go on, there whole or not at all.

The tensors are the trainer's; its plain values are JSON in the file's header, with the SHA-256 of both. A new one is
written beside the last and renamed over it, so that at any moment one of the two is whole.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from torch import Tensor

from interp.cache.tensors import sha256
from interp.errors import DamagedFileError
from interp.results import write_all

NAME = "checkpoint.safetensors"
FORMAT = "1"

State = tuple[dict[str, Tensor], dict[str, Any]]
"""(tensors, plain values), as `Trainer.state` gives it."""


def save(folder: Path, state: State) -> None:
    """Replace the checkpoint in `folder`; `UsageError` if the disk is full or not writable, and the last one stays."""
    from safetensors.torch import save as serialised

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state[0].items()}
    plain = json.dumps(state[1], sort_keys=True)
    header = {"format": FORMAT, "plain": plain, "sha256": _digest(tensors, plain)}
    write_all({folder / NAME: serialised(tensors, metadata=header)})


def load(folder: Path) -> State | None:
    """The checkpoint in `folder`, None if there is none yet; `DamagedFileError` if it is not what was written."""
    from safetensors import SafetensorError, safe_open

    file = folder / NAME
    if not file.is_file():
        return None
    try:
        with safe_open(file, framework="pt") as opened:
            header = opened.metadata() or {}
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise DamagedFileError(f"{file} is damaged or truncated ({error}). {_mend(folder)}") from error
    if header.get("format") != FORMAT or header.get("sha256") != _digest(tensors, header.get("plain", "")):
        raise DamagedFileError(f"{file} was altered: it does not match its checksum. {_mend(folder)}")
    return tensors, json.loads(header["plain"])


def remove(folder: str | os.PathLike[str]) -> None:
    """Delete the checkpoint of a run that is finished."""
    (Path(folder) / NAME).unlink(missing_ok=True)


def _digest(tensors: dict[str, Tensor], plain: str) -> str:
    named = ((f"{name} {tensors[name].dtype} {tuple(tensors[name].shape)};", tensors[name]) for name in sorted(tensors))
    return sha256(named, plain)


def _mend(folder: Path) -> str:
    return f"Put back a copy, or delete it to train {folder} from the start; activations on disk are kept."
