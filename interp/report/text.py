"""Cleaning of strings for a page: tokens by `visible`, the rest by `plain`, then escaped.

There is no other way for a string to reach a page. Tokens come from models and data, so they are hostile until shown
otherwise: markup, control characters, characters that turn the direction of the line, bytes that are not text. Each of
them is made visible here and stays text.
"""

from __future__ import annotations

import html
import re
import unicodedata

from interp.errors import UsageError

_ID = re.compile(r"[A-Za-z][A-Za-z0-9-]*")
_NAMED = {" ": "·", "\n": "↵", "\t": "⇥", "\ufffd": "⟨?⟩"}
_BYTES = re.compile("([\udc80-\udcff]+)")
_INVISIBLE = {"Cf", "Cs", "Co", "Zs", "Zl", "Zp"}


def visible(token: str) -> str:
    r"""Return `token` with everything invisible made visible.

    It is on one line, in the order of its characters.

    Blank `·`, newline `↵`, tab `⇥`, other control characters `\x1b`, undecodable bytes `⟨e2 96⟩` (from Python's
    `surrogateescape`) or `⟨?⟩` (where the tokenizer already replaced them), other invisible characters (direction
    marks, zero-width, unusual blanks) `⟨U+202E⟩`, the empty token `⟨empty⟩`. The text is not escaped for HTML.

    >>> visible(" Paris"), visible("a\n"), visible("\x1b"), visible("\u202e"), visible("")
    ('·Paris', 'a↵', '\\x1b', '⟨U+202E⟩', '⟨empty⟩')
    """
    shown = "".join(
        _bytes(part) if number % 2 else _characters(part) for number, part in enumerate(_BYTES.split(token))
    )
    # A combining mark at the start would be drawn over whatever stands before the token.
    base = "◌" if token and unicodedata.combining(token[0]) else ""
    return base + shown or "⟨empty⟩"


def quoted(token: str | None) -> str:
    """Return a token in quotation marks, its blanks visible."""
    return f"“{visible(token or '')}”"


def plain(text: str) -> str:
    """Return `text` as prose, with invisible characters made visible.

    Blanks and newlines stay.
    """
    if text.isprintable():  # it then has none of them, and no blanks but spaces
        return text
    return "".join(c if c in "\n\t" or unicodedata.category(c) == "Zs" else _visible_character(c) for c in text)


def escaped(text: object) -> str:
    """Return `plain` text, escaped for HTML text and attributes."""
    return html.escape(plain(str(text)))


def plotly_text(text: object) -> str:
    """Return `plain` text, escaped for plotly.

    Plotly reads tick labels, names and hover text as a small HTML of its own.
    """
    return plain(str(text)).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def prose(text: str) -> str:
    """Return a sentence escaped for HTML.

    Negative numbers get a minus sign.

    >>> prose("from -0.5 to 2 (p < .1)")
    'from −0.5 to 2 (p &lt; .1)'
    """
    return escaped(re.sub(r"(?<![^\s(\[])-(?=[\d.])", "−", text))


def check_id(value: str, what: str) -> None:
    """Raise `UsageError` unless `value` can be an id on a page."""
    if not _ID.fullmatch(value):
        raise UsageError(f'"{value}" cannot be the id of a {what}: use letters, digits and "-", a letter first.')


def shortened(text: str, length: int = 28) -> str:
    """Return the first characters of a long label, ending in `…`.

    Labels in the middle of a plot have no space for more.
    """
    return text if len(text) <= length else text[: length - 1] + "…"


def _characters(part: str) -> str:
    return "".join(_NAMED.get(character) or _visible_character(character) for character in part)


def _bytes(part: str) -> str:
    return f"⟨{' '.join(f'{ord(character) - 0xDC00:02x}' for character in part)}⟩" if part else ""


def _visible_character(character: str) -> str:
    category = unicodedata.category(character)
    if category == "Cc":
        return f"\\x{ord(character):02x}"
    return f"⟨U+{ord(character):04X}⟩" if category in _INVISIBLE else character
