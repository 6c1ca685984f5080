"""Study of steering a behaviour, with its cost and its controls: `run(model, Config("sentiment"))`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interp.lazy import attach

if TYPE_CHECKING:
    from analyses.steering.result import Config as Config, Steering as Steering
    from analyses.steering.study import run as run

attach(__name__)
