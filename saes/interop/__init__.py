"""Exchange with other libraries: SAELens folders, readers of other formats, model cards, upload."""

from __future__ import annotations

from typing import TYPE_CHECKING

from interp.lazy import attach

if TYPE_CHECKING:
    from saes.interop.folders import load as load

attach(__name__)
