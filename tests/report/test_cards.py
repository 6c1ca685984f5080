"""A deck of cards: what it refuses, what it carries, what fits, and what a reader finds in the browser."""

from __future__ import annotations

import base64
import gzip
import json
import math
from dataclasses import replace

import pytest

from interp.errors import UsageError
from interp.report import Card, Cards, Section, visible, write
from interp.report.cards import Histogram, Links, Ranking, Strip
from tests.report import samples
from tests.report.browser import check_page, opened, until


def card(number: int, token: str = " word") -> Card:
    return Card(
        name=f"latent {number}",
        words=(token, f"w{number}"),
        values=(float(number % 7), math.nan if number == 3 else 1 / (number + 1)),
        notes=(f"Fired {number} times.",),
        strips=(Strip("Strongest", ("a", token, "b"), (0.0, 2.0, math.nan), 1),),
        rankings=(Ranking("Raises", (" up", token), (1.5, 0.25)), Ranking("Lowers", (" down",), (-1.0,))),
        links=(Links("Nearest", ((f"latent {number - 1}", "cosine 0.5"), ("latent 10000", "elsewhere"))),),
        histogram=Histogram("Values", (0.5, 8.0), (1, 0, 5)),
    )


def deck(count: int = 3, **changes) -> Cards:
    options = {"id": "deck", "columns": ("often", "strong"), "caption": "Some cards.", "what": "latents", **changes}
    return Cards(cards=tuple(card(number) for number in range(count)), **options)


def carried(deck: Cards) -> dict:
    return json.loads(gzip.decompress(base64.b64decode(deck.packed())))


def page_of(deck: Cards):
    return samples.page(Section("s", "A deck", "A claim.", (deck,)))


def test_a_deck_carries_names_words_and_contents():
    body = carried(deck())
    name, words, values, notes, strips, rankings, links, histogram = body["cards"][1]
    assert (name, values, notes) == ("latent 1", [1, 0.5], ["Fired 1 times."])
    assert [body["words"][i] for i in words] == ["·word", "w1"]
    _, tokens, digits, limit, focus = strips[0]
    assert ([body["words"][i] for i in tokens], digits, limit, focus) == (["a", "·word", "b"], "0y-", 2, 1)
    assert [body["words"][i] for i in rankings[0][1]] == ["·up", "·word"]
    assert links == [["Nearest", [["latent 0", "cosine 0.5"], ["latent 10000", "elsewhere"]]]]
    assert histogram == ["Values", [0.5, 8], [1, 0, 5]]
    assert carried(deck(5))["cards"][3][2] == [3, None]  # JSON has no NaN
    assert deck().packed() == deck().packed()


def test_what_does_not_fit_is_folded_from_the_end():
    many = deck(500)
    whole, limit = len(many.packed()), 9_000
    assert whole > limit
    fitted = replace(many, max_characters=limit)
    assert 0.8 * limit < len(fitted.packed()) <= limit
    full = [len(entry) > 3 for entry in carried(fitted)["cards"]]
    assert full == sorted(full, reverse=True)
    assert 0 < sum(full) < 500
    assert all(len(entry) > 3 for entry in carried(replace(many, max_characters=2 * whole))["cards"])
    assert not any(len(entry) > 3 for entry in carried(replace(many, max_characters=10))["cards"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id": "1"}, "cannot be the id of a deck of cards"),
        ({"caption": " "}, "has no caption"),
        ({"columns": ("one",)}, 'The card "latent 0" has 2 values for 1 columns'),
        ({"cards": ()}, "has no cards"),
        ({"cards": (card(1), card(1))}, "two cards of one name"),
        ({"cards": (replace(card(1), strips=(Strip("x", ("a",), (1.0,), 1),)),)}, "has no token 1"),
        ({"cards": (replace(card(1), rankings=(Ranking("x", ("a",), ()),)),)}, "has not one value a token"),
    ],
)
def test_a_deck_that_cannot_be_drawn_is_refused(changes, message):
    with pytest.raises(UsageError, match=message):
        replace(deck(), **changes)


