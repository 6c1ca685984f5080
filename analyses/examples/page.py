"""Page of top examples: a table for each direction."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from interp.report import Figure, How, Page, Section
from interp.report.figures import lines

if TYPE_CHECKING:
    from collections.abc import Sequence

    from analyses.examples.result import Examples
    from interp.cache.examples import TopExamples

LIMITATIONS = (
    "Top examples show where a direction is strongest. Most of its values are smaller and are not shown.",
    "A theme of twenty examples may come from the text alone: compare with the random direction.",
)


def page(result: Examples) -> Page:
    """Return the page of a study of top examples."""
    every = (*zip(result.names, result.examples, strict=True), ("a random direction", result.random))
    return Page(
        title="Top examples",
        finding=result.finding(),
        status=(("hook", result.random.hook), ("rows", f"{result.random.rows:,}")),
        lead=(_strengths(every),),
        sections=tuple(_section(number, name, one) for number, (name, one) in enumerate(every, 1)),
        limitations=LIMITATIONS,
        provenance=result.provenance,
        downloads=result.downloads(),
        kind="examples",
    )


def _strengths(every: Sequence[tuple[str, TopExamples]]) -> Figure:
    """Draw how far the examples of each direction lie above its mean."""
    most = max(len(one.values) for _, one in every)
    deviations = {name: np.full(most, np.nan) for name, _ in every}
    for name, one in every:
        deviations[name][: len(one.values)] = (np.asarray(one.values) - one.mean) / one.deviation
    return lines(
        "strengths",
        np.arange(1, most + 1),
        deviations,
        caption="Projection of each example on its direction, in standard deviations above the mean of all rows. A "
        "direction whose examples are not above those of the random one is no stronger than chance.",
        alt="A falling line for each direction, the strongest example first, and one for the random direction.",
        axes=("example, the strongest first", "standard deviations"),
    )


def _section(number: int, name: str, one: TopExamples) -> Section:
    claim = f"The largest projection is {one.values[0]:+.2f}, where the mean is {one.mean:+.2f}."
    how = How(
        "At most one example of each context, ranked by the projection on the direction (scaled to length 1).",
        "x · u,  |u| = 1",
    )
    return Section(f"direction-{number}", name, claim, (one.table(),), how)
