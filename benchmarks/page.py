"""How long a page takes to open in headless Chromium: from the navigation to its figures and explorers drawn.

    python -m benchmarks.page out/graph/report.html [--times 5]

Needs playwright and Chromium (`$CHROMIUM`, else /usr/bin/chromium). Every opening is in a new browser context, so that
nothing is cached. Other work on the machine lengthens the time on the clock; the processor time of the page's main
thread, where scripts run and layout is made, is printed beside it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from pathlib import Path

READY = "document.documentElement.dataset.ready === '1'"


def main() -> None:
    """Print the size of the file, and the median and largest time until it was ready."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("page", type=Path)
    parser.add_argument("--times", type=int, default=5)
    args = parser.parse_args()
    seconds, busy = [], []
    with sync_playwright() as play:
        executable = os.environ.get("CHROMIUM", "/usr/bin/chromium")
        browser = play.chromium.launch(executable_path=executable, args=["--no-sandbox", "--disable-gpu"])
        for _ in range(args.times):
            context = browser.new_context(viewport={"width": 1300, "height": 900}, color_scheme="dark")
            tab = context.new_page()
            metrics = context.new_cdp_session(tab)
            metrics.send("Performance.enable", {"timeDomain": "threadTicks"})
            start = time.perf_counter()
            tab.goto(args.page.resolve().as_uri())
            tab.wait_for_function(READY, timeout=120_000)
            tab.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
            seconds.append(time.perf_counter() - start)
            found = {one["name"]: one["value"] for one in metrics.send("Performance.getMetrics")["metrics"]}
            busy.append(found["TaskDuration"])
            context.close()
        browser.close()
    print(f"{args.page}: {args.page.stat().st_size / 1e6:.2f} MB")
    print(f"ready after {statistics.median(seconds):.2f} s (median of {args.times}), at most {max(seconds):.2f} s")
    print(f"processor seconds of the main thread: {statistics.median(busy):.2f}, at most {max(busy):.2f}")


if __name__ == "__main__":
    main()
