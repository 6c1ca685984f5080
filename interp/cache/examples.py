"""The rows of a store where a direction is strongest, with their text; imports no torch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from interp.report import Shown, Table
from interp.results import Result


@dataclass(frozen=True, eq=False)
class TopExamples(Shown, Result):
    """Positions of a store with the largest x · direction.

    Each context has at most one of them.

    Attributes:
        hook: of the store.
        values: (k,) projections, the largest first.
        contexts: (k,) the context of each, and `positions` (k,) the position in it.
        texts: (k,) the tokens around each, `before` of them before it.
        before: (k,) how many tokens of each text stand before the one that counts.
        mean: of all projections.
        deviation: standard deviation of all projections.
        rows: how many there are.

    >>> top = cache.top_examples(store, np.ones(24), k=2, hook="blocks.1.hook_resid_post", model=model)
    >>> top.values.round(3), top.rows
    (array([9.815, 9.294]), 360)
    """

    hook: str
    values: np.ndarray
    contexts: np.ndarray
    positions: np.ndarray
    texts: tuple[tuple[str, ...], ...]
    before: tuple[int, ...]
    mean: float
    deviation: float
    rows: int

    def table(self) -> Table:
        """Return every example as a row of a table.

        A row has its text with the token in brackets, value, and deviations.

        >>> top.table().columns
        ('text', 'token', 'projection', 'deviations')
        """
        rows = tuple(
            (_marked(text, at), text[at], float(value), float((value - self.mean) / self.deviation))
            for text, at, value in zip(self.texts, self.before, self.values, strict=True)
        )
        caption = (
            f"The largest projections at {self.hook}, one of each context. Of all {self.rows:,} rows the mean is "
            f"{self.mean:+.3f} and the standard deviation {self.deviation:.3f}."
        )
        formats = {"projection": "+.3f", "deviations": "+.1f"}
        return Table(("text", "token", "projection", "deviations"), rows, caption, formats, ("token",))

    def __repr__(self) -> str:
        return f"TopExamples({self.hook}: {len(self.values)} of {self.rows:,} rows, largest {self.values[0]:+.3f})"


def _marked(text: tuple[str, ...], at: int) -> str:
    return "".join((*text[:at], "⟦", text[at], "⟧", *text[at + 1 :])).replace("\n", "↵")
