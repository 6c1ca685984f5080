"""Results: frozen dataclasses of values, arrays and provenance that save and load without pickle.

A result folder holds `arrays.safetensors` (the arrays, and the JSON in its header: all that `load` needs) and
`result.json` (the same JSON, for people and other programs). Both are written to temporary files, then renamed, arrays
first: should the machine stop between the two renames, the new result is whole in the arrays file. Each has its
checksum, so that an altered file is refused and one of an earlier version is not.

What a field may hold: None, bool, int, float (NaN and infinities included), str, tuples, dictionaries with string
keys, numpy arrays, `Provenance` and other `Result`s. A list in the JSON is a tuple in Python. Arrays are numpy's in
every field; `values` of what an attribution or a composition returns is its array as a torch tensor, and no field.
"""

from __future__ import annotations

import importlib
import json
import math
import os
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from interp.errors import DamagedFileError, MissingInputError, UsageError, nearest
from interp.fields import check_fields
from interp.files import digest, digest_arrays, parse_json, read_text, short, writable_folder, write_all, write_atomic
from interp.provenance import Provenance
from interp.result_names import MODULES, RENAMED, RENAMED_FIELDS

__all__ = ["ARRAYS_NAME", "JSON_NAME", "Result", "load", "writable_folder", "write_all", "write_atomic"]

