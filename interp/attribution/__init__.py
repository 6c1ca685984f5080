"""Exact attribution: which components, and which of their paths, a number of the model is made of.

Freeze a prompt (or contrast two), choose a target, and attribute it; contributions sum to what the model computes.

>>> frozen = attribution.freeze(model, model.to_tokens("the tower is in"))
>>> result = attribution.direct(frozen, attribution.logit(model, " Paris"))
>>> result.total, result.top(2)
(0.596, (('MLP1', 1.662), ('L1H1', 0.831)))

Names are imported when first used, so that a saved result loads without torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from interp.lazy import attach

if TYPE_CHECKING:
    from interp.attribution.averaged import Averaged as Averaged
    from interp.attribution.averages import over as over
    from interp.attribution.bilinear import score as score, scores as scores
    from interp.attribution.causal import verify as verify
    from interp.attribution.continuations import continuation as continuation, summed as summed
    from interp.attribution.contrast import Contrast as Contrast, contrast as contrast
    from interp.attribution.contributions import by_source as by_source, direct as direct
    from interp.attribution.counterfactuals import (
        Counterfactual as Counterfactual,
        from_task as from_task,
        mean_embedding as mean_embedding,
        paired as paired,
        shuffled_names as shuffled_names,
        swapped as swapped,
    )
    from interp.attribution.dictionaries.features import Features as Features, features as features
    from interp.attribution.dictionaries.shares import error_share as error_share, error_shares as error_shares
    from interp.attribution.difference import TreeDifference as TreeDifference
    from interp.attribution.frozen import Frozen as Frozen, freeze as freeze
    from interp.attribution.graphs.build import graph as graph
    from interp.attribution.graphs.checks import Interventions as Interventions
    from interp.attribution.graphs.evidence import (
        same_label as same_label,
        similar as similar,
        with_examples as with_examples,
    )
    from interp.attribution.graphs.interventions import intervene as intervene
    from interp.attribution.graphs.parts import (
        EdgeParts as EdgeParts,
        edge_parts as edge_parts,
        with_queries as with_queries,
    )
    from interp.attribution.graphs.result import Graph as Graph
    from interp.attribution.lens import logit_lens as logit_lens
    from interp.attribution.lens_comparison import compare_lenses as compare_lenses
    from interp.attribution.lens_results import (
        LensComparison as LensComparison,
        LogitLens as LogitLens,
        Patchscope as Patchscope,
    )
    from interp.attribution.neuronpedia import neuronpedia_graph as neuronpedia_graph
    from interp.attribution.patchscopes import patchscope as patchscope
    from interp.attribution.paths import Path as Path, PathTree as PathTree
    from interp.attribution.results import (
        Attribution as Attribution,
        Direct as Direct,
        Edges as Edges,
        Orders as Orders,
        Scores as Scores,
        Sources as Sources,
        Verification as Verification,
    )
    from interp.attribution.sweeps import edges as edges, orders as orders, sources as sources
    from interp.attribution.targets import direction as direction, logit as logit, logit_difference as logit_difference
    from interp.attribution.tree import path_tree as path_tree
    from interp.attribution.tree_explorer import tree_explorer as tree_explorer
    from interp.attribution.tuned_lens import TunedLens as TunedLens, fit_lenses as fit_lenses

attach(__name__)
