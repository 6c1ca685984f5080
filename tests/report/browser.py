"""Opens a page in headless Chromium and says everything that is wrong with it.

`check_page(path, "dark")` raises one AssertionError that lists the faults. Other tests use it through the
`page_check` fixture or by importing this module. Without playwright or Chromium (`$CHROMIUM`, else /usr/bin/chromium)
tests are skipped with the reason; with REQUIRE_BROWSER=1 they fail instead.
"""

from __future__ import annotations

import csv
import html
import importlib.util
import io
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from interp import report

BUDGET = {"inline": 2_500_000, "directory": 500_000}
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)
PATIENCE = 60_000
"""Milliseconds until a page must have drawn: generous, for machines that do other work besides."""

MARKS = (
    ".barlayer .point path, .heatmaplayer image, .scatterlayer .points path.point, "
    ".scatterlayer path.js-line, .scatterlayer .textpoint, .iciclelayer g.slice"
)
FIGURES = """marks => [...document.querySelectorAll('[data-fig]')].map(place => {
    const svg = place.querySelector('svg.main-svg');
    const box = svg ? svg.getBoundingClientRect() : {width: 0, height: 0};
    const floats = packed => new Float32Array(Uint8Array.from(atob(packed), byte => byte.charCodeAt(0)).buffer);
    const finite = value => Array.isArray(value) || ArrayBuffer.isView(value)
        ? [...value].some(finite) : value && value.bdata ? finite(floats(value.bdata))
        : Number.isFinite(value) || typeof value === 'string';
    const axes = Object.entries(place.layout || {}).filter(([name, axis]) => /^[xy]axis/.test(name) && axis.ticktext);
    return {
        id: place.dataset.fig,
        promised: Number(place.dataset.marks),
        drawn: place.querySelectorAll(marks).length,
        sized: box.width > 0 && box.height > 0,
        label: place.getAttribute('aria-label'),
        role: place.getAttribute('role'),
        data: (place.data || []).some(
            trace => [trace.z, trace.values].some(finite) || finite(trace.x) && finite(trace.y)),
        ticks: axes.map(([name, axis]) => [
            axis.ticktext,
            [...place.querySelectorAll('.' + name.replace('axis', 'tick') + ' text')].map(text => text.textContent),
        ]),
    };
})"""
"""What each figure promised, and what is there."""
FOREIGN = """() => {
    const markup = 'img, iframe, object, embed, form, base, link, a[href^="javascript" i], svg a';
    const words = `.token, td, th, figcaption, h1, h2, h3, .claim, .finding, .note, .how p, .how pre, dt, dd, caption,
        .limits li`;
    const inside = place => [...place.querySelectorAll('*')].filter(e => !e.matches('code, span.hidden, h2 > a'));
    const handled = element => [...element.attributes].some(attribute => /^on/i.test(attribute.name));
    const styled = text => /bold|italic|line-through/.test(text.getAttribute('style') || '');
    return [
        ...document.body.querySelectorAll(markup),
        ...[...document.querySelectorAll(words)].flatMap(inside),
        ...[...document.querySelectorAll('body *')].filter(handled),
        ...[...document.querySelectorAll('svg tspan')].filter(styled),
    ].map(element => element.outerHTML.slice(0, 120));
}"""
"""Elements that only data turned into markup can have made."""
SCREEN = 900
"""Pixels of a window's height."""
FIRST = """height => [...document.querySelectorAll('.plot, .explorer canvas, .attention .lines, .deck ol')].some(
    figure => figure.checkVisibility() && figure.getBoundingClientRect().top < height - 150)"""
