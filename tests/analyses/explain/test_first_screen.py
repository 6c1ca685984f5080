"""The page of an explanation answers at first sight: measured in a browser, at its default state."""

from __future__ import annotations

from pathlib import Path

from analyses import explain
from interp import report
from tests.report.browser import SCREEN, launched, opened, until


def test_the_first_screen_holds_the_answer_and_the_page_five(smollm2, tmp_path: Path) -> None:
    config = explain.Config("The Eiffel Tower is located in the city of", " Paris", " London", max_expansions=60)
    result = explain.run(smollm2, config)
    assert "attention of block 23" in result.finding()
    assert "L23H4" in result.finding()
    assert "“iffel”" in result.finding()
    path = report.write(result.page(), tmp_path)
    with launched() as browser, opened(browser, path) as (page, faults):
        bottom = "document.querySelector('#lead .plot svg.main-svg').getBoundingClientRect().bottom"
        assert page.evaluate(bottom) <= SCREEN
        assert page.evaluate("document.documentElement.scrollHeight") <= 5 * SCREEN
        folds = page.evaluate("document.querySelectorAll('details.more').length")
        assert folds >= 5
        # A folded figure has no size until its fold is opened, by the keyboard as well.
        figure = "document.querySelector('#components [data-fig]')"
        assert page.evaluate(f"{figure}.querySelector('svg.main-svg') === null")
        page.focus("#components details.more > summary")
        page.keyboard.press("Enter")
        assert until(page, f"{figure}.querySelector('svg.main-svg') !== null")
        assert not faults
