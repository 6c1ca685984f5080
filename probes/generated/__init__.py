"""Statements made from short tables of facts, balanced so that no word alone gives the label away."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from probes.generated.making import GENERATED, generate

__all__ = ["GENERATED", "generate"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("probes.generated.making"), name)
    raise AttributeError(f"module 'probes.generated' has no attribute {name!r}")
