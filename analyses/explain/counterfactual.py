"""Comparison of a prompt with a counterfactual one.

It has both runs, what changed where, by which paths, and a test of whether these are causal.
"""

from __future__ import annotations

import torch

from analyses.explain.contrasted import Contrasted
from interp import attribution
from interp.attribution.contrast import Contrast
from interp.attribution.paths import PathTree
from interp.attribution.targets import LogitTarget
from interp.model import Model

READERS, CONTINUATIONS = 12, 5


def contrasted(
    model: Model, tokens: torch.Tensor, counterfactual: str, target: LogitTarget, tree: PathTree, top: int, seed: int
) -> Contrasted:
    """Explain the difference of a target between a prompt and a counterfactual.

    Both have the same number of tokens. `tree` is the path tree of the clean prompt; that of the contrast gets the same
    size. Raises `UsageError` for a counterfactual of another length, with both tokenisations, and `CheckFailedError` as
    `attribution.contrast` does.
    """
    pair = attribution.contrast(model, tokens, model.to_tokens(counterfactual))
    grown = attribution.path_tree(pair, target, max(1, int(tree.expanded.sum()) - 1))
    clean, other = (tuple(model.to_str_tokens(run)) for run in pair.tokens)
    return Contrasted(
        clean=clean,
        counterfactual=other,
        next_clean=_continuations(pair, 0, target.position),
        next_counterfactual=_continuations(pair, 1, target.position),
        change=_change(pair).cpu().numpy(),
        direct=attribution.direct(pair, target),
        sources=attribution.sources(pair, target),
        readers=_readers(pair, target),
        tree=grown,
        frozen_mass=tree.mass,
        verification=attribution.verify(model, grown, top, seed=seed) if grown.paths(1) else None,
        error=pair.error,
    )


def _change(pair: Contrast) -> torch.Tensor:
    """Return the relative change of the residual stream at each block.

    It is the length of the streams' difference, before each block and after the last, over their mean length.
    """
    clean, other = pair.ends
    rows = []
    for layer in range(pair.model.spec.n_layer + 1):
        seen = pair.layout.start(layer)
        size = (clean.writes[:seen].sum(0).norm(dim=-1) + other.writes[:seen].sum(0).norm(dim=-1)) / 2
        rows.append(pair.writes[:seen].sum(0).norm(dim=-1) / size)
    return torch.stack(rows)


def _readers(pair: Contrast, target: LogitTarget) -> tuple[tuple[str, float], ...]:
    """Return how much reaches the target through each branch.

    Branches are those of heads and the MLPs; the largest come first.
    """
    edges = attribution.edges(pair, target)
    passed = dict(zip(edges.readers[:-1], edges.flow[:-1].sum(1).tolist(), strict=True))
    return tuple(sorted(passed.items(), key=lambda item: -abs(item[1]))[:READERS])


def _continuations(pair: Contrast, run: int, position: int) -> tuple[tuple[str, float], ...]:
    probabilities, ids = pair.logits_at(position)[run].softmax(-1).topk(CONTINUATIONS)
    return tuple(zip(pair.model.to_str_tokens(ids), probabilities.tolist(), strict=True))
