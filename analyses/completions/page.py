"""Page of completions side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interp.report import Figure, How, Page, Section, Table
from interp.report.figures import grouped_bars

if TYPE_CHECKING:
    from analyses.completions.result import Completions

LIMITATIONS = (
    "A few texts show what an edit can do, not how often. To claim a behaviour, measure it over many prompts.",
    "One different token changes all tokens after it, so texts that differ may still mean the same.",
)


def page(result: Completions) -> Page:
    """Return the page of a study of completions."""
    how = "greedily" if result.temperature == 0 else f"at temperature {result.temperature:g}, seed {result.seed}"
    return Page(
        title=f"Completions by {result.provenance.model} with and without edits",
        finding=result.finding(),
        status=(("prompts", str(len(result.prompts))), ("text", f"at most {result.max_tokens} tokens, {how}")),
        lead=(_agreement(result),),
        sections=(_edits(result), *(_prompt(result, index) for index in range(len(result.prompts)))),
        limitations=LIMITATIONS,
        provenance=result.provenance,
        downloads=result.downloads(),
        kind="completions",
    )


def _agreement(result: Completions) -> Figure:
    """Draw how much of each unedited text stays the same under each set of edits."""
    edited = result.conditions[1:]
    return grouped_bars(
        "agreement",
        [f"prompt {number}" for number in range(1, len(result.prompts) + 1)],
        {name: [row[at] for row in result.agreement] for at, name in enumerate(edited, 1)},
        caption="Fraction of the unedited text before the first token that differs, for each prompt and set of edits. "
        "It is 1 where the text is the same, or goes on longer.",
        alt=f"Bars from 0 to 1 for {len(result.prompts)} prompts and {len(edited)} sets of edits.",
        axes=("prompt", "fraction of the text"),
    )


def _edits(result: Completions) -> Section:
    rows = tuple(
        (name, "; ".join(edits), result.changed(name))
        for name, edits in zip(result.conditions[1:], result.edits[1:], strict=True)
    )
    return Section(
        id="edits",
        title="Edits",
        claim=result.finding(),
        blocks=(Table(("name", "edits, in order", "texts changed"), rows),),
        how=How(
            "Each edit changes the value at one hook point in every forward pass; everything after it is computed "
            "from the changed value."
        ),
    )


def _prompt(result: Completions, index: int) -> Section:
    rows = tuple(
        (name, text, share)
        for name, text, share in zip(result.conditions, result.texts[index], result.agreement[index], strict=True)
    )
    changed = sum(text != result.texts[index][0] for text in result.texts[index][1:])
    prompt = result.prompts[index]
    return Section(
        id=f"prompt-{index + 1}",
        title=prompt if len(prompt) <= 60 else f"{prompt[:59]}…",
        claim=f"{changed} of {len(rows) - 1} sets of edits change this text.",
        blocks=(
            Table(
                ("condition", "added text", "same as unedited up to"),
                rows,
                "The last column is the fraction of the unedited text before the first token that differs.",
                {"same as unedited up to": ".0%"},
            ),
        ),
    )
