"""Attention of chosen heads on chosen prompts: `run(model, prompts, ["L23H4"])`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interp.lazy import attach

if TYPE_CHECKING:
    from analyses.attention.result import Patterns as Patterns
    from analyses.attention.study import run as run

attach(__name__)
