"""A deck of cards, to be searched, ordered and paged through.

Thousands of entries can each have examples in context. The page carries them once, compressed; its script draws the
cards that are looked at. Cards without examples take little space, so a deck may contain every entry and full cards of
those that matter most.
"""

from __future__ import annotations

import base64
import gzip
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from interp.errors import UsageError
from interp.report.text import check_id, plain, visible

STEPS = 61
"""Values of tokens are sent as one of this many steps of the strip's own maximum: one character each."""
SAMPLED = 200
"""Cards from which the size of one is estimated."""
_DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_UNKNOWN = "-"


@dataclass(frozen=True)
class Strip:
    """Tokens in context, coloured by values of zero or more.

    NaN where the value is not known.
    """

    label: str
    tokens: tuple[str, ...]
    values: tuple[float, ...]
    focus: int
    """The token that the example is about."""


@dataclass(frozen=True)
class Ranking:
    """Tokens with a number each, such as those that a latent raises."""

    label: str
    tokens: tuple[str, ...]
    values: tuple[float, ...]


@dataclass(frozen=True)
class Links:
    """Other cards by their names, each with a few words."""

    label: str
    items: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Histogram:
    """Counts between edges, with words that describe what is counted."""

    label: str
    edges: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Card:
    """One entry of a deck of cards.

    Attributes:
        name: unique on the deck; other cards link to it.
        words: raw tokens in its title; searched.
        values: one for each column of the deck; NaN where there is none.
        notes: sentences shown first.
        strips: examples.
        rankings: tokens with numbers; searched.
        links: other cards.
        histogram: of its values.

    >>> report.Card("latent 3", words=(" tower",), values=(0.5,), notes=("Fires on towers.",)).name
    'latent 3'
    """

    name: str
    words: tuple[str, ...]
    values: tuple[float, ...]
    notes: tuple[str, ...] = ()
    strips: tuple[Strip, ...] = ()
    rankings: tuple[Ranking, ...] = ()
    links: tuple[Links, ...] = ()
    histogram: Histogram | None = None

    @property
    def folded(self) -> Card:
        """Return the card with its name, words and values only."""
        return replace(self, notes=(), strips=(), rankings=(), links=(), histogram=None)


@dataclass(frozen=True)
class Cards:
    """Deck of cards, in the order of their first display.

    Attributes:
        id: of the block.
        cards: at least one.
        columns: names of the numbers each card has, by which the deck can be ordered.
        caption: what a card is; colours, units.
        order: the name of the order in which the cards come.
        elsewhere: text of a card without contents: where they are.
        what: what a card is of, in the plural.
        max_characters: characters that the deck may take on a page. Every card has its name, words and
            values, which alone may take more than that.

    >>> card = report.Card("latent 3", words=(" tower",), values=(0.5,))
    >>> deck = report.Cards("latents", (card,), columns=("frequency",), caption="One card a latent.")
    """

    id: str
    cards: tuple[Card, ...]
    columns: tuple[str, ...]
    caption: str
    order: str = "order given"
    elsewhere: str = "Nothing more is known of it."
    what: str = "entries"
    max_characters: int | None = None

    def __post_init__(self) -> None:
        check_id(self.id, "deck of cards")
        if not self.cards:
            raise UsageError(f'The deck "{self.id}" has no cards.')
        if not self.caption.strip():
            raise UsageError(f'The deck "{self.id}" has no caption: write one.')
        names = {card.name for card in self.cards}
        if len(names) < len(self.cards):
            raise UsageError(f'The deck "{self.id}" has two cards of one name.')
        for card in self.cards:
            self._check(card)

    def _check(self, card: Card) -> None:
        if len(card.values) != len(self.columns):
            raise UsageError(f'The card "{card.name}" has {len(card.values)} values for {len(self.columns)} columns.')
        for part in (*card.strips, *card.rankings):
            if len(part.tokens) != len(part.values):
                raise UsageError(f'"{part.label}" of the card "{card.name}" has not one value a token.')
        for strip in card.strips:
            if not 0 <= strip.focus < len(strip.tokens):
                raise UsageError(f'"{strip.label}" of the card "{card.name}" has no token {strip.focus}.')

    def packed(self) -> str:
        """Return the deck as gzip and base64 of JSON.

        Equal decks give equal text. If `max_characters` is too small for the whole deck, the first cards are full, as
        many as fit, and the others folded.

        >>> deck.packed()[:4]
        'H4sI'
        """
        total = len(self.cards)
        if self.max_characters is None:
            return self._packed(total)
        some = min(total, SAMPLED)
        bare = len(self._packed(0))
        each = max(1.0, (len(self._packed(some)) - bare) / some)
        count = min(total, max(0, int(1.1 * (self.max_characters - bare) / each)))
        while len(packed := self._packed(count)) > self.max_characters and count:
            count = int(0.95 * count)
        return packed

    def _packed(self, full: int) -> str:
        words: dict[str, int] = {}
        cards = (*self.cards[:full], *(card.folded for card in self.cards[full:]))
        body = {
            "cards": [_card(card, words) for card in cards],
            "columns": [plain(name) for name in self.columns],
            "order": plain(self.order),
            "elsewhere": plain(self.elsewhere),
            "what": plain(self.what),
            "words": [visible(word) for word in words],
        }
        text = json.dumps(body, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
        return base64.b64encode(gzip.compress(text.encode(), 9, mtime=0)).decode()


def _card(card: Card, words: dict[str, int]) -> list[Any]:
    """Return a card as a list of JSON values.

    The list is [name, words, values] and, of a full card, [notes, strips, rankings, links, histogram].
    """
    head = [plain(card.name), _numbers(card.words, words), [short(value, 4) for value in card.values]]
    if not (card.notes or card.strips or card.rankings or card.links or card.histogram):
        return head
    return [
        *head,
        [plain(note) for note in card.notes],
        [packed_strip(strip, words) for strip in card.strips],
        [[plain(r.label), _numbers(r.tokens, words), [short(v, 3) for v in r.values]] for r in card.rankings],
        [[plain(link.label), [[plain(name), plain(text)] for name, text in link.items]] for link in card.links],
        _histogram(card.histogram),
    ]


def packed_strip(strip: Strip, words: dict[str, int]) -> list[Any]:
    """Return a strip as a list of JSON values.

    The list is [label, tokens, a digit for each value, the largest value, focus].
    """
    limit = max((value for value in strip.values if math.isfinite(value)), default=0.0)
    digits = "".join(
        _DIGITS[round((STEPS - 1) * max(value, 0) / limit)] if limit and math.isfinite(value) else _UNKNOWN
        for value in strip.values
    )
    return [plain(strip.label), _numbers(strip.tokens, words), digits, short(limit, 4), strip.focus]


def _histogram(given: Histogram | None) -> list[Any] | int:
    if given is None:
        return 0
    return [plain(given.label), [short(edge, 3) for edge in given.edges], list(given.counts)]


def _numbers(tokens: Sequence[str], words: dict[str, int]) -> list[int]:
    """Return the number of each token in `words`, adding new tokens."""
    return [words.setdefault(token, len(words)) for token in tokens]


def short(value: float, digits: int) -> float | int | None:
    """Return a number with a few significant digits, None if not finite."""
    if not math.isfinite(value):
        return None
    short = float(f"{value:.{digits}g}")
    return int(short) if short.is_integer() and abs(short) < 1e15 else short
