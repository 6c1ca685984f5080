"""Viewer of attention as text: the reader chooses heads and a token.

It shows where each chosen head looks from that token, as one line of tokens for each head, coloured from 0 to 1,
instead of a matrix of which one row matters. Where the whole pattern is given, any token can be the query.

    from interp.report import Attention, AttentionText, HeadPattern

    Attention(
        "heads",
        texts=(AttentionText(("The", " city", " of"), (HeadPattern("L0H1", pattern),)),),
        caption="Attention of the strongest heads.",
    )
"""

from __future__ import annotations

import base64
import gzip
import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from interp.errors import UsageError
from interp.report.cards import short
from interp.report.shown import Framed
from interp.report.table import Table
from interp.report.text import check_id, plain, visible

STEPS = 1000
"""Attention is carried in thousandths."""
FIRST = 3
"""Heads drawn at first."""
SLACK = 1e-3
"""By how much a row of attention may exceed 1: rounding of 16-bit numbers."""


@dataclass(frozen=True, eq=False)
class HeadPattern:
    """Attention pattern of one head on one text.

    Attributes:
        name: such as "L23H4".
        pattern: (n_token, n_token) attention, queries by keys, each row summing to at most 1; or (1, n_token), the row
            of the text's `position` alone, for long texts.
        taken: what the head takes from each token into `position`, signed, in the viewer's unit; empty where not known.
        note: a few words shown next to the name, such as what the head is for.

    >>> head = report.HeadPattern("L0H1", np.array([[1.0, 0.0], [0.4, 0.6]]), note="previous token")
    >>> head.name
    'L0H1'
    """

    name: str
    pattern: np.ndarray
    taken: tuple[float, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class AttentionText:
    """A text and the heads on it, the most interesting first.

    Attributes:
        tokens: raw.
        heads: at least one.
        position: the query shown at first; negative counts from the end.
        title: what the text is, such as "clean"; needed where there are several.

    >>> head = report.HeadPattern("L0H1", np.array([[1.0, 0.0], [0.4, 0.6]]))
    >>> report.AttentionText(("the", " tower"), (head,)).position
    -1
    """

    tokens: tuple[str, ...]
    heads: tuple[HeadPattern, ...]
    position: int = -1
    title: str = ""


@dataclass(frozen=True)
class Attention(Framed):
    """Viewer of attention heads on one or several texts.

    It is a block of a page; a notebook shows it in a frame of its own.

    Attributes:
        id: of the block.
        texts: at least one; heads of the same name are chosen at once on all of them.
        caption: which heads these are, and on what.
        unit: of what heads take, such as "logits".
        first: how many heads are drawn at first.

    Raises:
        UsageError: no text or head, a pattern or `taken` of another length than the tokens, attention outside 0 to 1, a
            position outside the text, a head that is given twice, or an empty caption.

    >>> head = report.HeadPattern("L0H1", np.array([[1.0, 0.0], [0.4, 0.6]]))
    >>> text = report.AttentionText(("the", " tower"), (head,))
    >>> viewer = report.Attention("heads", (text,), caption="One head on one text.")
    """

    id: str
    texts: tuple[AttentionText, ...]
    caption: str
    unit: str = ""
    first: int = field(default=FIRST, kw_only=True)

    def __post_init__(self) -> None:
        check_id(self.id, "viewer of attention")
        if not self.caption.strip():
            raise UsageError(f'The viewer of attention "{self.id}" has no caption: write one.')
        if not self.texts or not all(text.heads and text.tokens for text in self.texts):
            raise UsageError(f'The viewer of attention "{self.id}" needs a text with tokens and at least one head.')
        for text in self.texts:
            self._check(text)

    def _check(self, text: AttentionText) -> None:
        count = len(text.tokens)
        if not -count <= text.position < count:
            raise UsageError(f'Position {text.position} of "{self.id}" is outside a text of {count} tokens.')
        if len({head.name for head in text.heads}) < len(text.heads):
            raise UsageError(f'A text of "{self.id}" has two heads of one name.')
        for head in text.heads:
            shape = np.shape(head.pattern)
            if shape not in ((count, count), (1, count)) or len(head.taken) not in (0, count):
                raise UsageError(
                    f"{head.name} has a pattern of shape {shape} and {len(head.taken)} values taken for {count} "
                    f"tokens: give ({count}, {count}) or (1, {count}), and as many values as tokens or none."
                )
            pattern = np.asarray(head.pattern, float)
            if not (np.isfinite(pattern).all() and pattern.min() >= 0 and pattern.sum(-1).max() <= 1 + SLACK):
                raise UsageError(
                    f"The attention of {head.name} is not a distribution: its rows must lie in 0 to 1 and sum to 1."
                )

    def __repr__(self) -> str:
        return f"Attention({self.id}: {len(self.texts[0].heads)} heads, {len(self.texts[0].tokens)} tokens)"

    @property
    def table(self) -> Table:
        """Return the attention from each text's position to each token.

        Columns are the heads of the first text.
        """
        names = tuple(head.name for head in self.texts[0].heads)
        rows = []
        for text in self.texts:
            at = text.position % len(text.tokens)
            shown = {head.name: _row(head, at) for head in text.heads}
            for i, token in enumerate(text.tokens):
                values = (round(float(shown[name][i]), 5) if name in shown else None for name in names)
                rows.append((text.title, i, token, *values))
        formats = dict.fromkeys(names, ".4f")
        return Table(("text", "position", "token", *names), tuple(rows), formats=formats, tokens=("token",))

    def packed(self) -> str:
        """Return the viewer as gzip and base64 of JSON.

        Equal viewers give equal text.

        >>> viewer.packed()[:4]
        'H4sI'
        """
        body = {"texts": [_text(text) for text in self.texts], "unit": plain(self.unit), "first": self.first}
        text = json.dumps(body, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
        return base64.b64encode(gzip.compress(text.encode(), 9, mtime=0)).decode()


def _row(head: HeadPattern, position: int) -> np.ndarray:
    pattern = np.asarray(head.pattern, float)
    return pattern[position if len(pattern) > 1 else 0]


def _text(text: AttentionText) -> dict[str, Any]:
    return {
        "tokens": [visible(token) for token in text.tokens],
        "position": text.position % len(text.tokens),
        "title": plain(text.title),
        "heads": [_head(head) for head in text.heads],
    }


def _head(head: HeadPattern) -> dict[str, Any]:
    """Return a head as JSON values, its pattern in thousandths.

    Of a causal pattern, what lies after the query is left out.
    """
    rows = np.rint(np.asarray(head.pattern, float) * STEPS).astype(int)
    causal = len(rows) > 1 and not np.triu(rows, 1).any()
    return {
        "name": plain(head.name),
        "note": plain(head.note),
        "rows": [row[: i + 1 if causal else None].tolist() for i, row in enumerate(rows)],
        "taken": [short(float(value), 4) for value in head.taken],
    }
