"""Evaluation of sparse autoencoders.

It measures reconstruction, effect on the model, and recovery of known features.

    evaluation = saes.evaluate(sae, activations, model=model, contexts=contexts, truth=Truth(directions, coefficients))
    quick = saes.evaluate(sae, activations, config=saes.evaluation.Config(baselines=False))
    print(evaluation.summary()); evaluation.score("fvu").value; evaluation.save("out/evaluation")

Names are imported on first use: a saved evaluation loads without torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from interp.lazy import attach

if TYPE_CHECKING:
    from saes.evaluation.config import Config as Config
    from saes.evaluation.evaluate import evaluate as evaluate
    from saes.evaluation.language import spliced as spliced, spliced_logits as spliced_logits
    from saes.evaluation.recovery import Absorption as Absorption, Firing as Firing, Match as Match, match as match
    from saes.evaluation.result import (
        Baseline as Baseline,
        Evaluation as Evaluation,
        Known as Known,
        Latents as Latents,
    )
    from saes.evaluation.scores import Score as Score
    from saes.evaluation.truth import Truth as Truth

attach(__name__)
