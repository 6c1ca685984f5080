"""Read the fields of a dataclass from TOML, or from NAME=VALUE on a command line."""

from __future__ import annotations

import math
import tomllib
from functools import cache
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from interp.errors import UsageError
from interp.files import short

NAMES = {int: "a whole number", float: "a number", str: "a text in quotes", bool: "true or false"}


@cache
def kinds(settings: type) -> dict[str, Any]:
    """Return the declared kind of every field of a dataclass."""
    return get_type_hints(settings)


def assigned(settings: type, name: str, text: str, source: str) -> Any:
    """Return the value that `text` gives the field `name`, as `checked` does.

    `text` is TOML; a list may do without its brackets, and what is not TOML is text.
    """
    return checked(settings, name, _parsed(text.strip(), kinds(settings)[name]), source)


def checked(settings: type, name: str, value: Any, source: str) -> Any:
    """Return `value` as the field `name` of `settings` declares it.

    A single text or number stands for a list of one, and a whole number for any number.

    Raises:
        UsageError: it is of another kind; the message begins with `source`, such as a file's name.
    """
    kind = kinds(settings)[name]
    fitted = _fitted(value, kind)
    if fitted is None:
        raise UsageError(f"{source} must be {_wanted(kind)}, not {_shown(value)}.")
    return fitted


def _parsed(text: str, kind: Any) -> Any:
    listed = get_origin(kind) is tuple
    for written in (text, f"[{text}]") if listed else (text,):
        try:
            value = tomllib.loads(f"value = {written}")["value"]
        except (ValueError, RecursionError):  # not TOML, or a number of thousands of digits
            continue
        return text if kind in (str, tuple[str, ...]) and not isinstance(value, str | list) else value
    return text


def _fitted(value: Any, kind: Any) -> Any:
    """Return `value` as `kind`, or None if it is of another kind."""
    if isinstance(kind, UnionType):
        return _fitted(value, get_args(kind)[0])
    if get_origin(kind) is tuple:
        inner = get_args(kind)[0]
        items = [_fitted(item, inner) for item in (value if isinstance(value, list) else [value])]
        return None if None in items else tuple(items)
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value) if math.isfinite(value) else None
    if kind is int and isinstance(value, int) and abs(value) >= 2**63:
        return None
    return value if type(value) is kind else None


def _wanted(kind: Any) -> str:
    if isinstance(kind, UnionType):
        return _wanted(get_args(kind)[0])
    return f"{NAMES[get_args(kind)[0]]} or a list of such" if get_origin(kind) is tuple else NAMES[kind]


def _shown(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else short(value)
