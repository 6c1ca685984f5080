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
    from probes.estimators.attention import AttentionPooled
    from probes.estimators.ccs import CCS
    from probes.estimators.crc import CRC
    from probes.estimators.lda import LDA
    from probes.estimators.logistic import LogisticRegression
    from probes.estimators.massmean import MassMean
    from probes.estimators.ridge import Ridge
    from probes.estimators.saplma import SAPLMA
    from probes.estimators.saving import load
    from probes.estimators.ttpd import TTPD
    from probes.intervening import Intervention, Question, as_target, intervene
    from probes.statements import Statements, join, paired, read_statements

__all__ = [
    "Statements",
    "read_statements",
    "join",
    "paired",
    "Activations",
    "collect",
    "intervene",
    "Intervention",
    "Question",
    "as_target",
    "LogisticRegression",
    "MassMean",
    "LDA",
    "Ridge",
    "CCS",
    "CRC",
    "TTPD",
    "SAPLMA",
    "AttentionPooled",
    "load",
    "batched",
]

_MODULES = {
    "Statements": "probes.statements",
    "read_statements": "probes.statements",
    "join": "probes.statements",
    "paired": "probes.statements",
    "Activations": "probes.activations",
    "collect": "probes.collecting",
    "intervene": "probes.intervening",
    "Intervention": "probes.intervening",
    "Question": "probes.intervening",
    "as_target": "probes.intervening",
    "LogisticRegression": "probes.estimators.logistic",
    "MassMean": "probes.estimators.massmean",
    "LDA": "probes.estimators.lda",
    "Ridge": "probes.estimators.ridge",
    "CCS": "probes.estimators.ccs",
    "CRC": "probes.estimators.crc",
    "TTPD": "probes.estimators.ttpd",
    "SAPLMA": "probes.estimators.saplma",
    "AttentionPooled": "probes.estimators.attention",
    "load": "probes.estimators.saving",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    if name in __all__:
        return import_module(f"probes.{name}")
    raise AttributeError(f"module 'probes' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
