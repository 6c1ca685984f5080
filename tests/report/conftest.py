from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.report import browser as checks


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """One Chromium for the tests of a module, closed after it: its event loop must not outlive them."""
    with checks.launched() as running:
        yield running


@pytest.fixture
def page_check(browser: Any) -> Callable[..., None]:
    """`page_check(path)` checks the page in light and dark, and on a narrow screen; `narrow`: its layout there too."""

    def check(path: Path, narrow: bool = True) -> None:
        checks.check_page(path, "light", browser=browser, layout=True)
        checks.check_page(path, "dark", browser=browser, layout=True)
        checks.check_page(path, "light", browser=browser, width=390, axe=False, layout=narrow)

    return check
