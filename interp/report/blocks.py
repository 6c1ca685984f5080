"""Values that a page is made of: plain, frozen, and checked when they are made.

Nothing here knows HTML.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from interp.errors import UsageError
from interp.provenance import Provenance
from interp.report.attention import Attention
from interp.report.cards import Cards
from interp.report.explorer import Explorer
from interp.report.shown import Framed
from interp.report.table import Table
from interp.report.text import check_id

if TYPE_CHECKING:
    import plotly.graph_objects as go


@dataclass(frozen=True)
class Figure(Framed):
    """Plotly figure with what makes it readable without seeing it.

    `caption` gives axes, units, number of observations, kind of error bar and sign convention; `alt` says in one
    sentence what the figure shows; `table` has its numbers. All three are compulsory: `UsageError` when empty.

    >>> from interp.report import figures
    >>> figures.bars("logits", ["layer 0", "layer 1"], [0.5, 1.25], caption="Logits by layer.", alt="Two bars.")
    Figure(logits: Two bars.)
    """

    id: str
    plotly: go.Figure
    caption: str
    alt: str
    table: Table

    def __post_init__(self) -> None:
        check_id(self.id, "figure")
        for name in ("caption", "alt"):
            if not getattr(self, name).strip():
                raise UsageError(f'The figure "{self.id}" has no {name}: write one, a reader may not see the figure.')
        if not isinstance(self.table, Table) or not self.table.rows:
            raise UsageError(
                f'The figure "{self.id}" has no table: give the numbers it draws as an interp.report.Table.'
            )

    def __repr__(self) -> str:
        return f"Figure({self.id}: {self.alt})"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:  # noqa: ARG002
        from interp.report.notebook import bundle

        return bundle(self, repr(self))


LONG = 120
"""Tokens of a line that is drawn whole."""
BEGINNING, END, AROUND = 6, 16, 2
"""Tokens of a longer line that are drawn at its ends, and on both sides of a token of large value."""
SMALL = 0.05
"""Share of the deepest colour below which a value of a longer line is left out."""


@dataclass(frozen=True)
class Tokens(Framed):
    """Line of tokens, each coloured by its value.

    The scale is symmetric about zero (red negative, blue positive).

    Of a line of more than 120 tokens an excerpt is drawn; the whole text and all values are one click away.
    With `fraction` the scale goes from 0 to 1, and equal colours mean equal values on every line.
    `tokens` are raw; they are shown through `visible`. `values` is None for an uncoloured line. `label` names the
    value in the read-out and the table ("attribution"), `unit` its unit ("logits").

    >>> line = report.Tokens("line", ("the", " tower"), (0.25, -1.5), caption="Attribution.", unit="logits")
    >>> print(line.table)
    position  token   value (logits)
           0  the            +0.250
           1  ·tower         −1.500
    """

    id: str
    tokens: tuple[str, ...]
    values: tuple[float, ...] | None
    caption: str
    unit: str = ""
    label: str = ""
    fraction: bool = False

    def __post_init__(self) -> None:
        check_id(self.id, "token line")
        if not self.tokens:
            raise UsageError(f'The token line "{self.id}" has no tokens.')
        if not self.caption.strip():
            raise UsageError(f'The token line "{self.id}" has no caption: write one.')
        if self.values is not None and len(self.values) != len(self.tokens):
            raise UsageError(
                f'The token line "{self.id}" has {len(self.tokens)} tokens but {len(self.values)} values: give as many.'
            )

    @property
    def excerpt(self) -> tuple[int, ...]:
        """Return the positions that are drawn.

        All of a short line; of a long one its ends and the tokens of large values.
        """
        count = len(self.tokens)
        if count <= LONG:
            return tuple(range(count))
        shown = {*range(BEGINNING), *range(count - END, count)}
        for i, value in enumerate(self.values or ()):
            if not math.isfinite(value) or abs(value) >= SMALL * self.limit:
                shown.update(range(max(0, i - AROUND), min(count, i + AROUND + 1)))
        return tuple(sorted(shown))

    @property
    def limit(self) -> float:
        """Return the value of the deepest colour.

        The largest finite magnitude, or 1 for fractions and where all are zero.
        """
        if self.fraction:
            return 1.0
        return max((abs(value) for value in self.values or () if math.isfinite(value)), default=0.0) or 1.0

    @property
    def table(self) -> Table:
        """Position, token and value."""
        label = (self.label or "value") + (f" ({self.unit})" if self.unit else "")
        if self.values is None:
            return Table(("position", "token"), tuple(enumerate(self.tokens)), tokens=("token",))
        rows = tuple((i, t, float(v)) for i, (t, v) in enumerate(zip(self.tokens, self.values, strict=True)))
        return Table(("position", "token", label), rows, formats={label: "+.4f"}, tokens=("token",))


@dataclass(frozen=True)
class Note:
    """Paragraph of text.

    `kind="warning"` marks what the reader must know before using the numbers.

    >>> report.Note("The model was edited.", kind="warning").kind
    'warning'
    """

    text: str
    kind: Literal["info", "warning"] = "info"


@dataclass(frozen=True)
class How:
    """Explanation of how the numbers of a section were computed.

    It has prose, the equation as plain text, and the paper (arXiv id).

    >>> how = report.How("Sum over heads.", equation="Σ write · covector", reference="arXiv 2407.02646")
    >>> how.equation
    'Σ write · covector'
    """

    text: str
    equation: str = ""
    reference: str = ""


Block = Figure | Table | Tokens | Cards | Explorer | Attention | Note


@dataclass(frozen=True)
class Section:
    """Claim and what supports it.

    The order of reading is claim, blocks, how computed.

    `shown` is how many blocks stand open; the others, and how they were computed, are one click away, except warnings.
    None shows all.

    >>> section = report.Section("first", "First", "Head L0H1 matters most.", (report.Note("See the table."),))
    >>> section.title, len(section.blocks)
    ('First', 1)
    """

    id: str
    title: str
    claim: str
    blocks: tuple[Block, ...]
    how: How | None = None
    shown: int | None = None

    def __post_init__(self) -> None:
        check_id(self.id, "section")
        if self.shown is not None and self.shown < 0:
            raise UsageError(f'The section "{self.id}" shows {self.shown} blocks: give a number from zero up.')
        for name in ("title", "claim"):
            if not getattr(self, name).strip():
                raise UsageError(f'The section "{self.id}" has no {name}: say in a sentence what it shows.')


@dataclass(frozen=True)
class Download:
    """File that the page offers, carried inside it.

    >>> report.Download("values.csv", b"0.5,1.25", "text/csv").name
    'values.csv'
    """

    name: str
    content: bytes
    mime: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[\w][\w.-]*", self.name, re.ASCII):
            raise UsageError(
                f'The download name "{self.name}" is not a plain file name: use letters, digits, ".", "-", "_".'
            )


@dataclass(frozen=True)
class Page(Framed):
    """One report.

    `finding` is one sentence with its uncertainty; `status` are short (name, value) pairs beneath it.

    `lead` is what carries the finding at first sight: a line of tokens or a figure, drawn above all sections.

    >>> section = report.Section("first", "First", "Head L0H1 matters most.", (report.Note("See the table."),))
    >>> own = report.Page("Example", "One head matters.", (("model", "llama"),), (section,), (), page.provenance)
    >>> own.title, [section.title for section in own.sections]
    ('Example', ['First'])
    """

    title: str
    finding: str
    status: tuple[tuple[str, str], ...]
    sections: tuple[Section, ...]
    limitations: tuple[str, ...]
    provenance: Provenance
    downloads: tuple[Download, ...] = ()
    kind: str = "explain"
    lead: tuple[Block, ...] = ()

    def __post_init__(self) -> None:
        for name in ("title", "finding"):
            if not getattr(self, name).strip():
                raise UsageError(f"A page has no {name}: give one sentence.")
        seen: set[str] = {"main", "limitations", "downloads", "provenance", "lead"}
        for name in (*_ids(self.lead), *(name for one in self.sections for name in (one.id, *_ids(one.blocks)))):
            if name in seen:
                raise UsageError(
                    f'The id "{name}" is used twice on the page "{self.title}", or is reserved: rename one.'
                )
            seen.add(name)


def folded(sections: Iterable[Section | None], shown: Mapping[str, int]) -> tuple[Section, ...]:
    """Return the sections that are not None, with some blocks folded.

    Each has as many open blocks as `shown` gives for its id; sections that it does not name have none.

    >>> words = Section("words", "Words", "A claim.", (Note("One."), Note("Two.")))
    >>> [section.shown for section in folded([words, None], {"words": 1})]
    [1]
    """
    return tuple(replace(one, shown=shown.get(one.id, 0)) for one in sections if one is not None)


def _ids(blocks: tuple[Block, ...]) -> list[str]:
    return [block.id for block in blocks if isinstance(block, Figure | Tokens | Cards | Explorer | Attention)]
