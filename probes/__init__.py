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
    from probes import batched, streaming
    from probes.activations import Activations
    from probes.collecting import collect
    from probes.erasing import Eraser, Leace
    from probes.erasure import ErasureReport, erasure_report
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
    from probes.generated import GENERATED, generate
    from probes.intervening import Intervention, Question, as_target, intervene
    from probes.protocol.baselines import log_probs
    from probes.protocol.leaving import leave_one_out
    from probes.protocol.results import LeftOut, Sweep, Transfer
    from probes.protocol.splits import Split, own_split, split
    from probes.protocol.sweeping import sweep
    from probes.protocol.transferring import transfer
    from probes.statements import Statements, join, paired, read_statements
    from probes.streaming.statistics import Statistics

__all__ = [
    "Statements",
    "read_statements",
    "join",
    "paired",
    "generate",
    "GENERATED",
    "Activations",
    "collect",
    "intervene",
    "Intervention",
    "Question",
    "as_target",
    "Leace",
    "Eraser",
    "erasure_report",
    "ErasureReport",
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
    "Statistics",
    "split",
    "own_split",
    "Split",
    "sweep",
    "Sweep",
    "transfer",
    "Transfer",
    "leave_one_out",
    "LeftOut",
    "log_probs",
    "batched",
    "streaming",
]

_MODULES = {
    "Statements": "probes.statements",
    "read_statements": "probes.statements",
    "join": "probes.statements",
    "paired": "probes.statements",
    "generate": "probes.generated",
    "GENERATED": "probes.generated",
    "Activations": "probes.activations",
    "collect": "probes.collecting",
    "intervene": "probes.intervening",
    "Intervention": "probes.intervening",
    "Question": "probes.intervening",
    "as_target": "probes.intervening",
    "Leace": "probes.erasing",
    "Eraser": "probes.erasing",
    "erasure_report": "probes.erasure",
    "ErasureReport": "probes.erasure",
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
    "Statistics": "probes.streaming.statistics",
    "split": "probes.protocol.splits",
    "own_split": "probes.protocol.splits",
    "Split": "probes.protocol.splits",
    "sweep": "probes.protocol.sweeping",
    "Sweep": "probes.protocol.results",
    "transfer": "probes.protocol.transferring",
    "Transfer": "probes.protocol.results",
    "leave_one_out": "probes.protocol.leaving",
    "LeftOut": "probes.protocol.results",
    "log_probs": "probes.protocol.baselines",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    if name in __all__:
        return import_module(f"probes.{name}")
    raise AttributeError(f"module 'probes' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
