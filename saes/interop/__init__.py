"""Exchange with other libraries.

It covers SAELens folders, readers of other formats, model cards, and upload.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from interp.lazy import attach

if TYPE_CHECKING:
    from saes.interop.folders import load as load

attach(__name__)
