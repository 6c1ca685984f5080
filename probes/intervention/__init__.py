"""Interventions on the residual stream of a model.

They read the model's answers while a direction is added to or removed from its residual stream.

Names are imported on first use, so that a saved result loads without torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from interp.lazy import attach

if TYPE_CHECKING:
    from probes.intervention.config import InterventionConfig as InterventionConfig
    from probes.intervention.intervene import intervene as intervene
    from probes.intervention.question import Question as Question
    from probes.intervention.results import Intervention as Intervention
    from probes.intervention.targets import as_target as as_target

attach(__name__)
