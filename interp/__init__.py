"""Mechanistic interpretability in which every number carries the check that proves it.

Importing this package loads no torch: names are fetched when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from interp import attribution, cache, circuits, errors, patching, report, results, toy
    from interp.model import Model, check, load

__all__ = [
    "Model",
    "attribution",
    "cache",
    "check",
    "circuits",
    "errors",
    "load",
    "patching",
    "report",
    "results",
    "toy",
]

_FROM = {"Model": "interp.model", "check": "interp.model", "load": "interp.model"}


def __getattr__(name: str) -> Any:
    if name in _FROM:
        return getattr(import_module(_FROM[name]), name)
    if name in __all__:
        return import_module(f"interp.{name}")
    raise AttributeError(f"module 'interp' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
