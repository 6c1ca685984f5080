from __future__ import annotations

import html
import unicodedata

import pytest
from hypothesis import given, strategies as st

from interp.report import visible
from interp.report.text import escaped, plain, plotly_text, shortened
from tests.report.samples import HOSTILE

INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Zs", "Zl", "Zp"}


@pytest.mark.parametrize(
    ("token", "shown"),
    [
        (" Paris", "·Paris"),
        ("a\nb", "a↵b"),
        ("\t", "⇥"),
        ("\r", "\\x0d"),
        ("\x00", "\\x00"),
        ("\x9f", "\\x9f"),
        ("\ufffd", "⟨?⟩"),
        ("\udce2\udc96", "⟨e2 96⟩"),
        ("a\udce2b", "a⟨e2⟩b"),
        ("\ud800", "⟨U+D800⟩"),
        ("\u202eabc", "⟨U+202E⟩abc"),
        ("\u200b", "⟨U+200B⟩"),
        ("\xa0", "⟨U+00A0⟩"),
        ("\u2028", "⟨U+2028⟩"),
        ("\u0301a", "◌\u0301a"),
        ("", "⟨empty⟩"),
        ("é🎉中", "é🎉中"),
        ("<b>", "<b>"),
    ],
)
def test_what_cannot_be_seen_is_made_visible(token, shown):
    assert visible(token) == shown


@given(st.text(st.characters(codec=None)))
def test_a_visible_token_is_one_line_that_can_be_written_and_is_never_empty(token):
    shown = visible(token)
    assert shown
    # Unassigned characters (Cn) are left alone: which they are differs between versions of Unicode.
    assert not {unicodedata.category(character) for character in shown} & INVISIBLE
    assert shown.encode("utf-8")


@given(st.text(st.characters(codec=None)))
def test_escaped_text_reads_back_and_holds_no_markup(text):
    assert html.unescape(escaped(text)) == plain(text)
    assert not set(escaped(text)) & set("<>\"'")
    assert not set(plotly_text(text)) & set("<>")
    assert html.unescape(plotly_text(text)) == plain(text)


@given(st.text(st.characters(codec=None)))
def test_plain_text_is_that_of_its_characters_one_by_one(text):
    assert plain(text) == "".join(map(plain, text))


def test_ordinary_text_is_left_alone():
    assert plain("A sentence, with\na line: 95 % — “é”.") == "A sentence, with\na line: 95 % — “é”."


def test_hostile_strings_are_among_what_escaping_changes():
    assert sum(escaped(token) != token for token in HOSTILE) > len(HOSTILE) / 2


def test_a_long_label_is_cut_and_says_so():
    assert shortened("x" * 30) == "x" * 27 + "…"
    assert shortened("x" * 28) == "x" * 28
