"""Mechanistic interpretability of transformer language models, with a check for every number.

Importing this package does not import torch: each name is imported on first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from interp.lazy import attach

if TYPE_CHECKING:
    from interp import (
        attribution as attribution,
        cache as cache,
        circuits as circuits,
        coding as coding,
        discovery as discovery,
        edit as edit,
        errors as errors,
        masks as masks,
        model as model,
        patching as patching,
        provenance as provenance,
        report as report,
        results as results,
        steering as steering,
        tasks as tasks,
        toy as toy,
    )
    from interp.model import Model as Model, check as check, load as load

__version__ = "0.1.0"

attach(__name__)
