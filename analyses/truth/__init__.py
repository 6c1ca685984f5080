"""Does a model hold whether a statement is true, as a direction? `run(model, Config(data=("cities.csv",)))`."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analyses.truth.result import Config, Plane, SetOf, TruthStudy
    from analyses.truth.study import run

__all__ = ["Config", "Plane", "SetOf", "TruthStudy", "run"]

_MODULES = {"Config": "result", "Plane": "result", "SetOf": "result", "TruthStudy": "result", "run": "study"}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'analyses.truth' has no attribute {name!r}")
    return getattr(import_module(f"analyses.truth.{_MODULES[name]}"), name)
