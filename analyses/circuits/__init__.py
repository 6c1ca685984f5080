"""Study of every head of a model: what it looks for, moves and passes on: `run(model, Config())`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interp.lazy import attach

if TYPE_CHECKING:
    from analyses.circuits.result import Circuits as Circuits, Config as Config
    from analyses.circuits.study import run as run

attach(__name__)
