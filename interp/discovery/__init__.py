"""Find which edges of a model do a task, and test whether they are a circuit.

`score` gives every edge a number, `circuit` chooses edges, `faithfulness` and `judge` measure how good they are.

>>> first, second = task.split()
>>> chosen = discovery.circuit(discovery.score(model, first), share=0.2)
>>> discovery.judge(model, second, chosen, n_controls=5).f
0.481

Names are imported when first used, so that a saved result loads without torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from interp.lazy import attach

if TYPE_CHECKING:
    from interp.discovery.circuit import Circuit as Circuit
    from interp.discovery.curve import Curve as Curve
    from interp.discovery.evaluation import faithfulness as faithfulness, judge as judge, smallest as smallest
    from interp.discovery.graph import Graph as Graph
    from interp.discovery.heads import (
        backups as backups,
        head_effects as head_effects,
        minimal_heads as minimal_heads,
        synergy as synergy,
    )
    from interp.discovery.headsets import Backups as Backups, HeadEffects as HeadEffects, HeadSet as HeadSet
    from interp.discovery.masks import evaluate as evaluate
    from interp.discovery.score import METHODS as METHODS, score as score
    from interp.discovery.scores import EdgeScores as EdgeScores, Stability as Stability
    from interp.discovery.selection import circuit as circuit
    from interp.discovery.verdict import Verdict as Verdict

attach(__name__)
