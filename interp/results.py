"""Results: frozen dataclasses of plain values, arrays and provenance that save, load back equal and never pickle.

A result folder holds `arrays.safetensors` (the arrays, and the JSON in its header: all that `load` needs) and
`result.json` (the same JSON, for people and other programs). Both are written beside their places, then renamed into
them, arrays first: should the machine stop between the two renames, the new result is whole in the arrays file. Each
has its checksum, so that a file that was altered is refused and one that is merely older is not.

What a field may hold: None, bool, int, float (NaN and infinities included), str, tuples, dictionaries with string
keys, numpy arrays, `Provenance` and other `Result`s. A list in the JSON is a tuple in Python.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import math
import os
import tempfile
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from interp.errors import DamagedFileError, MissingInputError, UsageError
from interp.provenance import Provenance

JSON_NAME = "result.json"
ARRAYS_NAME = "arrays.safetensors"
FORMAT = 1
PACKAGES = ("interp", "probes", "saes", "analyses")
"""The only packages whose classes a result file may name."""
DTYPES = (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64", "complex64"),
)
"""Of the arrays a result may hold."""


@dataclass(frozen=True, eq=False)
class Result:
    """Base of every result. Subclasses are declared with `@dataclass(frozen=True, eq=False)`.

    Two results are equal when they are of one class and every field is: arrays by dtype, shape and value, NaN
    equal to NaN.

    A class whose fields change their meaning raises `layout` by one and converts the fields of older files in
    `upgrade`.
    """

    layout: ClassVar[int] = 1

    @classmethod
    def upgrade(cls, values: dict[str, Any], layout: int) -> dict[str, Any]:  # noqa: ARG003
        """Return the fields of a file of an older layout as they are today; raises `ValueError` where none can be."""
        raise ValueError(f"{cls.__name__} has layout {layout}, and this version reads layout {cls.layout}")

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write the result into `folder` (made if missing) and return it; `UsageError` if it cannot be written."""
        files = self.files()
        target = writable_folder(folder)
        write_all({target / name: content for name, content in files.items()})
        return target

    def files(self) -> dict[str, bytes]:
        """What `save` writes, by file name and in the order of writing; a page offers the same bytes to download."""
        from safetensors.numpy import save

        arrays: dict[str, np.ndarray] = {}
        body = _encode(self, "", arrays)
        document = {"format": FORMAT, "arrays": _digest(arrays), "result": body}
        text = json.dumps({"checksum": _checksum(document), **document}, indent=1)
        return {ARRAYS_NAME: save(arrays, metadata={"interp.result": text}), JSON_NAME: text.encode()}

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(_same(getattr(self, f.name), getattr(other, f.name)) for f in fields(self))

    __hash__ = object.__hash__

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Self:
        """The result saved in `folder`; raises `UsageError` if it is of another class. See `load`."""
        found = load(folder)
        if not isinstance(found, cls):
            raise UsageError(f"{folder} holds a {type(found).__name__}, not a {cls.__name__}: use interp.results.load")
        return found


def load(folder: str | os.PathLike[str]) -> Result:
    """Load whatever result is saved in `folder` (or the `result.json` itself). Reads no torch, runs no stored code.

    Raises `MissingInputError` if there is none, `DamagedFileError` if it is not what was written.
    """
    path = Path(folder)
    path = path.parent if path.name == JSON_NAME else path
    _check_readable_copy(path)
    arrays, text = _read_arrays(path)
    document = _parse(text, path / ARRAYS_NAME)
    if document.get("arrays") != _digest(arrays):
        raise DamagedFileError(
            f"{path / ARRAYS_NAME} is damaged: its arrays do not match their checksum. Run the analysis again."
        )
    try:
        found = _decode(document["result"], arrays)
    except (KeyError, TypeError, ValueError, AttributeError, ImportError) as error:
        raise DamagedFileError(f"{path / JSON_NAME} does not describe a result of this version: {error}.") from error
    if not isinstance(found, Result):
        raise DamagedFileError(f"{path / JSON_NAME} holds no result.")
    return found


def write_atomic(path: Path, content: bytes) -> None:
    """Write `content` beside `path` and rename it into place, so that `path` is whole or untouched.

    Raises `UsageError` when the folder cannot be written to (permissions, full disk).
    """
    write_all({path: content})


def write_all(contents: dict[Path, bytes]) -> None:
    """`write_atomic` for several files: all are written before the first is renamed, in the order given."""
    written: dict[Path, Path] = {}
    path = Path()
    try:
        for path, content in contents.items():
            handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
            written[path] = Path(temporary)
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        for path, temporary in written.items():
            temporary.chmod(0o644)
            os.replace(temporary, path)
    except OSError as error:
        raise UsageError(
            f"Cannot write {path}: {error.strerror or error}. Choose another folder or free some space."
        ) from error
    finally:
        for temporary in written.values():
            temporary.unlink(missing_ok=True)


def writable_folder(folder: str | os.PathLike[str]) -> Path:
    """`folder`, made if missing; raises `UsageError` if it is a file or may not be written to."""
    path = Path(folder)
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            return path
    except OSError as error:
        raise UsageError(
            f"Cannot write into the folder {path}: {error.strerror or error}. Choose another with --out."
        ) from error


