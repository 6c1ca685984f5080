"""Circuits: what each head's query-key and output-value maps are, exactly, and how heads read one another.

Names are fetched when first used, so that a saved result loads without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from interp.circuits import embedding
    from interp.circuits.ablating import ablate_induction
    from interp.circuits.behaviour import head_scores
    from interp.circuits.checking import check
    from interp.circuits.composing import composition
    from interp.circuits.definite import definiteness
    from interp.circuits.factors import LowRank
    from interp.circuits.output_value import OutputValue, ov
    from interp.circuits.query_key import QueryKey, qk
    from interp.circuits.readings import Directions, FullCircuit, TopTokens
    from interp.circuits.results import Ablation, CircuitCheck, Composition, Definiteness, HeadScores
    from interp.circuits.terms import frequency_energy, frequency_terms, positional_profile, score_terms

__all__ = [
    "qk",
    "ov",
    "composition",
    "head_scores",
    "check",
    "ablate_induction",
    "definiteness",
    "embedding",
    "frequency_energy",
    "frequency_terms",
    "positional_profile",
    "score_terms",
    "Ablation",
    "CircuitCheck",
    "Composition",
    "Definiteness",
    "Directions",
    "FullCircuit",
    "HeadScores",
    "LowRank",
    "OutputValue",
    "QueryKey",
    "TopTokens",
]

_MODULES = {
    "qk": "query_key",
    "QueryKey": "query_key",
    "ov": "output_value",
    "OutputValue": "output_value",
    "LowRank": "factors",
    "composition": "composing",
    "head_scores": "behaviour",
    "check": "checking",
    "ablate_induction": "ablating",
    "definiteness": "definite",
    "frequency_energy": "terms",
    "frequency_terms": "terms",
    "positional_profile": "terms",
    "score_terms": "terms",
    "Ablation": "results",
    "CircuitCheck": "results",
    "Composition": "results",
    "Definiteness": "results",
    "Directions": "readings",
    "FullCircuit": "readings",
    "HeadScores": "results",
    "TopTokens": "readings",
}


def __getattr__(name: str) -> Any:
    if name == "embedding":
        return import_module("interp.circuits.embedding")
    if name not in _MODULES:
        raise AttributeError(f"module 'interp.circuits' has no attribute {name!r}")
    return getattr(import_module(f"interp.circuits.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
