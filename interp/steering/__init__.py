"""Steering: directions that change what a model does when they are added to its residual stream, and what that costs.

    v = steering.vector(model, positive, negative, layer=12)
    response = steering.dose_response(model, v, prompts, ([" good"], [" bad"]))
    response.verdict()

Names are imported when first used, so that a saved result loads without torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from interp.lazy import attach

if TYPE_CHECKING:
    from interp.steering.behaviours import Behaviour as Behaviour, behaviour as behaviour, names as names
    from interp.steering.dose import dose_response as dose_response
    from interp.steering.methods import (
        from_direction as from_direction,
        from_latent as from_latent,
        vector as vector,
        vectors as vectors,
    )
    from interp.steering.response import DoseResponse as DoseResponse
    from interp.steering.vectors import Vector as Vector

attach(__name__)
