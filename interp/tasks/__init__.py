"""Tasks: pairs of a clean and a counterfactual prompt with right and wrong answers, generated from a seed.

`tasks.ioi(model, n=64, seed=0)` or `tasks.make("ioi", model, ...)` makes one for any tokenizer; `tasks.read` reads a
user's own pairs. Names are fetched when first used, so that a saved score loads without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from interp.tasks.catalogue import (
        country_capital,
        docstring,
        gendered_pronoun,
        greater_than,
        induction,
        ioi,
        key_value,
        make,
        names,
        subject_verb,
        successor,
    )
    from interp.tasks.encoding import Pair, Pairs
    from interp.tasks.reading import read
    from interp.tasks.score import TaskScore
    from interp.tasks.task import Task, log_odds

__all__ = [
    "names",
    "make",
    "read",
    "ioi",
    "greater_than",
    "gendered_pronoun",
    "subject_verb",
    "country_capital",
    "successor",
    "induction",
    "docstring",
    "key_value",
    "log_odds",
    "Pair",
    "Pairs",
    "Task",
    "TaskScore",
]

_MODULES = {
    "read": "reading",
    "log_odds": "task",
    "Task": "task",
    "TaskScore": "score",
    "Pair": "encoding",
    "Pairs": "encoding",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'interp.tasks' has no attribute {name!r}")
    return getattr(import_module(f"interp.tasks.{_MODULES.get(name, 'catalogue')}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
