"""Exchange with other libraries: SAELens folders written and read, sparsify and Gemma Scope read, cards, upload."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from saes.interop.folders import load

__all__ = ["load"]


def __getattr__(name: str) -> Any:
    if name == "load":
        return import_module("saes.interop.folders").load
    raise AttributeError(f"module 'saes.interop' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
