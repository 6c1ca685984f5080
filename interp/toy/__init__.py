"""Superposition toy models: small networks whose features are known, trained many at once and judged exactly.

    config = toy.Config(features=5, hidden=2, density=(1.0, 0.3, 0.05), starts=8)
    trained = toy.train(config)                     # 3 cells x 8 starts as one batched product
    toy.dimensionality(trained.best().features)     # (cells, features)

Toy Models of Superposition, Elhage et al. 2022 (arXiv 2209.10652). Names are fetched when first used; the geometry,
the theory and the results need numpy only.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from interp.toy.config import Config
    from interp.toy.data import sample, zipf
    from interp.toy.geometry import (
        Factor,
        canonical,
        dimensionality,
        frobenius,
        gaps,
        interference,
        monosemantic_fraction,
        represented,
        tegum_factors,
    )
    from interp.toy.loss import exact_loss, sampled_loss
    from interp.toy.theory import boundary, candidates, theory_loss
    from interp.toy.trained import Trained
    from interp.toy.trainer import train

__all__ = [
    "Config",
    "train",
    "Trained",
    "sample",
    "zipf",
    "exact_loss",
    "sampled_loss",
    "dimensionality",
    "frobenius",
    "represented",
    "interference",
    "gaps",
    "Factor",
    "tegum_factors",
    "canonical",
    "monosemantic_fraction",
    "candidates",
    "theory_loss",
    "boundary",
]

_FROM = {
    "Config": "config",
    "train": "trainer",
    "Trained": "trained",
    "sample": "data",
    "zipf": "data",
    "exact_loss": "loss",
    "sampled_loss": "loss",
    "candidates": "theory",
    "theory_loss": "theory",
    "boundary": "theory",
}


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module(f"interp.toy.{_FROM.get(name, 'geometry')}"), name)
    raise AttributeError(f"module 'interp.toy' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
