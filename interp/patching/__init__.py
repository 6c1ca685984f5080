"""Activation patching: what happens to a prediction when part of one run is replaced by that of another.

Names are fetched when first used, so that a saved result loads without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from interp.patching.results import Patched
    from interp.patching.swap import patch_heads, patch_residual

__all__ = ["Patched", "patch_heads", "patch_residual"]

_MODULES = {"Patched": "results", "patch_heads": "swap", "patch_residual": "swap"}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'interp.patching' has no attribute {name!r}")
    return getattr(import_module(f"interp.patching.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
