"""Page of top examples: a table for each direction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interp.report import How, Page, Section

if TYPE_CHECKING:
    from analyses.examples.result import Examples
    from interp.cache.examples import TopExamples

LIMITATIONS = (
    "Top examples show where a direction is strongest, not what it does elsewhere: most of its use is weaker.",
    "What looks like a theme of twenty examples may be one of the text: compare the random direction.",
)


def page(result: Examples) -> Page:
    """Return the page of a study of top examples."""
    every = (*zip(result.names, result.examples, strict=True), ("a random direction", result.random))
    return Page(
        title="Top examples",
        finding=result.finding(),
        status=(("hook", result.random.hook), ("rows", f"{result.random.rows:,}")),
        sections=tuple(_section(number, name, one) for number, (name, one) in enumerate(every, 1)),
        limitations=LIMITATIONS,
        provenance=result.provenance,
        downloads=result.downloads(),
        kind="examples",
    )


def _section(number: int, name: str, one: TopExamples) -> Section:
    claim = f"The largest projection is {one.values[0]:+.2f}, where the mean is {one.mean:+.2f}."
    how = How("One example of each context, by projection on the direction of length 1.", "x · u,  |u| = 1")
    return Section(f"direction-{number}", name, claim, (one.table(),), how)
