"""Comparison of attributions on held-out pairs: `run(model, Config())`, or `python -m analyses.faithful`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interp.lazy import attach

if TYPE_CHECKING:
    from analyses.faithful.result import Config as Config, Faithfulness as Faithfulness, Row as Row
    from analyses.faithful.study import run as run

attach(__name__)