"""Whether a figure, or enough of it to see what it is, stands on the first screen."""
LAYOUT = r"""() => {
    const faults = [];
    const start = one => one.textContent.trim().slice(0, 40);
    const named = one => `${one.id ? '#' + one.id : one.className || one.tagName} "${start(one)}"`;
    const shown = one => one.getClientRects().length > 0 && one.checkVisibility();
    const box = one => one.getBoundingClientRect();
    const meet = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1
        && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 1;
    const texts = 'h1, h2, h3, p, figcaption, button, summary, label, dt, dd, li, caption';
    for (const one of document.querySelectorAll(texts)) {
        if (!shown(one) || one.closest('.hidden, .scroll, svg')) continue;
        if (one.clientWidth && one.scrollWidth > one.clientWidth + 1) faults.push('a text is cut: ' + named(one));
    }
    for (const one of innerWidth < 768 ? document.querySelectorAll('.scroll caption') : []) {
        const over = box(one).right - box(one.closest('.scroll')).right;
        if (shown(one) && over > 1) faults.push('a caption is cut: ' + named(one));
    }
    const parents = 'main, main > section, header, #lead, figure, .tools, .status, .card, .node';
    for (const parent of document.querySelectorAll(parents)) {
        const flows = kid => !/absolute|fixed|sticky/.test(getComputedStyle(kid).position);
        const kids = [...parent.children].filter(kid => shown(kid) && flows(kid));
        kids.forEach((kid, i) => kids.slice(i + 1).forEach(other => {
            if (meet(box(kid), box(other))) faults.push(`${named(kid)} lies on ${named(other)}`);
        }));
    }
    for (const plot of document.querySelectorAll('.plot')) {
        const svg = plot.querySelector('svg.main-svg');
        if (!svg || !shown(svg)) continue;
        const outer = box(svg);
        for (const kind of ['.xtick text', '.ytick text', '.xtitle', '.ytitle', '.cbtitle']) {
            const marks = [...plot.querySelectorAll(kind)].filter(shown);
            marks.forEach((mark, i) => {
                const own = box(mark);
                const across = Math.max(outer.left - own.left, own.right - outer.right);
                if (Math.max(across, outer.top - own.top, own.bottom - outer.bottom) > 2)
                    faults.push(`figure "${plot.dataset.fig}" cuts "${start(mark)}"`);
                const turned = /rotate\((?!0,)/.test(mark.getAttribute('transform') || '');
                if (!turned && i && meet(own, box(marks[i - 1])))
                    faults.push(`figure "${plot.dataset.fig}" has "${start(mark)}" on its neighbour`);
            });
        }
    }
    return [...new Set(faults)];
}"""
"""Texts that are cut, and boxes that lie on one another."""
CAPTURE = """() => {
    window.saved = {};
    addEventListener('unhandledrejection', () => window.failed = true);
    let last;
    const make = URL.createObjectURL;
    URL.createObjectURL = blob => make.call(URL, last = blob);
    HTMLAnchorElement.prototype.click = function () { window.saved[this.download] = last; };
    document.querySelectorAll('[data-download]').forEach(button => button.click());
}"""
"""Presses every button and keeps the files: Chromium itself would stop after ten downloads in a row."""


def missing() -> str:
    """Why no page can be opened here; empty when one can."""
    for name in ("playwright", "axe_playwright_python"):
        if importlib.util.find_spec(name) is None:
            return f"{name} is not installed: pip install -e '.[browser]'"
    return "" if Path(chromium()).exists() else f"no Chromium at {chromium()}: install it, or set CHROMIUM"


def chromium() -> str:
    """The browser's path."""
    return os.environ.get("CHROMIUM", "/usr/bin/chromium")


def require() -> None:
    """Skip the test without a browser; fail if one was promised."""
    if reason := missing():
        (pytest.fail if os.environ.get("REQUIRE_BROWSER") == "1" else pytest.skip)(reason)


