"""Study of all attention heads of a model: `run(model, Config())`.

It says what each head looks for, what it moves and which heads read it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from interp.lazy import attach

if TYPE_CHECKING:
    from analyses.circuits.result import Circuits as Circuits, Config as Config
    from analyses.circuits.study import run as run

attach(__name__)
