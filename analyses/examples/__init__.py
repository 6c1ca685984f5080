"""Top examples of directions in a text: `run(model, store, {"truth": probe})`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interp.lazy import attach

if TYPE_CHECKING:
    from analyses.examples.result import Examples as Examples
    from analyses.examples.study import run as run

attach(__name__)
