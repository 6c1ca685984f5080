"""Sections on the paths of an explanation.

They show the contributions of tokens, the largest paths, their attention scores and the effect of cutting them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from interp.attribution.tree_explorer import tree_explorer
from interp.report import Attention, AttentionText, HeadPattern, How, Note, Section, Table, Tokens, visible
from interp.report.figures import bars
from interp.report.text import quoted

if TYPE_CHECKING:
    from analyses.explain.result import Explanation, Hop

FROZEN = (
    "Attention patterns, norm scales and MLP gates are fixed at their values on this prompt. The rest of the model is "
    "exactly linear in the token embeddings"
)


def path_sections(result: Explanation) -> tuple[Section, ...]:
    """Return the sections in reading order."""
    sections = [_paths(result), _sources(result)]
    if result.hops:
        sections.append(_hops(result))
    if result.verification is not None:
        sections.append(_verification(result))
    return tuple(sections)


def _sources(result: Explanation) -> Section:
    sources, orders = result.sources, result.orders
    by_token = sources.by_token()
    strongest = int(np.abs(by_token).argmax())
    strip = Tokens(
        "by-token",
        result.tokens,
        tuple(by_token.tolist()),
        f"Contribution of each token over all paths to the {sources.target}. With those of the model's biases they sum "
        f"to {sources.total:+.4f} {sources.unit}.",
        unit=sources.unit,
        label="contribution",
    )
    drawn = bars(
        "by-order",
        orders.labels,
        orders.array,
        caption=f"Contribution by the number of heads and MLPs a path goes through, in {orders.unit}; the bars sum to "
        f"{orders.total:+.4f}. There are many long paths, and they cancel.",
        alt=f"Bars by number of components; the largest is at {orders.labels[int(np.abs(orders.array).argmax())]}.",
        axes=("components traversed", f"contribution ({orders.unit})"),
        vertical=True,
    )
    claim = (
        f"The token {quoted(result.tokens[strongest])} at position {strongest} contributes most, "
        f"{by_token[strongest]:+.2f} {sources.unit}; all sources sum to {sources.total:+.4f}."
    )
    how = How(
        f"{FROZEN} and biases, so the gradient of the target is exact. The contribution of a token is the product of "
        "its embedding and the gradient at its position.",
        "contribution(t) = embedding_t · g_t,  g = gradient of the target in the frozen model",
    )
    return Section("sources", "Contributions of tokens", claim, (strip, drawn), how)


def _paths(result: Explanation) -> Section:
    tree, top = result.tree, result.config.top
    claim = "The tree is too small to contain a complete path."
    for first in tree.paths(1):
        claim = (
            f"The largest complete path found is {' ← '.join(map(visible, first.components))}, {first.value:+.3f} "
            f"{tree.unit}. The {top} largest carry {tree.coverage(top):.1%} of the tree's absolute mass of "
            f"{tree.mass:.0f}: the prediction is a small difference of many large contributions."
        )
    note = Note(
        f"{tree.certified(top)} of the {len(tree.largest(top))} paths shown are certain to be the largest of all "
        f"paths; {tree.standing(top)}. {int(tree.expanded.sum()) - 1} nodes were expanded. Each equals the sum of its "
        f"children and its remainder; the worst deviation is {tree.error:.0e} of the absolute mass."
    )
    how = How(
        f"{FROZEN}. A path is a chain of components, and its value is a number. The tree starts at the target. In each "
        "step its largest node is expanded into the components whose outputs it reads; all other components form an "
        "exact remainder, so that every level sums to the target. No path below a node is larger than the root of the "
        "sum of squares of all paths below it, which can be computed without a list of the paths. With --certify, "
        "nodes are expanded until none of them can contain a path larger than those shown.",
        "head at t:  child (c, s) = pattern[t, s] · write(c)_s W_V' W_O u / s_norm(s)\n"
        "MLP at t:   child (c, t) = write(c)_t W_in' (multiplier ⊙ W_out u) / s_norm(t)",
    )
    return Section("paths", "Largest paths", claim, (tree_explorer(tree), _listed(result), note), how)


def _listed(result: Explanation) -> Table:
    tree, group = result.tree, result.config.group
    if group == "path":
        return tree.table(result.config.top)
    caption = f"Complete paths of the tree summed by {group}, in {tree.unit}; the last row is the sum of all others."
    return Table((group, tree.unit), result.listed(), caption, {tree.unit: "+.4f"})


def _hops(result: Explanation) -> Section:
    hops = result.hops
    rows = tuple(_hop_row(result, hop) for hop in hops)
    table = Table(
        ("head", "from", "to", "attention", "score", "largest term"),
        rows,
        "Every step through a head on the listed paths: its attention there, its attention score, and the largest term "
        "of that score (component on the query side · component on the key side).",
        {"attention": ".1%", "score": "+.3f"},
        tokens=("from", "to"),
    )
    first = hops[0]
    claim = (
        f"{first.head} looks from {quoted(result.tokens[first.query])} to {quoted(result.tokens[first.key])} with "
        f"{first.attention[first.key]:.0%} of its attention; the largest term of that score is "
        f"{first.top_pairs[0][0]} · {first.top_pairs[0][1]} ({first.top_pairs[0][2]:+.2f} of {first.score:+.2f})."
    )
    how = How(
        "A score before the softmax is bilinear in the residual stream at the query and at the key. Both are sums over "
        "the components that wrote them, so the score is a sum over pairs; rotation at this offset, biases and norm "
        f"scales included. The worst relative error of these sums is {max(hop.error for hop in hops):.1e}.",
        "score(t, s) = scale · R_t q_t · R_s k_s = Σ_c Σ_d (term of writer c in q) · (term of writer d in k)",
    )
    blocks = (_viewer(result), table, _terms(result))
    return Section("attention", "Attention scores on these paths", claim, blocks, how)


def _hop_row(result: Explanation, hop: Hop) -> tuple[str, str, str, float, float, str]:
    query, key, value = hop.top_pairs[0]
    attention = float(hop.attention[hop.key])
    return (
        hop.head,
        result.tokens[hop.query],
        result.tokens[hop.key],
        attention,
        hop.score,
        f"{query} · {key} {value:+.3f}",
    )


def _viewer(result: Explanation) -> Attention:
    """Return where the heads on the listed paths look.

    There is one text for each token that they look from.
    """
    queries = tuple(dict.fromkeys(hop.query for hop in result.hops))
    texts = tuple(
        AttentionText(
            result.tokens,
            tuple({h.head: HeadPattern(h.head, h.attention[None]) for h in result.hops if h.query == query}.values()),
            query,
            f"from {visible(result.tokens[query])} ({query})",
        )
        for query in queries
    )
    words = "Attention of the heads on the listed paths from this token, as fractions from 0 to 1."
    return Attention("attention-paths", texts, words)


def _terms(result: Explanation) -> Table:
    rows = tuple(
        (hop.head, result.tokens[hop.query], result.tokens[hop.key], *pair)
        for hop in result.hops
        for pair in hop.top_pairs
    )
    return Table(
        ("head", "from", "to", "query side", "key side", "term"),
        rows,
        "The largest terms of these scores.",
        {"term": "+.4f"},
        tokens=("from", "to"),
    )


def _verification(result: Explanation) -> Section:
    cuts = result.verification
    assert cuts is not None
    same = np.sign(cuts.predicted) == np.sign(cuts.actual)
    related = abs(cuts.correlation) > cuts.by_chance
    verdict = "agree" if related and cuts.correlation > 0 else "agree no better than by chance"
    claim = (
        f"The measured and predicted effects of cutting the {len(cuts.paths)} largest paths {verdict}: rank "
        f"correlation {cuts.correlation:+.2f} (by chance below {cuts.by_chance:.2f}), the same sign in "
        f"{int(same.sum())} of {len(same)}."
    )
    note = Note(
        "The values of paths sum to the logit by construction. Cutting a path is an experiment in which norms, "
        "attention and gates change as well. Agreement supports the order of the paths more than their sizes.",
        kind="info" if related else "warning",
    )
    how = How(
        "The output of the first component of a path is replaced by its mean over positions, in the input of the "
        "second component only. The second component is run again, its change is passed to the third only, and so on "
        "to the target. The prediction is the product of the path's gradient and the replacement.",
        "predicted = gradient · (mean − output);  actual = target(after the cut) − target",
        "path patching: Goldowsky-Dill et al., arXiv 2304.05969",
    )
    return Section("causal", "Effects of cutting the paths", claim, (note, cuts.figure(), cuts.table()), how)
