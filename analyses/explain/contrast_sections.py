"""Sections on the difference from a counterfactual prompt.

They show what changed, and the tokens, branches and paths of the change.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from analyses.explain.contrasted import Contrasted
from interp.attribution.tree_explorer import tree_explorer
from interp.report import How, Note, Section, Table, Tokens, visible
from interp.report.blocks import Block
from interp.report.figures import bars, heatmap
from interp.report.text import quoted

SHOWN = 20
KIN = (
    "Every operation is replaced by its exact secant between its two values: products by the means of the two runs, "
    "activations and softcaps by the slope of the chord, norms by the product rule, the softmax by logarithmic means "
    "of its probabilities. Biases cancel. The result is linear in the difference of the token embeddings, so every "
    "path begins at a token that differs, and queries, keys and values have paths of their own."
)


def contrast_sections(view: Contrasted) -> tuple[Section, ...]:
    """Return the sections in reading order."""
    sections = [_runs(view), _paths(view), _change(view)]
    if view.verification is not None:
        sections.append(_cuts(view))
    return tuple(sections)


def _runs(view: Contrasted) -> Section:
    differing, by_token = view.differing(), view.sources.by_token()
    strip = Tokens(
        "contrast-sources",
        view.sources.tokens,
        tuple(float(value) for value in by_token),
        f"The two prompts, clean|counterfactual where they differ ({len(differing)} of {len(view.clean)} tokens); "
        f"colours: what each token contributes to the {view.sources.target}, over all paths. They sum to "
        f"{view.sources.total:+.4f} {view.sources.unit}, measured {view.sources.value:+.4f}.",
        unit=view.sources.unit,
        label="contribution",
    )
    both = zip(view.next_clean, view.next_counterfactual, strict=True)
    rows = tuple((*first, *second) for first, second in both)
    columns = ("clean", "probability", "counterfactual", "its probability")
    table = Table(
        columns,
        rows,
        "Most likely next tokens.",
        {"probability": ".1%", "its probability": ".1%"},
        tokens=("clean", "counterfactual"),
    )
    if not differing:
        claim = "The two prompts are the same: nothing differs."
    else:
        first, other = view.next_clean[0], view.next_counterfactual[0]
        claim = (
            f"Against the counterfactual the target changes by {view.sources.value:+.3f} {view.sources.unit}. The "
            f"most likely next token is {quoted(first[0])} ({first[1]:.1%}) after the prompt, {quoted(other[0])} "
            f"({other[1]:.1%}) after the other."
        )
    return Section(
        "contrast",
        "Against the counterfactual",
        claim,
        (strip, table),
        How(KIN, "Δ(ab) = b̄ Δa + ā Δb,  Δf = f's chord · Δx", "1704.02685"),
    )


def _change(view: Contrasted) -> Section:
    changed = view.change
    layer, place = np.unravel_index(int(changed.argmax()), changed.shape)
    map_ = heatmap(
        "contrast-map",
        changed,
        caption="Length of the residual stream's difference between the two runs, relative to the mean length of the "
        "streams, before each block; the last row is what leaves the last block.",
        alt="A map of positions by layers; differences begin at the tokens that differ and move to the last position.",
        rows=[*(f"before {i}" for i in range(len(changed) - 1)), "after the last"],
        columns=[f"{visible(token)} ({i})" for i, token in enumerate(view.sources.tokens)],
        axes=("block", "position", "relative change"),
        signed=False,
    )
    drawn = bars(
        "contrast-readers",
        [name for name, _ in view.readers],
        [value for _, value in view.readers],
        caption=f"Effect on the target through each head's query (q), key (k) and value (v) and through each MLP, over "
        f"all paths, in {view.direct.unit}; the {len(view.readers)} largest. A path goes through several of them, so "
        "the bars do not sum to the change.",
        alt="Bars of the branches with the largest effects.",
        axes=("reader", f"flow ({view.direct.unit})"),
    )
    claim = f"The two runs differ most at {quoted(view.sources.tokens[place])}"
    claim += f" before block {layer}." if layer < len(changed) - 1 else " after the last block."
    if view.readers:
        name, value = view.readers[0]
        claim += f" Most of the change of the answer passes through {name} ({value:+.2f})."
    return Section("contrast-change", "Where the two runs differ", claim, (map_, drawn))


def _paths(view: Contrasted) -> Section:
    tree, blocks = view.tree, []
    claim = "The tree contains no complete path."
    for first in tree.paths(1):
        claim = (
            f"The largest path found is {' ← '.join(map(visible, first.components))}, {first.value:+.3f} {tree.unit}. "
            f"The tree's absolute mass is {tree.mass:.1f}, {tree.mass / max(abs(tree.total), 1e-12):.1f} times the "
            f"change; that of the prompt's own tree, with patterns and gates frozen, is {view.frozen_mass:.1f}."
        )
    blocks: list[Block] = [tree.table(SHOWN)]
    if len(tree.value) > 1:
        blocks.insert(0, tree_explorer(tree, name="contrast-path-explorer"))
    return Section("contrast-paths", "Largest paths of the change", claim, tuple(blocks))


def _cuts(view: Contrasted) -> Section:
    cuts = view.verification
    assert cuts is not None
    claim = (
        f"The measured effects of cutting the listed paths have a rank correlation of {cuts.correlation:+.2f} with the "
        f"predicted ones; by chance it is below {cuts.by_chance:.2f}."
    )
    note = Note(
        "Each path is corrupted alone in the clean run and restored alone in the counterfactual run, every step "
        "through the branch that it names. The actual change is the mean of the two."
    )
    drawn = replace(cuts.figure(), id="contrast-cuts-drawn")
    return Section("contrast-cuts", "Are these paths causal?", claim, (note, cuts.table(), drawn))
