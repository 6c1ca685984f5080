"""How long a page takes to open in headless Chromium, and how many frames a second its explorer draws.

    python -m benchmarks.page out/graph/report.html [--times 5]
    python -m benchmarks.page --tree 10000

Needs playwright and Chromium (`$CHROMIUM`, else /usr/bin/chromium). Opening is from the navigation to figures and
explorers drawn, each time in a new browser context, so that nothing is cached. Frames are counted while the pointer
drags the drawing of the explorer and the wheel zooms it, with every node shown. Other work on the machine lengthens the
time on the clock; the processor time of the page's main thread, where scripts run and layout is made, is printed
too.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

READY = "document.documentElement.dataset.ready === '1'"
ALL = """() => {
    const [how, amount] = ['how', 'amount'].map(name => document.querySelector(`[data-ask="${name}"]`));
    const set = (place, value) => {
        place.value = value;
        place.dispatchEvent(new Event(place.tagName === 'SELECT' ? 'change' : 'input'));
    };
    const counts = [...how.options].map(option => { set(how, option.value); return Number(amount.max); });
    set(how, how.options[counts.indexOf(Math.max(...counts))].value);
    set(amount, amount.max);
    document.querySelector('.explorer canvas').scrollIntoView({block: 'center', behavior: 'instant'});
    return Number(amount.max);
}"""
"""Shows every node of the first explorer, not collapsed; their number."""
COUNTED = """() => {
    window.drawn = [];
    const note = now => { window.drawn.push(now); requestAnimationFrame(note); };
    requestAnimationFrame(note);
}"""
SECONDS = 3.0
"""Of dragging, and of zooming."""


def main() -> None:
    """Print the size of the file, the time until it was ready, and the frames of its explorer."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("page", type=Path, nargs="?")
    parser.add_argument("--tree", type=int, help="a random tree of this many nodes in place of a page")
    parser.add_argument("--times", type=int, default=5)
    args = parser.parse_args()
    if (args.page is None) == (args.tree is None):
        parser.error("give a page, or --tree N")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as play:
        path = args.page or tree_page(args.tree, folder)
        executable = os.environ.get("CHROMIUM", "/usr/bin/chromium")
        browser = play.chromium.launch(executable_path=executable, args=["--no-sandbox", "--disable-gpu"])
        measured = [opening(browser, path) for _ in range(args.times)]
        drawn = frames(browser, path)
        browser.close()
        print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")
    seconds, busy = zip(*measured, strict=True)
    print(f"ready after {statistics.median(seconds):.2f} s (median of {args.times}), at most {max(seconds):.2f} s")
    print(f"processor seconds of the main thread: {statistics.median(busy):.2f}, at most {max(busy):.2f}")
    for line in drawn:
        print(line)


def opening(browser: Any, path: Path) -> tuple[float, float]:
    """Return the seconds until the page was ready, and the processor seconds of its main thread."""
    tab, busy = opened(browser)
    start = time.perf_counter()
    tab.goto(path.resolve().as_uri())
    tab.wait_for_function(READY, timeout=120_000)
    tab.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    result = time.perf_counter() - start, busy()
    tab.context.close()
    return result


def frames(browser: Any, path: Path) -> list[str]:
    """Return lines on the frames of the first explorer while it is dragged and zoomed; none without one."""
    tab, busy = opened(browser)
    tab.goto(path.resolve().as_uri())
    tab.wait_for_function(READY, timeout=120_000)
    if not tab.query_selector(".explorer canvas"):
        tab.context.close()
        return []
    count = tab.evaluate(ALL)
    tab.wait_for_timeout(1500)
    box = tab.query_selector(".explorer canvas").bounding_box()
    middle = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    tab.mouse.move(*middle)
    lines = []
    for name, act in (("dragged", _drag), ("zoomed", _zoom)):
        tab.evaluate(COUNTED)
        before = busy()
        act(tab, middle)
        times, used = np.array(tab.evaluate("window.drawn")), busy() - before
        rate = (len(times) - 1) / (times[-1] - times[0]) * 1000
        slow = np.percentile(np.diff(times), 95)
        lines.append(
            f"{name} with {count:,} nodes: {rate:.0f} frames a second, 95 % within {slow:.0f} ms; "
            f"{1000 * used / len(times):.1f} ms of the main thread a frame"
        )
    tab.context.close()
    return lines


def _drag(tab: Any, middle: tuple[float, float]) -> None:
    tab.mouse.down()
    until, step = time.perf_counter() + SECONDS, 0
    while time.perf_counter() < until:
        step += 1
        tab.mouse.move(middle[0] + 150 * np.sin(step / 9), middle[1] + 90 * np.cos(step / 7))
    tab.mouse.up()


def _zoom(tab: Any, _: tuple[float, float]) -> None:
    tab.keyboard.down("Control")
    until, step = time.perf_counter() + SECONDS, 0
    while time.perf_counter() < until:
        step += 1
        tab.mouse.wheel(0, -40 if step % 40 < 20 else 40)
    tab.keyboard.up("Control")


def opened(browser: Any) -> tuple[Any, Any]:
    """Return a tab in a context of its own, and a function that gives its main thread's processor seconds so far."""
    context = browser.new_context(viewport={"width": 1300, "height": 900}, color_scheme="dark", bypass_csp=True)
    tab = context.new_page()
    metrics = context.new_cdp_session(tab)
    metrics.send("Performance.enable", {"timeDomain": "threadTicks"})

    def busy() -> float:
        values = {one["name"]: one["value"] for one in metrics.send("Performance.getMetrics")["metrics"]}
        return values["TaskDuration"]

    return tab, busy


def tree_page(count: int, folder: str) -> Path:
    """Write a page with a random tree of `count` nodes over thirty blocks and twelve tokens."""
    from interp.provenance import Stopwatch
    from interp.report import Edge, Explorer, Node, Page, Section, write

    rng = np.random.default_rng(0)
    nodes = [Node("0", "logit", 8.0, 30, 11, "target")]
    edges = []
    for row in range(1, count):
        parent = next(one for one in (*rng.integers(max(0, row - 60), row, 60), 0) if nodes[one].layer > 0)
        up = nodes[parent]
        layer, position = int(rng.integers(-1, int(up.layer))), int(rng.integers(0, (up.position or 0) + 1))
        value = float(up.value * rng.normal() / 2)
        kind, label = ("embed", "embed") if layer < 0 else ("head", f"L{layer}H{rng.integers(9)}")
        nodes.append(Node(str(row), label, value, layer, position, kind))
        edges.append(Edge(str(row), str(parent), value))
    words = tuple(f" w{i}" for i in range(12))
    drawn = Explorer("tree", tuple(nodes), tuple(edges), "A random tree.", "A random tree.", words, "logits")
    section = Section("s", "A tree", f"It has {count:,} nodes.", (drawn,))
    provenance = Stopwatch().provenance(command=f"python -m benchmarks.page --tree {count}", seed=0)
    return write(Page("A random tree", "It means nothing.", (), (section,), (), provenance), folder)


if __name__ == "__main__":
    main()
