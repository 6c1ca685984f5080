from __future__ import annotations

import csv
import io
import math

import pytest

from interp.errors import UsageError
from interp.report import Table
from interp.report.table import CELLS_SHOWN
from tests.report.samples import HOSTILE


def _read(table: Table) -> list[list[str]]:
    return list(csv.reader(io.StringIO(table.to_csv(), newline="")))


def test_the_csv_reads_back_in_full_precision():
    value = 0.1 + 0.2
    rows = _read(Table(("name", "x"), (("a,b", value), ('say "x"\n', -1)), formats={"x": ".1f"}))
    assert rows[0] == ["name", "x"]
    assert rows[1][0] == "a,b"
    assert float(rows[1][1]) == value
    assert rows[2] == ['say "x"\n', "-1"]


def test_the_csv_has_raw_tokens_and_can_always_be_written():
    table = Table(("t",), tuple((token,) for token in HOSTILE), tokens=("t",))
    table.to_csv().encode()
    expected = [token.encode("utf-8", "backslashreplace").decode() for token in HOSTILE]
    assert [row[0] if row else "" for row in _read(table)[1:]] == expected


def test_missing_and_undefined_cells_differ():
    table = Table(("a", "b", "c", "d"), ((None, math.nan, math.inf, True),))
    shown = table.to_html()
    assert [text in shown for text in ("—", "NaN", "∞", "yes")] == [True] * 4
    assert _read(table)[1] == ["", "nan", "inf", "True"]


def test_numbers_are_formatted_as_asked():
    shown = Table(("x", "y"), ((-1.23456, 3),), formats={"x": "+.2f"}).to_html()
    assert "−1.23" in shown
    assert ">3<" in shown


def test_texts_are_escaped_and_tokens_made_visible():
    table = Table(("<i>", "t"), (("<b>", " <b>"),), caption="</table>", tokens=("t",))
    shown = table._repr_html_()
    assert "<b>" not in shown
    assert "<i>" not in shown
    assert shown.count("</table>") == 1
    assert "·&lt;b&gt;" in shown


def test_a_long_table_says_what_it_leaves_out_and_a_short_one_does_not():
    long = Table(("x",), tuple((i,) for i in range(CELLS_SHOWN + 1)))
    assert f"the first {CELLS_SHOWN} of {CELLS_SHOWN + 1} rows" in long.to_html()
    assert len(_read(long)) == CELLS_SHOWN + 2
    wide = Table(tuple(map(str, range(30))), (tuple(range(30)),))
    assert "the first 24 of 30 columns" in wide.to_html()
    assert "Shown:" not in Table(("x",), ((1,),)).to_html()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Table((), ()), "A table needs at least one column."),
        (lambda: Table(("a", "b"), ((1, 2), (1,))), "Row 1 of a table has 1 cells; expected 2 (a, b)."),
        (lambda: Table(("a",), ((1,),), formats={"b": ".1f"}), 'A table option names the column "b"; there is only a.'),
        (lambda: Table(("a",), ((1,),), tokens=("b",)), 'A table option names the column "b"; there is only a.'),
    ],
)
def test_a_table_that_does_not_fit_is_refused(make, message):
    with pytest.raises(UsageError) as caught:
        make()
    assert str(caught.value) == message


def test_a_printed_table_lines_up_and_says_what_it_leaves_out():
    table = Table(
        ("token", "value"), ((" a", 1.5), ("longer", -20.25), ("x", None)), "Three", {"value": "+.1f"}, ("token",)
    )
    assert str(table).splitlines() == ["Three", "token   value", "·a       +1.5", "longer  −20.2", "x           —"]
    assert repr(table) == str(table)
    assert table.to_text(2).splitlines()[-1] == "... and 1 more rows"
    assert "more rows" not in table.to_text(3)
