"""One line of the output of `interp doctor`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Check:
    """One thing that doctor examined.

    `value` is what is installed or available. What is `missing` is optional, what is `broken` is required; `remedy` is
    how to fix it.
    """

    name: str
    state: Literal["ok", "missing", "broken"]
    value: str
    remedy: str = ""


def guarded(name: str, examine: Callable[[], Check | Iterable[Check]]) -> Iterator[Check]:
    """Yield the checks of a function, or one that reports its failure.

    The doctor must report and not fail.
    """
    try:
        checks = examine()
        yield from (checks,) if isinstance(checks, Check) else checks
    except Exception as error:
        yield Check(name, "missing", f"could not be checked ({type(error).__name__}: {error})", "see interp doctor -v")
