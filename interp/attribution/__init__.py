"""Exact attribution: which components, and which of their paths, a number of the model is made of.

Names are fetched when first used, so that a saved result loads without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from interp.attribution.contributions import by_source, direct
    from interp.attribution.frozen import Frozen, freeze
    from interp.attribution.lens import logit_lens
    from interp.attribution.results import Attribution, Direct, LogitLens
    from interp.attribution.targets import direction, logit, logit_difference

__all__ = [
    "Attribution",
    "Direct",
    "Frozen",
    "LogitLens",
    "by_source",
    "direct",
    "direction",
    "freeze",
    "logit",
    "logit_difference",
    "logit_lens",
]

_MODULES = {
    "Attribution": "results",
    "Direct": "results",
    "by_source": "contributions",
    "direct": "contributions",
    "Frozen": "frozen",
    "freeze": "frozen",
    "LogitLens": "results",
    "logit_lens": "lens",
    "direction": "targets",
    "logit": "targets",
    "logit_difference": "targets",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'interp.attribution' has no attribute {name!r}")
    return getattr(import_module(f"interp.attribution.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