@pytest.mark.browser
def test_a_page_with_hostile_cards_is_right(tmp_path, browser):
    cards = tuple(card(number, token) for number, token in enumerate(samples.HOSTILE))
    cards = tuple(
        replace(one, name=f"{token} {n}") for n, (one, token) in enumerate(zip(cards, samples.HOSTILE, strict=True))
    )
    path = write(page_of(replace(deck(), cards=cards, caption=samples.HOSTILE[0])), tmp_path)
    for scheme in ("light", "dark"):
        check_page(path, scheme, browser=browser, axe=False)
    with opened(browser, path) as (page, faults):
        page.evaluate("document.querySelectorAll('.card').forEach(card => card.open = true)")
        assert until(page, "document.querySelectorAll('.inside .strip').length === 12")
        shown = page.evaluate("[...document.querySelectorAll('.card .name + .token')].map(token => token.textContent)")
        assert shown == [visible(token) for token in samples.HOSTILE[:12]]
        assert not page.evaluate(
            "document.querySelector('.deck img, .deck a, .deck script, .deck b') || 'PWNED' in window"
        )
        assert not faults


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_open_cards_are_accessible(tmp_path, browser, scheme):
    from axe_playwright_python.sync_playwright import Axe

    with opened(browser, write(page_of(deck(30)), tmp_path), scheme) as (page, faults):
        page.evaluate("[...document.querySelectorAll('.card')].slice(0, 3).forEach(card => card.open = true)")
        assert until(page, "document.querySelectorAll('.inside .strip').length === 3")
        violations = Axe().run(page).response["violations"]
        assert [(one["id"], one["nodes"][0]["html"]) for one in violations] == []
        assert not faults


@pytest.mark.browser
def test_cards_are_searched_ordered_turned_and_linked_by_keyboard(tmp_path, browser):
    names = "[...document.querySelectorAll('.card .name')].map(name => name.textContent)"
    focused = "document.activeElement.querySelector('.name')?.textContent"
    with opened(browser, write(page_of(deck(50, max_characters=9_000)), tmp_path)) as (page, faults):
        assert page.evaluate(names) == [f"latent {n}" for n in range(12)]
        for _ in range(4):
            page.click("[data-turn='1']")
        assert page.evaluate(names) == [f"latent {n}" for n in range(48, 50)]
        assert page.is_disabled("[data-turn='1']")
        page.keyboard.press("/")
        page.keyboard.type("17")
        assert page.evaluate(names) == ["latent 17"]
        page.keyboard.press("Enter")
        assert page.evaluate(focused) == "latent 17"
        page.keyboard.press("Enter")
        assert until(page, "document.querySelector('.card').open && document.querySelector('.ranking button')")
        page.click(".ranking button")  # the link to latent 16, which the search had hidden
        assert page.evaluate(focused) == "latent 16"
        assert page.evaluate("document.activeElement.parentElement.open")
        page.keyboard.press("ArrowDown")
        assert page.evaluate(focused) == "latent 17"
        page.fill(".seek input", " UP")
        assert page.evaluate("document.querySelector('.counted').textContent").startswith("50 latents")
        page.fill(".seek input", "w1")  # the whole token first, then the tokens it is a part of
        assert page.evaluate(names)[:3] == ["latent 1", "latent 10", "latent 11"]
        page.fill(".seek input", " down")
        assert page.evaluate("document.querySelector('.counted').textContent") == "No latents match."
        page.fill(".seek input", "")
        page.select_option(".seek select", label="strong")
        assert page.evaluate(names)[:3] == ["latent 0", "latent 1", "latent 2"]
        page.select_option(".seek select", label="often")
        assert page.evaluate(names)[:2] == ["latent 6", "latent 13"]
        assert not faults


@pytest.mark.browser
def test_a_deck_without_one_of_its_cards_is_detected(tmp_path, browser):
    path = write(page_of(deck()), tmp_path)
    check_page(path, browser=browser, axe=False)
    path.write_text(path.read_text().replace('data-cards="3"', 'data-cards="4"'))
    with pytest.raises(AssertionError, match='deck "deck" shows 3 cards, not 4'):
        check_page(path, browser=browser, axe=False)
