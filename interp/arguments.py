"""Check the arguments of a function against its annotations, with one clear error message for each.

    @checked
    def theory_loss(density: Float[np.ndarray, " features"], importance: ..., hidden: int) -> ...

The declaration is the annotation, which type checkers read too, so a kind is written once. What a value of the right
kind must also satisfy (a range, a sum) is checked by the function.
"""

from __future__ import annotations

import inspect
import operator
import re
import sys
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from functools import cache, wraps
from importlib import import_module
from numbers import Real
from types import UnionType
from typing import Any, Literal, ParamSpec, TypeVar, Union

import numpy as np

from interp.errors import UsageError
from interp.files import short
from interp.lazy import type_checking_imports

P = ParamSpec("P")
R = TypeVar("R")
WORDS: dict[Any, str] = {
    int: "whole number",
    float: "number",
    str: "text",
    bool: "True or False",
    type(None): "None",
    Callable: "function",
    Sequence: "sequence",
    Iterable: "sequence",
    Mapping: "dictionary",
    tuple: "sequence",
    list: "sequence",
    dict: "dictionary",
}


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """Return `function` with its arguments checked against their annotations at each call.

    The kinds that are checked: None, bool, int, float, str, `Literal`, classes, functions, sequences and dictionaries
    with their items, arrays of numbers (any numeric type, the declared number of axes) and unions of these. Arguments
    with another annotation, or with none, are not checked. A numpy number counts as a number; True does not.

    Raises:
        UsageError: at a call, with the name of the argument, the kind that is declared and the kind that was given.

    >>> @checked
    ... def double(k: int) -> int:
    ...     return 2 * k
    >>> double("three")
    Traceback (most recent call last):
    interp.errors.UsageError: The argument k must be a whole number, not "three".
    """
    signature = inspect.signature(function)

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            given = signature.bind(*args, **kwargs).arguments
        except TypeError:
            return function(*args, **kwargs)  # a missing or unknown argument: Python's own message
        check(_kinds(function), given)
        return function(*args, **kwargs)

    return call


def checked_fields(record: Any) -> None:
    """Check that a dataclass's fields are of their declared kinds.

    Raises `UsageError` for a field of another kind. Call it in `__post_init__`.
    """
    kind = type(record)
    check(_kinds(kind), {field.name: getattr(record, field.name) for field in fields(kind)}, "")


def check(kinds: Mapping[str, Any], values: Mapping[str, Any], what: str = "The argument ") -> None:
    """Check that named values are of their declared kinds.

    Raises `UsageError` for the first that is not.
    """
    for name, value in values.items():
        kind = kinds.get(name, Any)
        if not fits(kind, value):
            raise UsageError(f"{what}{name} must be {_expected(kind)}, not {_given(value)}.")


def fits(kind: Any, value: object) -> bool:
    """Return whether a value is of a declared kind.

    As `checked` takes it.

    >>> fits(int, 3), fits(int, True), fits(int | None, None), fits(Sequence[str], ["a", 1])
    (True, False, True, False)
    """
    if hasattr(kind, "array_type"):
        return _fits_array(kind, value)
    origin = typing.get_origin(kind) or kind
    if origin in _RULES:
        return _RULES[origin](typing.get_args(kind), value)
    try:
        return isinstance(value, origin)
    except TypeError:  # not a class: anything, a type variable, a protocol that cannot be asked
        return True


def _is_whole(value: object) -> bool:
    if isinstance(value, bool | np.bool_):
        return False
    try:
        operator.index(value)  # type: ignore[arg-type]
    except TypeError:  # an array of several numbers has the method and not the value
        return False
    return True


def _fits_sequence(inner: tuple[Any, ...], value: object) -> bool:
    """Return whether `value` is a sequence, but not a text, whose items fit."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        return False
    if not inner:
        return True
    fixed = len(inner) > 1 and inner[-1] is not Ellipsis
    kinds = inner if fixed else inner[:1] * len(value)
    return len(kinds) == len(value) and all(map(fits, kinds, value))


def _fits_array(kind: Any, value: object) -> bool:
    """Return whether `value` holds numbers in the declared axes; nested lists count as numpy arrays."""
    if kind.array_type is np.ndarray and isinstance(value, list | tuple):
        try:
            value = np.asarray(value)
        except ValueError:  # rows of different lengths
            return False
    if not isinstance(value, kind.array_type) or (isinstance(value, np.ndarray) and value.dtype.kind not in "biuf"):
        return False
    axes = len(kind.dims)
    return value.ndim == axes if kind.index_variadic is None else value.ndim >= axes - 1  # type: ignore[attr-defined]


_RULES: dict[Any, Callable[[tuple[Any, ...], Any], bool]] = {
    bool: lambda _, value: isinstance(value, bool | np.bool_),
    int: lambda _, value: _is_whole(value),
    float: lambda _, value: isinstance(value, Real) and not isinstance(value, bool | np.bool_),
    Literal: lambda choices, value: isinstance(value, str | int | None) and value in choices,
    **dict.fromkeys((Union, UnionType), lambda kinds, value: any(fits(kind, value) for kind in kinds)),
    **dict.fromkeys((tuple, list, Sequence), _fits_sequence),
}
"""Whether a value fits a declared kind, by (the kind's parameters, the value); all other kinds go by `isinstance`."""


@cache
def _kinds(declared: Any) -> dict[str, Any]:
    """Return the declared kinds of the arguments of a function or the fields of a class."""
    module = sys.modules[declared.__module__]
    names = re.findall(r"\w+", " ".join(map(str, declared.__annotations__.values())))
    later = type_checking_imports(module)
    imported = {name: getattr(import_module(later[name]), name) for name in names if name in later}
    return typing.get_type_hints(declared, localns=vars(module) | imported)


def _expected(kind: Any) -> str:
    """Return the words for a kind, with their article."""
    origin, inner = typing.get_origin(kind) or kind, typing.get_args(kind)
    if hasattr(kind, "array_type"):
        form = "a tensor" if kind.array_type is not np.ndarray else "an array"
        shape = kind.dim_str.strip().replace(" ", ", ")
        return f"{form} of numbers" if shape == "..." else f"{form} of numbers of shape ({shape})"
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(map(_expected, inner)))
    if origin is Literal:
        return " or ".join(map(short, inner))
    if origin in (tuple, list, Sequence) and inner and inner[0] in (int, float, str):
        return f"a sequence of {WORDS[inner[0]]}s"
    name = WORDS.get(origin) or getattr(origin, "__name__", str(origin))
    article = "" if name in ("text", "None", "True or False") else "an " if name[0] in "AEIOUaeiou" else "a "
    return f"{article}{name}"


def _given(value: object) -> str:
    """Return the value itself where it is short and plain, else its kind."""
    if value is None or isinstance(value, bool | int | float | str):
        return short(value) if isinstance(value, str) else str(value)
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{type(value).__name__} of {value.dtype} and shape {tuple(value.shape)}"  # type: ignore[attr-defined]
    return f"{type(value).__name__}"
