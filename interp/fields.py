"""Read a file into a dataclass, with an error that names the field that is wrong.

    manifest = read_fields(Manifest, read_json(file), file)

A list becomes the tuple that a field declares, and a JSON object the dataclass; nothing else is converted. Whole
numbers are of at most 64 bits.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar, Union

import numpy as np

from interp.errors import DamagedFileError, nearest
from interp.files import short

Record = TypeVar("Record")


def read_fields(kind: type[Record], document: Any, file: Path, at: str = "") -> Record:
    """Return a dataclass of class `kind` made from a JSON object.

    Args:
        kind: a dataclass whose fields are None, bool, int, float, str, tuples, lists, dictionaries, `Literal`, arrays,
            other dataclasses, or unions of these.
        document: the content of the file, or a `kind` already.
        file: where it is from, for the message.
        at: the path of `document` inside the file, such as "shards.3".

    Raises:
        DamagedFileError: a field is missing, unknown or of another kind; the message names file and field.
    """
    try:
        return _record(kind, document, at)
    except _WrongField as wrong:
        raise DamagedFileError(f"{file} is damaged or not of this version: {wrong}.") from wrong


def check_fields(kind: type, values: Mapping[str, Any], file: Path, at: str = "") -> dict[str, Any]:
    """Return `values` as arguments of the dataclass `kind`, checked as `read_fields` does."""
    try:
        return _arguments(kind, values, at)
    except _WrongField as wrong:
        raise DamagedFileError(f"{file} is damaged or not of this version: {wrong}.") from wrong


class _WrongField(ValueError):
    """A field that is not what its declaration says."""


def _wrong(at: str, value: Any, expected: str) -> _WrongField:
    return _WrongField(f"{at or 'its content'} is {_shown(value)}, but {expected} is expected")


def _record(kind: type[Record], value: Any, at: str) -> Record:
    if isinstance(value, kind):
        return value
    if not isinstance(value, Mapping):
        raise _wrong(at, value, f"the fields of {kind.__name__}")
    arguments = _arguments(kind, value, at)
    try:
        return kind(**arguments)
    except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
        raise _WrongField(f"{at or kind.__name__} is not consistent: {error}") from error


def _arguments(kind: type, values: Mapping[str, Any], at: str) -> dict[str, Any]:
    declared = {field.name: field for field in dataclasses.fields(kind) if field.init}
    for name in values:
        if name not in declared:
            raise _WrongField(f"{_at(at, str(name))} is not a field of {kind.__name__}{nearest(str(name), declared)}")
    for name, field in declared.items():
        without = field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        if without and name not in values:
            raise _WrongField(f"{_at(at, name)} is missing")
    hints = _hints(kind)
    return {name: _value(hints.get(name, Any), value, _at(at, name)) for name, value in values.items()}


@cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _value(kind: Any, value: Any, at: str) -> Any:
    """Return `value` as the declared `kind`.

    With lists as tuples and objects as dataclasses.
    """
    origin, inner = typing.get_origin(kind) or kind, typing.get_args(kind)
    if origin in _GENERIC:
        return _GENERIC[origin](origin, inner, value, at)
    if dataclasses.is_dataclass(kind):
        return _record(typing.cast(type, kind), value, at)
    if kind is Any or isinstance(kind, TypeVar) or _is(kind, value):
        return value
    raise _wrong(at, value, _expected(kind))


def _is(kind: Any, value: Any) -> bool:
    """Return whether a plain value is of the declared `kind`."""
    if kind is None or kind is type(None):
        return value is None
    if isinstance(value, bool | np.bool_):
        return kind is bool
    if kind is int:
        return isinstance(value, int) and -(2**63) <= value < 2**64
    if kind is float:
        return isinstance(value, float) or _is(int, value)
    return isinstance(value, kind)


def _one_of(_: Any, kinds: tuple[Any, ...], value: Any, at: str) -> Any:
    problems = []
    for kind in kinds:
        try:
            return _value(kind, value, at)
        except _WrongField as wrong:
            problems.append(wrong)
    deepest = max(problems, key=lambda wrong: str(wrong).startswith(f"{at}."))
    raise deepest if str(deepest).startswith(f"{at}.") else _wrong(at, value, " or ".join(map(_expected, kinds)))


def _sequence(make: Any, inner: tuple[Any, ...], value: Any, at: str) -> Any:
    if not isinstance(value, list | tuple):
        raise _wrong(at, value, "a list")
    made = list if make is list else tuple
    if make is tuple and inner and inner[-1] is not Ellipsis:
        if len(value) != len(inner):
            raise _wrong(at, value, f"a list of {len(inner)}")
        return made(_value(kind, item, _at(at, i)) for i, (kind, item) in enumerate(zip(inner, value, strict=True)))
    return made(_value(inner[0] if inner else Any, item, _at(at, i)) for i, item in enumerate(value))


def _choice(_: Any, choices: tuple[Any, ...], value: Any, at: str) -> Any:
    if value not in choices:
        raise _wrong(at, value, " or ".join(map(short, choices)))
    return value


def _mapping(_: Any, inner: tuple[Any, ...], value: Any, at: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise _wrong(at, value, "a table of names and values")
    return {name: _value(inner[1] if inner else Any, item, _at(at, name)) for name, item in value.items()}


_GENERIC: dict[Any, Callable[[Any, tuple[Any, ...], Any, str], Any]] = {
    **dict.fromkeys((tuple, list, Sequence), _sequence),
    **dict.fromkeys((dict, Mapping), _mapping),
    **dict.fromkeys((Union, types.UnionType), _one_of),
    Literal: _choice,
}
"""How a declared kind with parts is read: by (kind, its parameters, the value, where it is)."""


def _at(at: str, name: str | int) -> str:
    return f"{at}.{name}" if at else str(name)


def _shown(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype} and shape {value.shape}"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    if isinstance(value, Mapping) or dataclasses.is_dataclass(value):
        return "a table" if isinstance(value, Mapping) else f"a {type(value).__name__}"
    return f"the text {short(value)}" if isinstance(value, str) else short(value)


def _expected(kind: Any) -> str:
    names = {int: "a whole number of at most 64 bits", float: "a number", str: "text", bool: "true or false"}
    if kind is None or kind is type(None):
        return "nothing"
    return names.get(kind) or f"{getattr(kind, '__name__', str(kind))}"
