"""Pages in a real browser: correct pages pass, and each fault that the check looks for is detected when planted."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from interp.report import Note, Section, figures, visible, write, write_index
from interp.report.page import render
from tests.report import samples
from tests.report.browser import check_page, opened, until

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("make", [samples.gallery, samples.hostile], ids=["gallery", "hostile"])
def test_a_page_is_right_in_light_in_dark_and_narrow(make, tmp_path, page_check):
    # Two dozen labels of hundreds of characters fit on no narrow figure.
    page_check(write(make(), tmp_path), narrow=make is samples.gallery)


def test_a_page_with_its_library_in_the_folder_is_right(tmp_path, browser):
    check_page(write(samples.gallery(), tmp_path, plotlyjs="directory"), "dark", browser=browser)


def test_a_page_without_figures_is_right(tmp_path, browser):
    check_page(write(samples.page(Section("s", "Only words", "A claim.", (Note("Text."),))), tmp_path), browser=browser)


def test_points_that_travel_packed_are_seen(tmp_path, browser):
    many = np.random.default_rng(0).normal(size=(2, 3000))
    drawn = figures.scatter("cloud", *many, caption="Noise.", alt="A cloud of points.")
    check_page(write(samples.page(Section("s", "Cloud", "A claim.", (drawn,))), tmp_path), browser=browser, axe=False)


def test_the_index_is_right(tmp_path, page_check):
    write(samples.page(Section("s", "S", "C.", ())), tmp_path / "a b" / "c#1")
    write(samples.hostile(), tmp_path / "hostile")
    page_check(write_index(tmp_path))


def test_the_links_of_the_index_open_the_reports(tmp_path, browser):
    write(samples.page(Section("s", "S", "C.", ()), title="Behind a link"), tmp_path / "a b" / "c#1 %")
    with opened(browser, write_index(tmp_path)) as (page, _):
        page.click(".reports a")
        assert page.title() == "Behind a link"


def test_hostile_tokens_are_shown_as_visible_text(tmp_path, browser):
    with opened(browser, write(samples.hostile(), tmp_path)) as (page, faults):
        assert not faults
        shown = page.evaluate("[...document.querySelectorAll('.token')].map(token => token.firstChild.textContent)")
        assert shown == [visible(token) for token in samples.HOSTILE]
        legend = page.evaluate(
            "[...document.querySelectorAll('#hostile-histogram .legendtext')].map(t => t.textContent)"
        )
        assert legend == [samples.HOSTILE[0], samples.HOSTILE[4]]


def test_downloads_hold_what_the_tables_hold(tmp_path, browser):
    figure = samples.bars()
    with opened(browser, write(samples.page(Section("s", "S", "C.", (figure,))), tmp_path)) as (page, _):
        page.click("details.data summary")
        with page.expect_download() as waited:
            page.click("[data-download]")
        assert Path(waited.value.path()).read_text() == figure.table.to_csv()
        assert waited.value.suggested_filename == "bars.csv"


def test_a_large_heatmap_is_unpacked_as_it_was(tmp_path, browser):
    values = np.random.default_rng(0).normal(size=(60, 50)) * 1e-3
    values[3, 4] = 1e4
    values[5, 6] = np.nan
    figure = figures.heatmap("large", values, caption="c", alt="a")
    with opened(browser, write(samples.page(Section("s", "S", "C.", (figure,))), tmp_path)) as (page, _):
        read = page.evaluate(
            "[...document.getElementById('large').querySelector('[data-fig]').data[0].z].map(r => [...r])"
        )
    result = np.array([[np.nan if value is None else value for value in row] for row in read], float)
    # Sixteen-bit floats have 11 significant bits; below 2**-14 of the largest value they lose them one by one.
    assert np.isnan(result[5, 6])
    assert result[3, 4] == pytest.approx(1e4, rel=2**-11)
    result[5, 6] = values[5, 6] = 0.0
    assert np.abs(result - values).max() <= np.abs(values).max() * 2**-11
    small = np.abs(values) < 1
    assert np.abs(result - values)[small].max() <= 1e4 * 2**-25


def test_dark_figures_have_dark_colours_and_follow_a_change(tmp_path, browser):
    path = write(samples.page(Section("s", "S", "C.", (samples.bars(),))), tmp_path)
    colour = "getComputedStyle(document.querySelector('.barlayer .point path')).fill"
    with opened(browser, path, "light") as (page, _):
        light = page.evaluate(colour)
        page.emulate_media(color_scheme="dark")
        assert until(page, f"{colour} !== {json.dumps(light)}")
        page.emulate_media(color_scheme="light")
        assert until(page, f"{colour} === {json.dumps(light)}")


WHERE = """(() => {
    const at = document.activeElement;
    return at.closest('nav') ? 'nav' : at.classList[0] || at.tagName;
})()"""


def test_the_keyboard_reaches_everything(tmp_path, browser):
    with opened(browser, write(samples.gallery(), tmp_path)) as (page, _):
        reached = set()
        for _ in range(60):
            page.keyboard.press("Tab")
            reached.add(page.evaluate(WHERE))
        assert reached >= {"skip", "nav", "token", "scroll", "SUMMARY", "BUTTON"}
        page.focus(".token")
        page.keyboard.press("ArrowRight")
        assert "contribution −1 logits" in page.inner_text(".readout")
        page.keyboard.press("End")
        assert "NaN" in page.inner_text(".readout")


def test_the_command_is_copied_or_selected(tmp_path, browser):
    with opened(browser, write(samples.gallery(), tmp_path)) as (page, _):
        page.click("[data-copy]")
        assert until(page, "['Copied', 'Selected'].includes(document.querySelector('[data-copy]').textContent)")


def test_a_notebook_frame_draws_its_figure(tmp_path, browser):
    file = tmp_path / "notebook.html"
    file.write_text(f"<!doctype html><title>n</title>{samples.bars()._repr_html_()}", encoding="utf-8")
    with opened(browser, file) as (page, faults):
        frame = page.frames[1]
        frame.wait_for_selector("html[data-ready='1']", state="attached", timeout=60_000)
        assert len(frame.query_selector_all(".barlayer .point path")) == 3
        assert not faults


def test_a_page_whose_library_is_missing_says_so_and_shows_its_table(tmp_path, browser):
    path = write(samples.page(Section("s", "S", "C.", (samples.bars(),))), tmp_path, plotlyjs="directory")
    (tmp_path / "plotly.min.js").unlink()
    with opened(browser, path) as (page, faults):
        assert "could not be drawn" in page.inner_text(".plot")
        assert "the page did not become ready" in faults


# --- the check itself: every planted fault is detected ----------------------------------------------------------------


def _data(text: str, change: Callable[[dict[str, Any]], None]) -> str:
    """`text` with its data changed."""
    result = re.search(r'(<script type="application/json" id="interp-data">)(.*?)(</script>)', text, re.S)
    assert result
    data = json.loads(result[2])
    change(data)
    return text[: result.start(2)] + json.dumps(data).replace("<", "\\u003c") + text[result.end(2) :]


def _emptied(data: dict[str, Any]) -> None:
    for trace in data["figures"]["bars"]["data"]:
        trace["x"], trace["y"] = [], []


def _nulled(data: dict[str, Any]) -> None:
    for trace in data["figures"]["bars"]["data"]:
        trace["x"] = [None] * len(trace["x"])


def _damaged(data: dict[str, Any]) -> None:
    data["files"][0]["gzip"] = base64.b64encode(b"no gzip").decode()


def _markup_in_ticks(data: dict[str, Any]) -> None:
    data["figures"]["bars"]["layout"]["yaxis"]["ticktext"][0] = "<b>a</b>"


MAIN = 'tabindex="-1">'
PLANTED = {
    "emptied traces": (lambda t: _data(t, _emptied), "0 marks of 3 promised"),
    "traces of nulls": (lambda t: _data(t, _nulled), 'figure "bars" is empty'),
    "an external image": (lambda t: t.replace(MAIN, MAIN + '<img alt="x" src="https://example.org/x.png">', 1), "img"),
    "an injected script": (lambda t: t.replace(MAIN, MAIN + "<script>window.PWNED=1</script>", 1), "console error"),
    "a script and no policy": (
        lambda t: re.sub(r"<meta http-equiv[^>]*>", "", t).replace(MAIN, MAIN + "<script>window.PWNED=1</script>", 1),
        "ran as a script",
    ),
    "a handler": (lambda t: t.replace("<figcaption>", '<figcaption><b onclick="x()">b</b>', 1), "data became markup"),
    "markup in a tick": (lambda t: _data(t, _markup_in_ticks), "shows the ticks"),
    "a damaged download": (lambda t: _data(t, _damaged), "1 downloads 0 were saved"),
    "no language": (lambda t: t.replace(' lang="en"', "", 1), "axe html-has-lang"),
    "too large a file": (lambda t: t + "<!--" + "x" * 2_500_000 + "-->", "the budget of a page"),
    "too wide a page": (
        lambda t: t.replace("<figcaption>", '<figcaption style="width:3000px;max-width:none">', 1),
        "wider",
    ),
    "too long a page": (
        lambda t: t.replace("<figcaption>", '<figcaption style="height:900px">', 1),
        "screens long, not 1",
    ),
    "a cut text": (
        lambda t: t.replace("<figcaption>", '<figcaption style="width:40px;white-space:nowrap;overflow:hidden">', 1),
        "a text is cut",
    ),
    "a text on a figure": (
        lambda t: t.replace("<figcaption>", '<figcaption style="margin-top:-3rem">', 1),
        "lies on",
    ),
    "an exception": (lambda t: _data(t, lambda data: data.pop("figures")), "did not become ready"),
}


@pytest.fixture(scope="module")
def sound() -> str:
    return render(samples.page(Section("s", "S", "C.", (samples.bars(),))))


@pytest.mark.parametrize("name", PLANTED)
def test_the_check_finds_a_planted_fault(name, sound, tmp_path, browser):
    plant, expected = PLANTED[name]
    path = tmp_path / "report.html"
    broken = plant(sound)
    assert broken != sound
    path.write_text(broken, encoding="utf-8")
    with pytest.raises(AssertionError, match=re.escape(expected)):
        check_page(path, browser=browser, layout=True, screens=1 if name == "too long a page" else None)


def test_the_check_passes_the_page_the_faults_are_planted_in(sound, tmp_path, browser):
    path = tmp_path / "report.html"
    path.write_text(sound, encoding="utf-8")
    check_page(path, browser=browser)
