"""Every head of a model at once: what it looks for, what it moves and which heads read it: `run(model, Config())`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analyses.circuits.result import Circuits, Config
    from analyses.circuits.study import run

__all__ = ["Circuits", "Config", "run"]

_MODULES = {"Config": "result", "Circuits": "result", "run": "study"}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'analyses.circuits' has no attribute {name!r}")
    return getattr(import_module(f"analyses.circuits.{_MODULES[name]}"), name)
