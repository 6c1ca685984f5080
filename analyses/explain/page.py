"""Page of an explanation.

It shows the prediction, how it builds up, which components write it and where heads look.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from analyses.explain.contrast_sections import contrast_sections
from analyses.explain.lens_sections import layers_section
from analyses.explain.path_sections import path_sections
from interp.report import Attention, AttentionText, HeadPattern, How, Page, Section, Table, Tokens, visible
from interp.report.blocks import Block, Figure, folded
from interp.report.figures import grouped_bars, heatmap
from interp.report.text import quoted

if TYPE_CHECKING:
    from analyses.explain.result import Explanation


def page(result: Explanation) -> Page:
    """Return the whole report."""
    config = result.config
    against = f" rather than {quoted(config.versus)}" if config.versus else ""
    return Page(
        title=f"Why {quoted(config.target)}{against}?",
        finding=result.finding(),
        status=_status(result),
        lead=_lead(result),
        sections=sections(result),
        limitations=LIMITATIONS,
        provenance=result.provenance,
        downloads=result.downloads(),
        kind="explain",
    )


LIMITATIONS = (
    "A direct contribution is the part of the logit that a component writes itself. The decomposition is exact and "
    "complete, but it is not an intervention: removing the component could change later components.",
    "The final norm's scale is fixed at its value on this prompt. Changing a component would change it too.",
    "The logit lens reads intermediate layers with the unembedding of the last one. It shows what can be read there, "
    "not what the model uses.",
    "Path values use the attention patterns, norm scales and MLP gates of this prompt. Why a head attends to a token "
    "is not part of a path's value; the section on attention decomposes the attention scores.",
    "The explanation is of one prompt. It does not describe the model on other prompts.",
)


SHOWN = {"paths": 1, "heads": 1, "contrast": 1, "contrast-paths": 1}
"""Number of blocks that are open in each section; all others are one click away."""


def sections(result: Explanation) -> tuple[Section, ...]:
    """Return the sections in reading order.

    >>> [section.id for section in sections(study)][:3]  # study = explain.run(model, config)
    ['paths', 'prediction', 'layers']
    """
    paths, *rest = path_sections(result)
    own = (_prediction(result), layers_section(result), _components(result), _heads(result))
    against = _against(result)
    ordered = (*against, paths, *own, *rest)
    # With a counterfactual, its paths are the answer: the prompt's own paths are one click away.
    shown = SHOWN if result.contrasted is None else {**SHOWN, "paths": 0, "heads": 0}
    return folded(ordered, shown)


def _lead(result: Explanation) -> tuple[Block, ...]:
    """Return the prompt and the contributions of each block.

    The prompt is coloured by what the strongest head takes from each token.
    """
    view = result.main_head()
    words = f"The prompt as the model reads it; the prediction is read after token {result.position}."
    if view is None:
        strip = Tokens("prompt", result.tokens, None, words)
    else:
        values = tuple(float(value) for value in view.by_source.array)
        words += (
            f" Colours: contribution of each token through {view.name}, in logits; sum {view.by_source.total:+.2f}."
        )
        strip = Tokens("prompt", result.tokens, values, words, unit="logits", label=f"through {view.name}")
    return (strip, _by_layer(result))


def _by_layer(result: Explanation) -> Figure:
    """Draw the contributions of every block's attention and MLP."""
    direct = result.direct
    names, values = direct.by_layer()
    by_name = dict(zip(names, map(float, values), strict=True))
    blocks = sorted({int(name.rpartition(" ")[2]) for name in names if name.rpartition(" ")[2].isdecimal()})
    series = {kind: [by_name.get(f"{kind} {block}", 0.0) for block in blocks] for kind in ("attention", "MLP")}
    rest = sum(by_name.values()) - sum(map(sum, series.values()))
    return grouped_bars(
        "by-layer",
        [str(block) for block in blocks],
        series,
        caption="Direct contribution of the attention and the MLP of each block, biases included, in logits. With "
        f"{rest:+.4f} from the embedding and the last bias they sum to {direct.total:+.4f}.",
        alt="Bars by block; the last blocks contribute most." if _late(values) else "Bars by block.",
        axes=("block", "contribution (logits)"),
    )


def _against(result: Explanation) -> tuple[Section, ...]:
    return () if result.contrasted is None else contrast_sections(result.contrasted)


def _status(result: Explanation) -> tuple[tuple[str, str], ...]:
    return (
        ("most likely token", f"{visible(result.next_tokens[0])} ({result.next_probabilities[0]:.0%})"),
        ("✓ logits reproduced", f"relative error {result.logit_error:.0e}"),
        ("✓ contributions sum", f"relative error {result.direct.error:.0e}"),
        ("precision", result.provenance.dtype),
    )


