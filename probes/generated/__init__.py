"""Statements generated from short tables of facts.

They are balanced so that no single word predicts the label.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from interp.lazy import attach

if TYPE_CHECKING:
    from probes.generated.generate import GENERATED as GENERATED, generate as generate

attach(__name__)
