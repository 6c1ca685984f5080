"""Study of a task's circuit, judged on held-out pairs.

`run(model, Config("ioi"))`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from interp.lazy import attach

if TYPE_CHECKING:
    from analyses.discovery.result import Config as Config, Discovery as Discovery
    from analyses.discovery.study import run as run

attach(__name__)
