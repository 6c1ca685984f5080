"""Study of steering a behaviour: `run(model, Config("sentiment"))`.

It measures whether the behaviour can be steered and at what cost, and compares with controls.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from interp.lazy import attach

if TYPE_CHECKING:
    from analyses.steering.result import Config as Config, Steering as Steering
    from analyses.steering.study import run as run

attach(__name__)
