"""Finished studies: each a configuration, a run, a result and its report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interp.lazy import attach

if TYPE_CHECKING:
    from analyses import (
        attention as attention,
        bydesign as bydesign,
        circuits as circuits,
        completions as completions,
        dictionary as dictionary,
        discovery as discovery,
        examples as examples,
        explain as explain,
        faithful as faithful,
        graph as graph,
        lens as lens,
        steering as steering,
        superposition as superposition,
        truth as truth,
        universality as universality,
    )

attach(__name__)
