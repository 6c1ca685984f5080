"""What several processes of one run need to know of each other."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Group(Protocol):
    """Processes that share a run and a folder; each is one of them."""

    @property
    def rank(self) -> int:
        """Of this process, from 0."""
        ...

    @property
    def size(self) -> int:
        """How many they are."""
        ...

    def gather(self, value: Any) -> list[Any]:
        """Return the plain value of every process, in the order of ranks."""
        ...