JSON_NAME = "result.json"
ARRAYS_NAME = "arrays.safetensors"
FORMAT = 1
DTYPES = (
    *("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
    *("float16", "float32", "float64", "complex64"),
)
"""Of the arrays a result may hold."""


@dataclass(frozen=True, eq=False)
class Result:
    """Base of every result. Subclasses are declared with `@dataclass(frozen=True, eq=False)`.

    A saved result is loaded as one of the classes of `MODULES`, or of those defined in the running process.

    Two results are equal when they are of one class and every field is: arrays by dtype, shape and value, NaN
    equal to NaN.

    A class whose fields change their meaning raises `layout` by one and converts the fields of earlier files in
    `upgrade`.

    >>> frozen = attribution.freeze(model, tokens)
    >>> result = attribution.direct(frozen, attribution.logit(model, " Paris"))
    >>> interp.results.load(result.save(folder)) == result
    True
    """

    layout: ClassVar[int] = 1

    @classmethod
    def upgrade(cls, values: dict[str, Any], layout: int) -> dict[str, Any]:  # noqa: ARG003
        """Convert the fields of a file of an earlier layout to today's.

        Raises `ValueError` where that is not possible.

        >>> type(result).layout  # raised by one where `upgrade` is needed
        1
        """
        raise ValueError(f"{cls.__name__} has layout {layout}, and this version reads layout {cls.layout}")

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "__repr__" not in cls.__dict__:  # or the dataclass would write one that shows every array
            cls.__repr__ = cls.__repr__
        _CLASSES[_name_of(cls)] = cls

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write the result into `folder`, made if missing, and return the folder.

        Raises `UsageError` if it cannot be written.

        >>> sorted(path.name for path in result.save(folder).iterdir())
        ['arrays.safetensors', 'result.json']
        """
        files = self.files()
        target = writable_folder(folder)
        write_all({target / name: content for name, content in files.items()})
        return target

    def files(self) -> dict[str, bytes]:
        """Return the bytes that `save` writes, by file name.

        Files are in the order of writing.

        >>> list(result.files())
        ['arrays.safetensors', 'result.json']
        """
        from safetensors.numpy import save

        arrays: dict[str, np.ndarray] = {}
        body = _encode(self, "", arrays)
        document = {"format": FORMAT, "arrays": digest_arrays(arrays), "result": body}
        text = json.dumps({"checksum": _checksum(document), **document}, indent=1)
        return {ARRAYS_NAME: save(arrays, metadata={"interp.result": text}), JSON_NAME: text.encode()}

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(_same(getattr(self, f.name), getattr(other, f.name)) for f in fields(self))

    __hash__ = object.__hash__

    def __repr__(self) -> str:
        """Return one short line: arrays by shape, long values cut."""
        parts = ", ".join(f"{f.name}={_brief(getattr(self, f.name))}" for f in fields(self))
        text = f"{type(self).__name__}({parts})"
        return text if len(text) <= 120 else f"{text[:116]}...)"

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Self:
        """Load the result saved in a folder.

        Raises `UsageError` if it is of another class.

        >>> type(result).load(result.save(folder)) == result
        True
        """
        result = load(folder)
        if not isinstance(result, cls):
            raise UsageError(f"{folder} holds a {type(result).__name__}, not a {cls.__name__}: use interp.results.load")
        return result


def load(folder: str | os.PathLike[str]) -> Result:
    """Load the result saved in `folder`, or the given `result.json`.

    Imports no torch and runs no stored code. Raises `MissingInputError` if there is none, `DamagedFileError` if it is
    not what was written; the message names the field that is wrong.

    >>> frozen = attribution.freeze(model, tokens)
    >>> saved = attribution.direct(frozen, attribution.logit(model, " Paris")).save(folder)
    >>> load(saved).top(2)
    (('MLP1', 1.662), ('L1H1', 0.831))
    """
    path = Path(folder)
    path = path.parent if path.name == JSON_NAME else path
    try:
        return _load(path)
    except RecursionError as error:
        raise DamagedFileError(f"{path / ARRAYS_NAME} is damaged: it is nested too deeply.") from error


def _load(path: Path) -> Result:
    _check_readable_copy(path)
    file = path / ARRAYS_NAME
    arrays, text = _read_arrays(path)
    document = _parse(text, file)
    if document.get("arrays") != digest_arrays(arrays):
        raise DamagedFileError(f"{file} is damaged: its arrays do not match their checksum. Run the analysis again.")
    result = _decode(document["result"], arrays, path / JSON_NAME, "")
    if not isinstance(result, Result):
        raise DamagedFileError(f"{path / JSON_NAME} holds no result.")
    return result


def _encode(value: Any, name: str, arrays: dict[str, np.ndarray]) -> Any:
    """Return the JSON of `value`.

    Puts its arrays into `arrays` under their field path.
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else {"$float": str(value)}
    if isinstance(value, np.ndarray) and str(value.dtype) in DTYPES:
        name = name if name not in arrays else f"{name}#{len(arrays)}"  # {"a.b": x} and {"a": {"b": y}} in one result
        arrays[name] = np.asarray(value, order="C")
        return {"$array": name, "shape": list(value.shape), "dtype": str(value.dtype)}
    if isinstance(value, tuple):
        return [_encode(item, f"{name}.{i}", arrays) for i, item in enumerate(value)]
    if isinstance(value, dict) and all(isinstance(key, str) and not key.startswith("$") for key in value):
        return {key: _encode(item, f"{name}.{key}", arrays) for key, item in value.items()}
    if isinstance(value, Result | Provenance):
        kind = _name_of(type(value))
        body = {f.name: _encode(getattr(value, f.name), f"{name}.{f.name}".lstrip("."), arrays) for f in fields(value)}
        layout = getattr(value, "layout", 1)
        return {"$type": kind, **({"$layout": layout} if layout != 1 else {}), **body}
    raise TypeError(f"a result field may not hold {_kind(value)} ({name}): see interp/results.py for what it may")


def _brief(value: Any) -> str:
    """Return the value of a field as `repr` shows it."""
    if isinstance(value, np.ndarray):
        return f"array{value.shape}"
    if isinstance(value, Provenance | Result):
        return f"{type(value).__name__}(...)"
    if isinstance(value, tuple | dict) and len(value) > 3:
        return f"{len(value)} items"
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _kind(value: Any) -> str:
    return f"an array of {value.dtype}" if isinstance(value, np.ndarray) else type(value).__name__


def _decode(value: Any, arrays: dict[str, np.ndarray], file: Path, at: str) -> Any:
    """Return the value that JSON stands for.

    `at` is its field path, for error messages.
    """
    if isinstance(value, list):
        return tuple(_decode(item, arrays, file, f"{at}.{i}".lstrip(".")) for i, item in enumerate(value))
    if not isinstance(value, dict):
        return value
    if value.keys() & {"$float", "$array"}:
        return _special(value, arrays, file, at)
    items = {
        key: _decode(item, arrays, file, f"{at}.{key}".lstrip("."))
        for key, item in value.items()
        if not key.startswith("$")
    }
    if "$type" not in value:
        return items
    names = RENAMED_FIELDS.get(value["$type"] if isinstance(value["$type"], str) else "", {})
    items = {str(names.get(key, key)): item for key, item in items.items()}
    return _built(_class(value["$type"], file), items, value.get("$layout", 1), file, at)


def _built(kind: Any, items: dict[str, Any], layout: Any, file: Path, at: str) -> Any:
    """Return an object of class `kind` with these fields, converted and checked."""
    try:
        if layout != getattr(kind, "layout", 1):
            items = kind.upgrade(items, layout)
        return kind(**check_fields(kind, items, file, at))
    except DamagedFileError:
        raise
    except Exception as error:  # a class may fail in any way on fields that were not computed
        raise DamagedFileError(f"{file} is damaged: {at or kind.__name__} is not consistent ({error}).") from error


def _special(value: dict[str, Any], arrays: dict[str, np.ndarray], file: Path, at: str) -> float | np.ndarray:
    """Return a float that JSON cannot hold, or an array."""
    try:
        return float(value["$float"]) if "$float" in value else arrays[value["$array"]]
    except (KeyError, TypeError, ValueError) as error:
        what = "a number" if "$float" in value else "an array of this result"
        raise DamagedFileError(f"{file} is damaged: {at} does not name {what}.") from error


def _name_of(kind: type) -> str:
    return f"{kind.__module__}:{kind.__qualname__}"


_CLASSES: dict[str, type] = {_name_of(Provenance): Provenance}
"""Every class that a file may name, filled as the classes are defined."""


def _class(name: Any, file: Path) -> type:
    """Return the class that a file names.

    Only modules in `MODULES` are imported.
    """
    name = RENAMED.get(str(name), name)
    module = str(name).partition(":")[0]
    if module in MODULES:
        importlib.import_module(module)
    if name not in _CLASSES:
        hint = nearest(str(name), _CLASSES) if module in MODULES else ""
        raise DamagedFileError(f'{file} names "{name}", which is not a class of results of this version{hint}.')
    return _CLASSES[name]


def _check_readable_copy(path: Path) -> None:
    """Raise an error for a `result.json` that was edited.

    A missing one was not yet renamed.
    """
    file = path / JSON_NAME
    try:
        there, whole = file.is_file(), (path / ARRAYS_NAME).is_file()
    except OSError:  # a name that is too long
        there = whole = False
    if there:
        _parse(read_text(file), file)
    elif not whole:
        raise MissingInputError(
            f"No result in {short(path, 120)}: it has no {JSON_NAME}. Give the folder that an analysis was saved in."
        )


def _parse(text: str, file: Path) -> dict[str, Any]:
    document = parse_json(text, file)
    if not isinstance(document, dict) or "result" not in document:
        raise DamagedFileError(f"{file} is not a result file of this toolkit.")
    if document.get("format") != FORMAT:
        raise DamagedFileError(f"{file} has format {document.get('format')}; this version reads format {FORMAT}.")
    if document.pop("checksum", None) != _checksum(document):
        raise DamagedFileError(f"{file} was altered: it does not match its checksum. Run the analysis again.")
    return document


def _read_arrays(path: Path) -> tuple[dict[str, np.ndarray], str]:
    """Return the arrays and the JSON copy in their header."""
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
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise DamagedFileError(f"{file} is damaged or truncated ({error}). Run the analysis again.") from error


def _checksum(document: dict[str, Any]) -> str:
    return digest(json.dumps(document, sort_keys=True))


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