@contextmanager
def launched() -> Iterator[Any]:
    """A headless Chromium."""
    require()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=list(ARGUMENTS))
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def opened(
    browser: Any, path: Path, colour_scheme: str = "light", width: int = 1280
) -> Iterator[tuple[Any, list[str]]]:
    """The page, drawn, and the list that its faults are added to while it is open."""
    faults: list[str] = []
    context = browser.new_context(
        offline=True, color_scheme=colour_scheme, viewport={"width": width, "height": SCREEN}, accept_downloads=True
    )
    page = context.new_page()
    page.on(
        "console", lambda m: faults.append(f"console {m.type}: {m.text}") if m.type in ("error", "warning") else None
    )
    page.on("pageerror", lambda error: faults.append(f"page error: {error}"))
    page.on("request", lambda request: faults.extend(_leaving(request.url)))
    try:
        page.goto(Path(path).resolve().as_uri())
        if page.query_selector("#interp-data"):
            page.wait_for_selector("html[data-ready]", state="attached", timeout=PATIENCE)
            if page.evaluate("document.documentElement.dataset.ready") != "1":
                faults.append("the page did not become ready")
        yield page, faults
    finally:
        context.close()


def check_page(
    path: Path,
    colour_scheme: str = "light",
    *,
    browser: Any = None,
    width: int = 1280,
    axe: bool = True,
    layout: bool = False,
    screens: int | None = None,
    screenshot: Path | None = None,
) -> None:
    """Raise AssertionError with every fault of the page.

    Faults: a console error or warning; an exception; a request to anything but file:, data: and blob:; a text that is
    cut or lies on another; a figure without its marks, its size, its label or its tick texts; data that became markup
    or ran; a download that does not parse; a violation of axe-core (the slowest part: some seconds); a page wider
    than its window; a file beyond its budget; with `screens`, a page longer than that as it opens, or without a figure
    on its first screen.
    """
    if browser is None:
        with launched() as own:
            check_page(
                path,
                colour_scheme,
                browser=own,
                width=width,
                axe=axe,
                layout=layout,
                screens=screens,
                screenshot=screenshot,
            )
        return
    with opened(browser, path, colour_scheme, width) as (page, faults):
        if screenshot:
            page.screenshot(path=screenshot, full_page=True)
        faults.extend(page.evaluate(LAYOUT) if layout else [])
        faults.extend(_first_look(page, screens) if screens else [])
        faults.extend(_unfolded(page))
        faults.extend(_size(Path(path)) + _figures(page) + _decks(page) + _safety(page))
        # One of each kind: axe takes seconds for every large table, and they are all made by one function.
        page.evaluate(
            "['how', 'data', 'card'].forEach(kind => "
            "document.querySelector('details.' + kind)?.setAttribute('open', ''))"
        )
        faults.extend((_accessibility(page) if axe else []) + _downloads(page) + _overflow(page))
    assert not faults, f"{path} ({colour_scheme}, {width} px):\n- " + "\n- ".join(dict.fromkeys(faults))


def check_study(study: Any, folder: Path, screens: int, *, browser: Any = None) -> None:
    """Check the page of a study: dark with its length and accessibility, and light on a narrow screen."""
    if browser is None:
        with launched() as own:
            check_study(study, folder, screens, browser=own)
        return
    path = report.write(study.page(), folder)
    check_page(path, "dark", browser=browser, layout=True, screens=screens)
    check_page(path, browser=browser, width=390, axe=False, layout=True)


def until(page: Any, expression: str, seconds: float = 60) -> bool:
    """Whether `expression` becomes true; playwright's own waiting needs the eval that the policy of a page forbids."""
    for _ in range(int(seconds * 10)):
        if page.evaluate(expression):
            return True
        page.wait_for_timeout(100)
    return False


def _unfolded(page: Any) -> list[str]:
    """Open every fold, whose figures are drawn then; the fault where one is not."""
    page.evaluate("document.querySelectorAll('details.more').forEach(fold => (fold.open = true))")
    drawn = "[...document.querySelectorAll('[data-fig]')].every(place => place.querySelector('svg.main-svg'))"
    return [] if until(page, drawn) else ["a figure in a fold was not drawn when it was opened"]


