"""What the model says when a direction is added to, or taken out of, what it holds of a statement.

Names are fetched when first used, so that a saved result loads without torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from interp.lazy import attach

if TYPE_CHECKING:
    from probes.intervening.config import InterventionConfig as InterventionConfig
    from probes.intervening.question import Question as Question
    from probes.intervening.results import Intervention as Intervention
    from probes.intervening.running import intervene as intervene
    from probes.intervening.targets import as_target as as_target

attach(__name__)