def _prediction(result: Explanation) -> Section:
    likeliest, probability = result.next_tokens[0], result.next_probabilities[0]
    table = Table(
        ("token", "probability"),
        tuple(zip(result.next_tokens, result.next_probabilities, strict=True)),
        "The most likely next tokens.",
        {"probability": ".2%"},
        tokens=("token",),
    )
    claim = f"The most likely next token is {quoted(likeliest)}, with probability {probability:.1%}."
    return Section("prediction", "Predicted tokens", claim, (table,))


def _components(result: Explanation) -> Section:
    direct = result.direct
    heads = heatmap(
        "by-head",
        direct.by_head(),
        caption="Direct contribution of every attention head, in logits.",
        alt=f"Heat map of {direct.by_head().shape[0]} layers by {direct.by_head().shape[1]} heads, few of them strong.",
        rows=[str(i) for i in range(direct.by_head().shape[0])],
        columns=[str(i) for i in range(direct.by_head().shape[1])],
        axes=("layer", "head", "logits"),
    )
    top = direct.top(result.config.top)
    mass = float(np.abs(direct.array).sum())
    share = sum(abs(value) for _, value in top) / mass
    claim = (
        f"{len(top)} of {len(direct.labels)} components carry {share:.0%} of the absolute contributions, which add up "
        f"to {mass:.1f} logits before they cancel to {direct.total:+.2f}."
    )
    how = How(
        "The output of a component at this position is multiplied by the direction of the target in the unembedding, "
        "with the final norm's gain folded in and its scale s of this prompt. The embedding and every head, MLP and "
        "bias are counted once.",
        "contribution(c) = write(c) · (W_U[:, target] − W_U[:, versus]) / s",
        "Elhage et al., A Mathematical Framework for Transformer Circuits (2021)",
    )
    return Section("components", "Contributions of components", claim, (direct.figure(), heads, direct.table()), how)


def _heads(result: Explanation) -> Section:
    views = result.heads
    rows = []
    for view in views:
        looks, takes = int(view.attention.argmax()), int(np.abs(view.by_source.array).argmax())
        looked = f"{visible(result.tokens[looks])} ({view.attention[looks]:.0%})"
        taken = f"{visible(result.tokens[takes])} ({view.by_source.array[takes]:+.2f})"
        rows.append((view.name, view.contribution, looked, taken))
    table = Table(
        ("head", "contribution", "largest attention", "largest source"),
        tuple(rows),
        "The heads with the largest direct contributions (logits), the token with their largest attention at the "
        "predicting position, and the token that contributes most through them (logits).",
        {"contribution": "+.3f"},
    )
    main = result.main_head() or views[0]
    taken = int(np.abs(main.by_source.array).argmax())
    claim = (
        f"{main.name} contributes {main.contribution:+.2f} logits, {main.by_source.array[taken]:+.2f} of it from "
        f"{quoted(result.tokens[taken])}, which has {main.attention[taken]:.0%} of its attention."
    )
    how = How(
        "The contribution of a token through a head is its attention times its value, through the head's output "
        "weights and into the target. Attention and contribution can differ widely, above all at the first token, to "
        "which many heads attend without writing anything. The contributions of all tokens sum to that of the head.",
        "contribution(s) = pattern[t, s] · (x_s W_V + b_V) W_O · direction",
    )
    return Section("heads", "Attention of the strongest heads", claim, (_viewer(result), table), how)


def _viewer(result: Explanation) -> Attention:
    """Return the attention of the strongest heads on the prompt.

    It shows where they look and what they take; the head of the finding comes first.
    """
    views = sorted(result.heads, key=lambda view: view is not result.main_head())
    heads = tuple(
        HeadPattern(
            view.name,
            view.attention[None] if view.pattern is None else view.pattern,
            tuple(float(value) for value in view.by_source.array),
            f"{view.contribution:+.2f} logits".replace("-", "−"),
        )
        for view in views
    )
    words = "" if views[0].pattern is not None else " For a long prompt only the row of its last token is stored."
    return Attention(
        "attention-heads",
        (AttentionText(result.tokens, heads, result.position),),
        f"Attention of the {len(heads)} heads with the largest direct contributions, as fractions from 0 to 1, and the "
        f"contribution of each token through them, in logits.{words}",
        "logits",
    )


def _late(by_layer: np.ndarray) -> bool:
    half = len(by_layer) // 2
    return float(np.abs(by_layer[half:]).sum()) > float(np.abs(by_layer[:half]).sum())
