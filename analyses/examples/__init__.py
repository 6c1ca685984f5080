"""Where directions are strongest in a text: `run(model, store, {"truth": probe})`, as a result with a page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interp.lazy import attach

if TYPE_CHECKING:
    from analyses.examples.result import Examples as Examples
    from analyses.examples.study import run as run

attach(__name__)
