"""Circuits: what each head's query-key and output-value maps are, exactly.

>>> head = circuits.qk(model, layer=1, head=0)
>>> head.signature, circuits.ov(model, layer=1, head=0).copying_score
((8, 8), -0.147)

Names are imported when first used, so that a saved result loads without torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from interp.lazy import attach

if TYPE_CHECKING:
    from interp.circuits import embedding as embedding
    from interp.circuits.ablation import ablate_induction as ablate_induction
    from interp.circuits.behaviour import head_scores as head_scores
    from interp.circuits.check import check as check
    from interp.circuits.composition import composition as composition, compositions as compositions
    from interp.circuits.definiteness import definiteness as definiteness
    from interp.circuits.factors import LowRank as LowRank
    from interp.circuits.head_results import Ablation as Ablation, HeadScores as HeadScores
    from interp.circuits.output_value import OutputValue as OutputValue, ov as ov
    from interp.circuits.query_key import QueryKey as QueryKey, qk as qk
    from interp.circuits.readings import Directions as Directions, FullCircuit as FullCircuit, TopTokens as TopTokens
    from interp.circuits.results import (
        CircuitCheck as CircuitCheck,
        Composition as Composition,
        Definiteness as Definiteness,
    )
    from interp.circuits.terms import (
        frequency_energy as frequency_energy,
        frequency_terms as frequency_terms,
        positional_profile as positional_profile,
        score_terms as score_terms,
    )

attach(__name__)
