"""What the model says when a direction is added to, or taken out of, what it holds of a statement.

Names are fetched when first used, so that a saved result loads without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from probes.intervening.question import Question
    from probes.intervening.results import Intervention
    from probes.intervening.running import intervene
    from probes.intervening.targets import as_target

__all__ = ["Intervention", "Question", "as_target", "intervene"]

_MODULES = {"Intervention": "results", "Question": "question", "as_target": "targets", "intervene": "running"}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'probes.intervening' has no attribute {name!r}")
    return getattr(import_module(f"probes.intervening.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
