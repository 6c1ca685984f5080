"""Exact attribution: which components, and which of their paths, a number of the model is made of.

Names are fetched when first used, so that a saved result loads without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from interp.attribution.bilinear import score, scores
    from interp.attribution.causal import verify
    from interp.attribution.contributions import by_source, direct
    from interp.attribution.frozen import Frozen, freeze
    from interp.attribution.lens import logit_lens
    from interp.attribution.neuronpedia import neuronpedia_graph
    from interp.attribution.paths import Path, PathTree
    from interp.attribution.results import Attribution, Direct, Edges, LogitLens, Orders, Scores, Sources, Verification
    from interp.attribution.sweeps import edges, orders, sources
    from interp.attribution.targets import direction, logit, logit_difference
    from interp.attribution.tree import path_tree

__all__ = [
    "freeze",
    "Frozen",
    "logit",
    "logit_difference",
    "direction",
    "score",
    "direct",
    "by_source",
    "sources",
    "orders",
    "edges",
    "path_tree",
    "scores",
    "verify",
    "logit_lens",
    "neuronpedia_graph",
    "Attribution",
    "Direct",
    "Edges",
    "LogitLens",
    "Orders",
    "Path",
    "PathTree",
    "Scores",
    "Sources",
    "Verification",
]

_MODULES = {
    **dict.fromkeys(("freeze", "Frozen"), "frozen"),
    **dict.fromkeys(("logit", "logit_difference", "direction"), "targets"),
    **dict.fromkeys(("score", "scores"), "bilinear"),
    **dict.fromkeys(("direct", "by_source"), "contributions"),
    **dict.fromkeys(("sources", "orders", "edges"), "sweeps"),
    **dict.fromkeys(("Path", "PathTree"), "paths"),
    "path_tree": "tree",
    "verify": "causal",
    "logit_lens": "lens",
    "neuronpedia_graph": "neuronpedia",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'interp.attribution' has no attribute {name!r}")
    return getattr(import_module(f"interp.attribution.{_MODULES.get(name, 'results')}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
