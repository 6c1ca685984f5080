"""Explanation of one predicted token of a model: `run(model, Config(...)) -> Explanation`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interp.lazy import attach

if TYPE_CHECKING:
    from analyses.explain.result import Config as Config, Explanation as Explanation
    from analyses.explain.study import run as run

attach(__name__)
