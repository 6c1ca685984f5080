"""Why a model continues a prompt with one token rather than another: `run(model, Config(...)) -> Explanation`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analyses.explain.result import Config, Explanation
    from analyses.explain.study import run

__all__ = ["Config", "Explanation", "run"]

_MODULES = {"Config": "result", "Explanation": "result", "run": "study"}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'analyses.explain' has no attribute {name!r}")
    return getattr(import_module(f"analyses.explain.{_MODULES[name]}"), name)
