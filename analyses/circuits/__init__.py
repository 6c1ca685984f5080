"""Every head of a model at once: what it looks for, what it moves and which heads read it: `run(model, Config())`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interp.lazy import attach

if TYPE_CHECKING:
    from analyses.circuits.result import Circuits as Circuits, Config as Config
    from analyses.circuits.study import run as run

attach(__name__)
