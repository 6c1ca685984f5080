"""How edits change what a model writes: `run(model, prompts, edits) -> Completions`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interp.lazy import attach

if TYPE_CHECKING:
    from analyses.completions.result import Completions as Completions
    from analyses.completions.study import run as run

attach(__name__)