def _encode(value: Any, name: str, arrays: dict[str, np.ndarray]) -> Any:
    """JSON for `value`; arrays are put into `arrays` under their dotted field path."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"$float": str(value)}
    if isinstance(value, np.ndarray) and str(value.dtype) in DTYPES:
        name = name if name not in arrays else f"{name}#{len(arrays)}"  # {"a.b": x} beside {"a": {"b": y}}
        arrays[name] = np.asarray(value, order="C")
        return {"$array": name, "shape": list(value.shape), "dtype": str(value.dtype)}
    if isinstance(value, tuple):
        return [_encode(item, f"{name}.{i}", arrays) for i, item in enumerate(value)]
    if isinstance(value, dict) and all(isinstance(key, str) and not key.startswith("$") for key in value):
        return {key: _encode(item, f"{name}.{key}", arrays) for key, item in value.items()}
    if isinstance(value, Result | Provenance):
        kind = f"{type(value).__module__}:{type(value).__qualname__}"
        body = {f.name: _encode(getattr(value, f.name), f"{name}.{f.name}".lstrip("."), arrays) for f in fields(value)}
        layout = getattr(value, "layout", 1)
        return {"$type": kind, **({"$layout": layout} if layout != 1 else {}), **body}
    raise TypeError(f"a result field may not hold {_kind(value)} ({name}): see interp/results.py for what it may")


def _kind(value: Any) -> str:
    return f"an array of {value.dtype}" if isinstance(value, np.ndarray) else type(value).__name__


def _decode(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    if isinstance(value, list):
        return tuple(_decode(item, arrays) for item in value)
    if not isinstance(value, dict):
        return value
    if "$float" in value:
        return float(value["$float"])
    if "$array" in value:
        return arrays[value["$array"]]
    items = {key: _decode(item, arrays) for key, item in value.items() if not key.startswith("$")}
    if "$type" not in value:
        return items
    kind, layout = _class(value["$type"]), value.get("$layout", 1)
    if layout != getattr(kind, "layout", 1):
        items = kind.upgrade(items, layout)
    return kind(**items)


def _class(kind: str) -> Any:
    """The dataclass a file names, if it is one of ours; importing it is all that happens."""
    module, _, name = kind.partition(":")
    if module.split(".")[0] not in PACKAGES:
        raise ValueError(f"{kind} is not a class of this toolkit")
    found = getattr(importlib.import_module(module), name)
    if not (isinstance(found, type) and (issubclass(found, Result) or found is Provenance)):
        raise ValueError(f"{kind} is not a result")
    return found


def _check_readable_copy(path: Path) -> None:
    """Refuse a `result.json` that nobody saved as it is; one that is missing was not yet renamed into place."""
    file = path / JSON_NAME
    if file.is_file():
        try:
            _parse(file.read_text(encoding="utf-8"), file)
        except (OSError, UnicodeDecodeError) as error:
            raise DamagedFileError(f"{file} cannot be read: {error}.") from error
    elif not (path / ARRAYS_NAME).is_file():
        raise MissingInputError(
            f"No result in {path}: it has no {JSON_NAME}. Give the folder an analysis wrote with --out."
        )


def _parse(text: str, file: Path) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise DamagedFileError(
            f"{file} is damaged: it is not JSON (line {error.lineno}). Run the analysis again."
        ) from error
    if not isinstance(document, dict) or "result" not in document:
        raise DamagedFileError(f"{file} is not a result file of this toolkit.")
    if document.get("format") != FORMAT:
        raise DamagedFileError(f"{file} has format {document.get('format')}; this version reads format {FORMAT}.")
    if document.pop("checksum", None) != _checksum(document):
        raise DamagedFileError(f"{file} was altered: it does not match its checksum. Run the analysis again.")
    return document


def _read_arrays(path: Path) -> tuple[dict[str, np.ndarray], str]:
    """The arrays and the JSON copy in their header."""
    from safetensors import SafetensorError, safe_open

    file = path / ARRAYS_NAME
    try:
        with safe_open(file, framework="numpy") as opened:
            arrays = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118
            return arrays, (opened.metadata() or {}).get("interp.result", "")
    except FileNotFoundError as error:
        raise DamagedFileError(
            f"{path} has {JSON_NAME} but no {ARRAYS_NAME}: copy both, or run the analysis again."
        ) from error
    except (SafetensorError, OSError) as error:
        raise DamagedFileError(f"{file} is damaged or truncated ({error}). Run the analysis again.") from error


def _checksum(document: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def _digest(arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype} {arrays[name].shape};".encode())
        digest.update(arrays[name].tobytes())
    return digest.hexdigest()


def _same(left: Any, right: Any) -> bool:
    if isinstance(left, np.ndarray) or isinstance(right, np.ndarray):
        return (
            isinstance(left, np.ndarray)
            and isinstance(right, np.ndarray)
            and left.dtype == right.dtype
            and np.array_equal(left, right, equal_nan=left.dtype.kind in "fc")
        )
    if isinstance(left, tuple) and isinstance(right, tuple):
        return len(left) == len(right) and all(map(_same, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_same(left[key], right[key]) for key in left)
    if isinstance(left, float) and isinstance(right, float):  # np.float64 is a float, and comes back as one
        return left == right or (math.isnan(left) and math.isnan(right))
    return type(left) is type(right) and bool(left == right)
