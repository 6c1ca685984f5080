"""The picture of a page in the README, in light and in dark colours.

    interp explain "The Eiffel Tower is located in the city of" --target " Paris" --versus " London" --out out/paris
    python -m website.screenshot out/paris/report.html docs/images/explain

writes docs/images/explain-light.png and -dark.png. Needs a Chromium and the extra `browser`.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from interp.cli.software import BROWSERS

WIDTH, HEIGHT = 1160, 800


def picture(page: Path, out: Path) -> None:
    """Write the first screen of a page as two PNG files whose names begin with `out`."""
    from playwright.sync_api import sync_playwright

    browser = next(filter(None, map(shutil.which, BROWSERS)))
    with sync_playwright() as running:
        chromium = running.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        for scheme in ("light", "dark"):
            shown = chromium.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme=scheme)
            shown.goto(page.resolve().as_uri())
            shown.wait_for_timeout(3000)
            shown.screenshot(path=f"{out}-{scheme}.png")
        chromium.close()


if __name__ == "__main__":
    picture(Path(sys.argv[1]), Path(sys.argv[2]))