def _first_look(page: Any, screens: int) -> list[str]:
    """A page of more screens than allowed when it opens, or without a figure on the first."""
    height = page.evaluate("document.documentElement.scrollHeight")
    faults = [f"the page is {height / SCREEN:.1f} screens long, not {screens}"] if height > screens * SCREEN else []
    return faults if page.evaluate(FIRST, SCREEN) else [*faults, "no figure stands on the first screen"]


def _leaving(url: str) -> list[str]:
    return [] if url.startswith(("file:", "data:", "blob:")) else [f"a request leaves the page: {url}"]


def _size(path: Path) -> list[str]:
    text = path.read_text(encoding="utf-8")
    kind = "inline" if 'id="plotly-gzip"' in text else "directory"
    size = len(text.encode())
    return [f"{size} bytes, the budget of a page ({kind}) is {BUDGET[kind]}"] if size > BUDGET[kind] else []


def _figures(page: Any) -> list[str]:
    faults = []
    for figure in page.evaluate(FIGURES, MARKS):
        name = f'figure "{figure["id"]}"'
        if figure["drawn"] != figure["promised"]:
            faults.append(f"{name} has {figure['drawn']} marks of {figure['promised']} promised")
        if not (figure["sized"] and figure["data"] and figure["promised"]):
            faults.append(f"{name} is empty")
        if figure["role"] != "group" or not figure["label"]:
            faults.append(f"{name} has no label for those who cannot see it")
        for expected, shown in figure["ticks"]:
            if [html.unescape(text) for text in expected] != shown:
                faults.append(f"{name} shows the ticks {shown}, not {expected}")
    return faults


def _decks(page: Any) -> list[str]:
    """Decks that do not show the cards of their first page."""
    shown = page.evaluate(
        "[...document.querySelectorAll('[data-deck]')].map(deck => [deck.id, deck.querySelectorAll('.card').length, "
        "Math.min(12, deck.dataset.cards)])"
    )
    return [f'deck "{name}" shows {drawn} cards, not {wanted}' for name, drawn, wanted in shown if drawn != wanted]


def _safety(page: Any) -> list[str]:
    faults = [f"data became markup: {markup}" for markup in page.evaluate(FOREIGN)]
    if page.evaluate("'PWNED' in window"):
        faults.append("a hostile string ran as a script")
    if not page.query_selector("meta[http-equiv='Content-Security-Policy'][content^=\"default-src 'none'\"]"):
        faults.append("the page has no content security policy")
    return faults


def _downloads(page: Any) -> list[str]:
    page.evaluate(CAPTURE)
    count = page.evaluate("document.querySelectorAll('[data-download]').length")
    faults = []
    until(page, f"window.failed || Object.keys(window.saved).length >= {count}", seconds=20)
    files = page.evaluate("Promise.all(Object.entries(window.saved).map(async ([n, blob]) => [n, await blob.text()]))")
    if len(files) < count:
        faults.append(f"of {count} downloads {len(files)} were saved; some failed, or share a name")
    for name, text in files:
        try:
            _parse(name, text)
        except ValueError as error:
            faults.append(f'download "{name}" does not parse: {error}')
    return faults


def _parse(name: str, content: str) -> None:
    if not content:
        raise ValueError("the file is empty")
    if name.endswith(".json"):
        json.loads(content)
    if name.endswith(".csv"):
        rows = list(csv.reader(io.StringIO(content, newline="")))
        if len(rows) < 2 or len({len(row) for row in rows}) != 1:
            raise ValueError("the rows of the CSV differ in length, or there are none")


def _accessibility(page: Any) -> list[str]:
    from axe_playwright_python.sync_playwright import Axe

    violations = Axe().run(page).response["violations"]
    return [
        f"axe {violation['id']} ({violation['impact']}): {violation['nodes'][0]['html'][:160]}"
        for violation in violations
    ]


def _overflow(page: Any) -> list[str]:
    overflow = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    return [f"the page is {overflow} pixels wider than its window"] if overflow > 0 else []
