"""Finished studies: each a configuration, a run, a result and its report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interp.lazy import attach

if TYPE_CHECKING:
    from analyses import (
        bydesign as bydesign,
        circuits as circuits,
        dictionary as dictionary,
        discovery as discovery,
        explain as explain,
        superposition as superposition,
        truth as truth,
    )

attach(__name__)
