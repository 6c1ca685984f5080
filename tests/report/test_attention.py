"""The viewer of attention: what it refuses, what it carries, and how heads and queries are chosen."""

from __future__ import annotations

import base64
import gzip
import json

import numpy as np
import pytest

from interp.errors import UsageError
from interp.report import Attention, AttentionText, HeadPattern, Section, write
from tests.report import samples
from tests.report.browser import check_page, opened

TOKENS = ("The", " city", " of")
PATTERN = np.array([[1.0, 0.0, 0.0], [0.25, 0.75, 0.0], [0.1, 0.6, 0.3]])
TURNED = np.array([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.0, 0.125, 0.875]])


def viewer(**changes) -> Attention:
    heads = (HeadPattern("L0H1", PATTERN, (0.5, -2.0, 0.0), "a mover"), HeadPattern("L1H0", TURNED))
    text = AttentionText(**{"tokens": TOKENS, "heads": heads, "title": "clean", **changes})
    return Attention("heads", (text,), "Two heads.", "logits", first=1)


def carried(shown: Attention) -> dict:
    return json.loads(gzip.decompress(base64.b64decode(shown.packed())))


def page_of(shown: Attention):
    return samples.page(Section("s", "S", "C.", (shown,)))


def test_patterns_are_carried_in_thousandths_without_the_empty_triangle():
    result = carried(viewer())["texts"][0]
    assert result["heads"][0]["rows"] == [[1000], [250, 750], [100, 600, 300]]
    assert result["heads"][0]["taken"] == [0.5, -2, 0]
    assert result["position"] == 2
    both_ways = np.full((3, 3), 1 / 3)
    assert carried(viewer(heads=(HeadPattern("x", both_ways),)))["texts"][0]["heads"][0]["rows"] == [[333] * 3] * 3
    row = carried(viewer(heads=(HeadPattern("x", PATTERN[-1:]),)))["texts"][0]["heads"][0]["rows"]
    assert row == [[100, 600, 300]]


def test_the_table_has_the_row_of_the_position():
    table = viewer(position=1).table
    assert table.columns == ("text", "position", "token", "L0H1", "L1H0")
    assert [row[3:] for row in table.rows] == [(0.25, 0.5), (0.75, 0.5), (0.0, 0.0)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heads": ()}, "at least one head"),
        ({"tokens": ()}, "a text with tokens"),
        ({"position": 3}, "Position 3 .* outside a text of 3 tokens"),
        ({"heads": (HeadPattern("a", PATTERN), HeadPattern("a", PATTERN))}, "two heads of one name"),
        ({"heads": (HeadPattern("a", PATTERN[:2]),)}, r"a pattern of shape \(2, 3\)"),
        ({"heads": (HeadPattern("a", PATTERN, (1.0,)),)}, "1 values taken for 3 tokens"),
        ({"heads": (HeadPattern("a", 2 * PATTERN),)}, "is not a distribution"),
        ({"heads": (HeadPattern("a", -PATTERN),)}, "is not a distribution"),
        ({"heads": (HeadPattern("a", PATTERN * np.nan),)}, "is not a distribution"),
    ],
)
def test_what_cannot_be_drawn_is_refused(changes, message):
    with pytest.raises(UsageError, match=message):
        viewer(**changes)


@pytest.mark.browser
def test_heads_queries_and_values_are_chosen_by_pointer_and_keyboard(tmp_path, browser):
    read = "document.querySelector('.attention .readout').textContent"
    names = "[...document.querySelectorAll('.attention .head .name')].map(name => name.firstChild.textContent)"
    shares = "[...document.querySelectorAll('.attention .token')].map(one => one.style.getPropertyValue('--strength'))"
    with opened(browser, write(page_of(viewer()), tmp_path)) as (page, faults):
        assert page.evaluate(names) == ["L0H1"]
        assert page.evaluate(shares) == ["0.100", "0.600", "0.300"]
        page.click(".heads button >> nth=1")
        assert page.evaluate(names) == ["L0H1", "L1H0"]
        page.click(".heads button >> nth=0")
        assert page.evaluate(names) == ["L1H0"]
        page.focus(".attention .token")
        page.keyboard.press("ArrowRight")
        assert page.evaluate(read) == "L1H0 from ·of (2) to ·city (1): 12.5 %"
        page.keyboard.press("Enter")
        assert page.evaluate(shares) == ["0.500", "0.500", "0.000"]
        assert page.evaluate("document.activeElement.dataset.at") == "1"
        page.keyboard.press("End")
        page.keyboard.press("Enter")
        page.click(".heads button >> nth=0")
        page.select_option("[data-ask=what]", "taken")
        assert page.evaluate(shares)[:3] == ["0.250", "1.000", "0.000"]
        assert "negative" in page.evaluate("document.querySelectorAll('.attention .token')[1].className")
        assert not faults


@pytest.mark.browser
def test_only_the_tokens_of_a_long_text_that_are_looked_at_are_shown(tmp_path, browser):
    row = np.zeros((1, 300))
    row[0, [0, 150]] = 0.5
    long = AttentionText(tuple(f" w{i}" for i in range(300)), (HeadPattern("L0H1", row),))
    with opened(browser, write(page_of(Attention("heads", (long,), "One head.")), tmp_path)) as (page, _):
        shown = page.evaluate("[...document.querySelectorAll('.attention .token')].map(one => +one.dataset.at)")
        assert shown == [0, 1, 149, 150, 151, 299]
        assert "… 147 …" in page.evaluate("document.querySelector('.attention .tokens').textContent")
        page.click("[data-ask=only]")
        assert page.evaluate("document.querySelectorAll('.attention .token').length") == 300


@pytest.mark.browser
def test_hostile_names_and_tokens_stay_text_and_the_viewer_is_accessible(tmp_path, browser):
    count = len(samples.HOSTILE)
    heads = tuple(HeadPattern(text or "none", np.eye(count), note=text) for text in samples.HOSTILE[:8])
    bad = " ".join(samples.HOSTILE)
    texts = (AttentionText(samples.HOSTILE, heads, title=bad), AttentionText(TOKENS, (HeadPattern("a", PATTERN),)))
    check_page(write(page_of(Attention("heads", texts, bad, bad)), tmp_path), "dark", browser=browser, width=390)
