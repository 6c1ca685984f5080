"""What two models have in common: `run(first, second, config) -> Universality`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interp.lazy import attach

if TYPE_CHECKING:
    from analyses.universality.result import Config as Config, Matches as Matches, Universality as Universality
    from analyses.universality.study import run as run

attach(__name__)
