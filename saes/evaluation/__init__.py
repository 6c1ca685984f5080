"""Judging an autoencoder: what it rebuilds, what that does to the model, and how much of a known truth it found.

    found = saes.evaluate(sae, activations, model=model, contexts=contexts, truth=Truth(directions, coefficients))
    print(found.summary()); found.score("FVU").value; found.save("out/judged")

Names are fetched when first used: a saved judgement loads without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from saes.evaluation.judging import evaluate
    from saes.evaluation.recovery import Absorption, Firing, Match, match
    from saes.evaluation.result import Baseline, Evaluation, Known, Latents
    from saes.evaluation.scores import Score
    from saes.evaluation.splice import spliced, spliced_logits
    from saes.evaluation.truth import Truth

__all__ = [
    "evaluate",
    "Evaluation",
    "Score",
    "Latents",
    "Baseline",
    "Known",
    "Truth",
    "match",
    "Match",
    "Firing",
    "Absorption",
    "spliced",
    "spliced_logits",
]

_MODULES = {
    "evaluate": "judging",
    "Evaluation": "result",
    "Score": "scores",
    "Latents": "result",
    "Baseline": "result",
    "Known": "result",
    "Truth": "truth",
    "match": "recovery",
    "Match": "recovery",
    "Firing": "recovery",
    "Absorption": "recovery",
    "spliced": "splice",
    "spliced_logits": "splice",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(f"saes.evaluation.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'saes.evaluation' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
