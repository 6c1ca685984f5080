"""Checks of arguments, each with one clear sentence."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any

from interp.errors import UsageError


def check_whole(value: Any, name: str, least: int = 0) -> None:
    """Raise `UsageError` unless `value` is an integer of at least `least`.

    >>> check_whole(3, "batch_size", least=1)  # raises for 0, 2.5 and "3"
    """
    if isinstance(value, bool) or not isinstance(value, Integral) or value < least:
        raise UsageError(f"{name} must be a whole number of at least {least}, not {value!r}.")


def check_number(value: Any, name: str) -> None:
    """Raise `UsageError` unless `value` is a number.

    >>> check_number(0.35, "test")  # raises for "0.35"
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise UsageError(f"{name} must be a number, not {value!r}.")


def check_kind(value: Any, kind: type, name: str, source: str) -> None:
    """Raise `UsageError` unless `value` is of class `kind`.

    `source` says how to get such a value.

    >>> check_kind(data, type(data), "data", "probes.read_statements")  # raises for a list of texts
    """
    if not isinstance(value, kind):
        raise UsageError(f"{name} must be {kind.__name__} (see {source}), not {type(value).__name__}.")


def check_kinds(values: Any, kind: type, name: str, source: str) -> None:
    """Raise `UsageError` unless `values` is an iterable of `kind` instances.

    >>> check_kinds([data, data], type(data), "sets", "probes.read_statements")  # raises for a list of texts
    """
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise UsageError(f"{name} must be several {kind.__name__} (see {source}), not {type(values).__name__}.")
    for value in values:
        check_kind(value, kind, f"Each of {name}", source)
