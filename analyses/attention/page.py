"""Page of the attention of chosen heads on chosen prompts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interp.report import How, Page, Section, Table

if TYPE_CHECKING:
    from analyses.attention.result import Patterns

LIMITATIONS = (
    "Attention is not contribution: a head may attend to a token and write nothing from it.",
    "A pattern is of one prompt. To describe what a head does, measure it over many prompts.",
)


def page(result: Patterns) -> Page:
    """Return the page of a study of attention."""
    return Page(
        title=f"Attention of {', '.join(result.heads)}",
        finding=result.finding(),
        status=(("heads", str(len(result.heads))), ("prompts", str(len(result.tokens)))),
        lead=(result.viewer(),),
        sections=(_strongest(result),),
        limitations=LIMITATIONS,
        provenance=result.provenance,
        downloads=result.downloads(),
        kind="attention",
    )


def _strongest(result: Patterns) -> Section:
    rows = tuple(
        (name, number, tokens[int(patterns[i, -1].argmax())], float(patterns[i, -1].max()))
        for number, (tokens, patterns) in enumerate(zip(result.tokens, result.patterns, strict=True), 1)
        for i, name in enumerate(result.heads)
    )
    table = Table(
        ("head", "prompt", "looks at", "attention"),
        rows,
        "The strongest key of each head from the last token of each prompt.",
        {"attention": ".0%"},
        ("looks at",),
    )
    how = How("Attention after the softmax, as the model computes it.", "softmax(q kᵀ / √d_head)")
    return Section("strongest", "What does the last token attend to?", result.finding(), (table,), how)
