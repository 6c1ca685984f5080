"""Activation patching: replace parts of one run by those of another and measure the prediction.

>>> result = patching.patch(model, task, "z", by=("layer", "head"))
>>> result.top(1)
(('layer 0', 'head 3', 1.227),)

Names are imported when first used, so that a saved result loads without torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from interp.lazy import attach

if TYPE_CHECKING:
    from interp.patching.patch import patch as patch
    from interp.patching.path import path as path
    from interp.patching.results import Patched as Patched, Patching as Patching
    from interp.patching.swap import patch_heads as patch_heads, patch_residual as patch_residual

attach(__name__)
