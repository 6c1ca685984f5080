"""The protocol of processes that share a run."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Group(Protocol):
    """Processes that share a run and a folder."""

    @property
    def rank(self) -> int:
        """Index of this process, counted from zero."""
        ...

    @property
    def size(self) -> int:
        """Number of processes."""
        ...

    def gather(self, value: Any) -> list[Any]:
        """Return the value of every process, in the order of ranks."""
        ...
