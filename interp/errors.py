"""The errors of the toolkit, with the exit code of each on the command line.

A message says what was given, what was expected and how to fix it. Everything raised on purpose for a user
derives from `InterpError`; anything else that escapes is a defect of the toolkit.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Iterable
from difflib import get_close_matches
from numbers import Real


class InterpError(ValueError):
    """Base class of errors raised on purpose, with a stated reason.

    >>> try:
    ...     model.token_id(" Rome")
    ... except interp.errors.InterpError as error: print(error)
    ' Rome' is not in the vocabulary: it becomes <unk>.
    """

    exit_code = 1


class UsageError(InterpError):
    """An argument, option or configuration value that cannot be used as given.

    >>> model.token_id(" Rome")
    Traceback (most recent call last):
        ...
    interp.errors.UsageError: ' Rome' is not in the vocabulary: it becomes <unk>.
    """

    exit_code = 2


class NotFiniteError(UsageError):
    """Values that are NaN or infinite where numbers are needed.

    >>> interp.errors.NotFiniteError.__base__.__name__  # caught as a UsageError too
    'UsageError'
    """


class UnsupportedModelError(UsageError):
    """A model family, or a feature of one, that is not implemented.

    >>> interp.errors.UnsupportedModelError.__base__.__name__  # caught as a UsageError too
    'UsageError'
    """


class MissingInputError(InterpError):
    """Missing file or folder, or a model that would need a network.

    >>> try:
    ...     results.load(folder)
    ... except interp.errors.MissingInputError as error: print(str(error)[:9])
    No result
    """

    exit_code = 3


class DamagedFileError(MissingInputError):
    """A file that was truncated, altered or is of another kind.

    >>> interp.errors.DamagedFileError.__base__.__name__  # caught as a MissingInputError too
    'MissingInputError'
    """


class CheckFailedError(InterpError):
    """Disagreement of two numbers that must agree.

    Nothing computed from them was returned or written.

    >>> interp.errors.CheckFailedError.__base__.__name__
    'InterpError'
    """

    exit_code = 4


def whole(value: object, name: str, least: int | None = None) -> int:
    """Check that an argument is a whole number, and return it.

    It may be of any integer type.

    Args:
        value: the argument.
        name: its name in the message.
        least: the smallest number allowed; any by default.

    Returns:
        The number as an `int`.

    Raises:
        UsageError: anything but a whole number (a float, a text, None, True), or a number below `least`.

    >>> whole(np.int64(3), "k", 1)
    3
    """
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:  # an array of several numbers has the method and not the value
        number = None
    if number is None or isinstance(value, bool):
        raise UsageError(f"{name} must be a whole number, not {value!r}.")
    if least is not None and number < least:
        raise UsageError(f"{name}={number}, but it must be at least {least}.")
    return number


def require(value: object, kind: type | tuple[type, ...], name: str) -> None:
    """Check that an argument is of the kind a function takes.

    Args:
        value: the argument.
        kind: the class, or classes, that it must be of.
        name: its name in the message.

    Raises:
        UsageError: a value of another class.

    >>> require("3", int, "k")
    Traceback (most recent call last):
        ...
    interp.errors.UsageError: The argument k must be an int, not str.
    """
    if not isinstance(value, kind):
        kinds = kind if isinstance(kind, tuple) else (kind,)
        words = {Real: "number", type(None): "None"}
        expected = " or ".join(words.get(one, one.__name__) for one in kinds)
        raise UsageError(f"The argument {name} must be {with_article(expected)}, not {type(value).__name__}.")


def with_article(noun: str) -> str:
    """Return a noun after "a", or "an" before a vowel.

    >>> with_article("Examples"), with_article("number")
    ('an Examples', 'a number')
    """
    return f"{'an' if noun[:1].lower() in 'aeio' else 'a'} {noun}"


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the hint to add to a message about an unknown name.

    >>> nearest("blok", ["block", "mlp"])
    '; the nearest is "block"'
    >>> nearest("learning_rate", ["lr", "dead_after"])
    '; the nearest is "lr"'
    >>> nearest("zzz", ["block", "mlp"])
    ''
    """
    names = list(known)
    initials = "".join(word[:1] for word in re.split("[-_ ]+", str(name).strip("-")))
    short = [one for one in names if len(initials) > 1 and one.strip("-") == initials]
    alike = get_close_matches(str(name), names, n=3, cutoff=0.5)
    close = get_close_matches(str(name), names, n=1, cutoff=0.6)
    matches = short or close or [one for one in alike if one[:1] == str(name)[:1]]
    return f'; the nearest is "{matches[0]}"' if matches else ""
