"""Additional files next to those of SAELens, from which `saes.load` restores everything.

`interp.json` has the architecture as trained ("batchtopk", which SAELens calls "jumprelu"), settings and metadata with
the training configuration, and a digest of the two SAELens files. `history.safetensors` has the training metrics.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from interp.errors import DamagedFileError, UsageError
from interp.fields import read_fields
from saes.interop.files import read_settings

if TYPE_CHECKING:
    from saes.autoencoder import SAE

NAME = "interp.json"
HISTORY = "history.safetensors"
KIND, FORMAT = "interp autoencoder", 1


@dataclass(frozen=True)
class _Sidecar:
    """Fields of `interp.json`."""

    kind: str
    format: int
    files: dict[str, str]
    architecture: str
    variant: str
    settings: dict[str, Any]
    metadata: dict[str, Any]


def files(sae: SAE, others: dict[str, bytes]) -> dict[str, bytes]:
    """Return the additional files for an SAE.

    `others` are the contents of the SAELens files.

    >>> list(files(sae, {"cfg.json": b"{}"}))  # sae = saes.load("folder")
    ['interp.json']
    """
    from safetensors.numpy import save

    about = {name: getattr(sae, name) for name in ("architecture", "variant", "settings", "metadata")}
    document = {"kind": KIND, "format": FORMAT, "files": {name: _digest(content) for name, content in others.items()}}
    contents = {NAME: json.dumps(document | _encode(about, "the autoencoder"), indent=1).encode()}
    # safetensors writes the bytes of a strided array, such as the column of a table, as if they were contiguous
    history = {name: np.ascontiguousarray(values) for name, values in sae.history.items()}
    return contents | ({HISTORY: save(history)} if history else {})


def read(folder: Path) -> dict[str, Any] | None:
    """Read the additional file `interp.json` of a folder.

    Returns architecture, variant, settings, metadata and history, or None if the folder has no `interp.json`. Raises
    `DamagedFileError` if the SAELens files are not those that it was written with.

    >>> read(sae.save(folder))["variant"]  # folder = "out/sae"
    'autoencoder'
    """
    path = folder / NAME
    if not path.is_file():
        return None
    document = read_settings(path)
    if document.get("kind") != KIND or document.get("format") != FORMAT:
        kind, version = document.get("kind"), document.get("format")
        raise DamagedFileError(f"{path} is a {kind!r} of format {version}; this version reads {KIND!r} {FORMAT}.")
    sidecar = read_fields(_Sidecar, document, path)
    for name, digest in sidecar.files.items():
        file = folder / name
        if Path(name).name != name or not file.is_file() or _digest(file.read_bytes()) != digest:
            raise DamagedFileError(
                f"{file} is not the file that {NAME} was written with: restore it, or delete {NAME} to read "
                f"the folder as SAELens does."
            )
    about = {name: _decode(getattr(sidecar, name)) for name in ("architecture", "variant", "settings", "metadata")}
    return about | {"history": _history(folder / HISTORY)}


def _history(path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(path) if path.is_file() else {}
    except (SafetensorError, OSError) as error:
        raise DamagedFileError(f"{path} is damaged or truncated ({error}).") from error


def plain(value: Any, name: str) -> Any:
    """Convert a value to JSON types.

    Tuples become lists. Raises `UsageError` for other types.

    >>> plain((1, "a"), "metadata")
    [1, 'a']
    """
    if isinstance(value, dict):
        return {str(key): plain(item, f"{name}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, name) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise UsageError(f"{name} is a {type(value).__name__}, which a settings file cannot hold: make it a plain value.")


def _encode(value: Any, name: str) -> Any:
    """Convert a value like `plain`, but so that tuples can be restored."""
    if isinstance(value, dict):
        return {str(key): _encode(item, f"{name}.{key}") for key, item in value.items()}
    if isinstance(value, tuple):
        return {"$tuple": [_encode(item, name) for item in value]}
    return [_encode(item, name) for item in value] if isinstance(value, list) else plain(value, name)


def _decode(value: Any) -> Any:
    if isinstance(value, list):
        return [_decode(item) for item in value]
    if not isinstance(value, dict):
        return value
    if value.keys() == {"$tuple"}:
        return tuple(_decode(item) for item in value["$tuple"])
    return {key: _decode(item) for key, item in value.items()}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
