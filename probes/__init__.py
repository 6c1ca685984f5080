"""Linear probes of what a model represents, with the protocol that makes them mean something.

    data  = probes.read_statements("cities.csv")
    acts  = probes.collect(model, data, layers="all", position="last")
    probe = probes.MassMean().fit(acts.at(13), data.labels)

Names are fetched when first used; what reads saved results needs no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from probes import batched
    from probes.activations import Activations
    from probes.collecting import collect
    from probes.estimators.lda import LDA
    from probes.estimators.logistic import LogisticRegression
    from probes.estimators.massmean import MassMean
    from probes.estimators.ridge import Ridge
    from probes.statements import Statements, join, paired, read_statements

__all__ = [
    "Statements",
    "read_statements",
    "join",
    "paired",
    "Activations",
    "collect",
    "LogisticRegression",
    "MassMean",
    "LDA",
    "Ridge",
    "batched",
]

_MODULES = {
    "Statements": "probes.statements",
    "read_statements": "probes.statements",
    "join": "probes.statements",
    "paired": "probes.statements",
    "Activations": "probes.activations",
    "collect": "probes.collecting",
    "LogisticRegression": "probes.estimators.logistic",
    "MassMean": "probes.estimators.massmean",
    "LDA": "probes.estimators.lda",
    "Ridge": "probes.estimators.ridge",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    if name in __all__:
        return import_module(f"probes.{name}")
    raise AttributeError(f"module 'probes' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
