from __future__ import annotations

import re
from dataclasses import replace

import plotly.graph_objects as go
import pytest

from interp.errors import UsageError
from interp.report import Download, Figure, How, Note, Section, Shown, Table, Tokens
from interp.report.markup import Payload, section_html
from tests.report import samples

TABLE = Table(("x",), ((1,),))


def _figure(**changes) -> Figure:
    return Figure(**{"id": "f", "plotly": go.Figure(), "caption": "c", "alt": "a", "table": TABLE, **changes})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: _figure(caption=" "), 'The figure "f" has no caption'),
        (lambda: _figure(alt=""), 'The figure "f" has no alt'),
        (lambda: _figure(table=Table(("x",), ())), 'The figure "f" has no table'),
        (lambda: _figure(table=None), 'The figure "f" has no table'),
        (lambda: _figure(id='x" onload="'), 'cannot be the id of a figure: use letters, digits and "-"'),
        (lambda: Tokens("t", (), None, "c"), 'The token line "t" has no tokens.'),
        (lambda: Tokens("t", ("a",), None, ""), 'The token line "t" has no caption'),
        (lambda: Tokens("t", ("a",), (1.0, 2.0), "c"), "has 1 tokens but 2 values"),
        (lambda: Section("s", "", "c", ()), 'The section "s" has no title'),
        (lambda: Section("s", "t", "", ()), 'The section "s" has no claim'),
        (lambda: Download("../x.json", b"", "a/b"), 'The download name "../x.json" is not a plain file name'),
        (lambda: samples.page(title=" "), "A page has no title"),
        (lambda: samples.page(finding=""), "A page has no finding"),
        (lambda: samples.page(Section("main", "t", "c", ())), 'The id "main" is used twice'),
        (lambda: samples.page(Section("f", "t", "c", (_figure(),))), 'The id "f" is used twice'),
    ],
)
def test_what_a_reader_would_miss_is_refused(make, message):
    with pytest.raises(UsageError, match=re.escape(message)):
        make()


def test_a_complete_figure_is_accepted():
    assert replace(_figure(), caption="Another.").caption == "Another."


def test_the_scale_of_a_token_line_is_symmetric_about_zero_and_passes_over_undefined_values():
    assert Tokens("t", ("a", "b", "c"), (0.5, -2.0, float("nan")), "c").limit == 2.0
    assert Tokens("t", ("a",), (0.0,), "c").limit == 1.0
    assert Tokens("t", ("a",), (float("inf"),), "c").limit == 1.0


def test_the_table_of_a_token_line_names_its_unit():
    table = Tokens("t", (" a",), (0.5,), "c", "logits", "contribution").table
    assert table.columns == ("position", "token", "contribution (logits)")
    assert table.rows == ((0, " a", 0.5),)
    assert Tokens("t", ("a",), None, "c").table.columns == ("position", "token")


class _Plain(Shown):
    def table(self) -> Table:
        return TABLE


class _Drawn(_Plain):
    def figure(self) -> Figure:
        return samples.bars()


def test_a_notebook_shows_the_figure_where_there_is_one_and_else_the_table():
    assert _Plain()._repr_html_() == TABLE.to_html()
    assert _Drawn()._repr_html_().startswith("<iframe")
    assert "<iframe" in Tokens("t", ("a",), None, "c")._repr_html_()
    assert "<iframe" in samples.page()._repr_html_()


def test_a_section_shows_as_many_blocks_as_it_says_and_folds_the_rest() -> None:
    def drawn(shown: int | None) -> str:
        blocks = (Note("first"), Note("second"), TABLE)
        return section_html(Section("s", "Title", "Claim.", blocks, How("how"), shown), Payload())

    assert '<details class="more"' not in drawn(None)
    assert '<details class="more"' not in drawn(3)
    visible, folded = drawn(1).split('<details class="more">')
    assert "first" in visible
    assert "second" in folded
    assert "How computed" in folded
    assert folded.startswith("<summary>Show a table</summary>")
    with pytest.raises(UsageError, match="shows -1 blocks"):
        drawn(-1)


def test_of_a_long_line_the_ends_and_the_large_values_are_drawn():
    values = [0.0] * 300
    values[150], values[200] = -2.0, 0.04  # the second is below a twentieth of the first
    line = Tokens("t", tuple(f" w{i}" for i in range(300)), tuple(values), "c")
    assert line.excerpt == (*range(6), *range(148, 153), *range(284, 300))
    assert Tokens("t", line.tokens[:120], None, "c").excerpt == tuple(range(120))
    drawn = section_html(Section("s", "Long", "A claim.", (line,)), Payload())
    assert "… 142 …" in drawn and "… 131 …" in drawn and drawn.count('class="token ') == 27
    assert "All 300 tokens" in drawn and "27 of 300 rows" in drawn
