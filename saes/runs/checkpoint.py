"""Checkpoints: one safetensors file with everything that is needed to continue training.

The tensors are those of the trainer; its plain values are JSON in the header, with the SHA-256 of both. A new file is
written next to the last one and then replaces it, so that there is always one complete checkpoint.
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
"""Tensors and plain values, as returned by `Trainer.state`."""


def save(folder: Path, state: State) -> None:
    """Replace the checkpoint in `folder`.

    Raises `UsageError` if the disk is full or not writable; the last checkpoint then remains.
    """
    from safetensors.torch import save as serialised

    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state[0].items()}
    plain = json.dumps(state[1], sort_keys=True)
    header = {"format": FORMAT, "plain": plain, "sha256": _digest(tensors, plain)}
    write_all({folder / NAME: serialised(tensors, metadata=header)})


def load(folder: Path) -> State | None:
    """Load the checkpoint in `folder`, or return None.

    Raises `DamagedFileError` if the checkpoint was altered.

    >>> print(load(folder))  # None: there is no checkpoint. folder = "out/sae"
    None
    """
    from safetensors import SafetensorError, safe_open

    file = folder / NAME
    if not file.is_file():
        return None
    try:
        with safe_open(file, framework="pt") as content:
            header = content.metadata() or {}
            tensors = {name: content.get_tensor(name) for name in content.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise DamagedFileError(f"{file} is damaged or truncated ({error}). {_fix(folder)}") from error
    if header.get("format") != FORMAT or header.get("sha256") != _digest(tensors, header.get("plain", "")):
        raise DamagedFileError(f"{file} was altered: it does not match its checksum. {_fix(folder)}")
    return tensors, json.loads(header["plain"])


def remove(folder: str | os.PathLike[str]) -> None:
    """Delete the checkpoint of a finished run.

    >>> remove(folder)  # nothing to delete: no error. folder = "out/sae"
    """
    (Path(folder) / NAME).unlink(missing_ok=True)


def _digest(tensors: dict[str, Tensor], plain: str) -> str:
    named = ((f"{name} {tensors[name].dtype} {tuple(tensors[name].shape)};", tensors[name]) for name in sorted(tensors))
    return sha256(named, plain)


def _fix(folder: Path) -> str:
    return f"Restore a copy, or delete it to train {folder} from the start; activations on disk are not affected."
