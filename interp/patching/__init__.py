"""Activation patching: parts of one run replaced by those of another.

It says what happens to a prediction then.

Names are fetched when first used, so that a saved result loads without torch.
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
