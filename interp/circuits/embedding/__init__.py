"""Embedding space: what the vectors at both ends of a model have in common, and weights read as tokens.

`compare`, `analogy`, `project`, `collapse` and `sparse_code`; names are fetched when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from interp.circuits.embedding.coding import sparse_code
    from interp.circuits.embedding.ends import compare
    from interp.circuits.embedding.offsets import analogy
    from interp.circuits.embedding.projecting import project
    from interp.circuits.embedding.results import Analogy, Collapse, Comparison, Projection, SparseCode
    from interp.circuits.embedding.spread import collapse

__all__ = [
    "compare",
    "analogy",
    "project",
    "collapse",
    "sparse_code",
    "Analogy",
    "Collapse",
    "Comparison",
    "Projection",
    "SparseCode",
]

_MODULES = {
    "compare": "ends",
    "analogy": "offsets",
    "project": "projecting",
    "collapse": "spread",
    "sparse_code": "coding",
    "Analogy": "results",
    "Collapse": "results",
    "Comparison": "results",
    "Projection": "results",
    "SparseCode": "results",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'interp.circuits.embedding' has no attribute {name!r}")
    return getattr(import_module(f"interp.circuits.embedding.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
