"""Every study at a size that takes a second or two: for pages and files, not for the numbers."""

from __future__ import annotations

from typing import Any
from unittest import mock

from analyses.bydesign import study

SETTINGS: dict[str, dict[str, Any]] = {
    "modular": {"seeds": 2, "steps": 20, "width": 6, "other_seeds": 1},
    "addition": {"modulus": 5, "seeds": 2, "steps": 10},
    "regression": {"seeds": 2, "steps": 5},
    "masks": {"widths": (16, 16), "seeds": 2, "densities": (0.5, 0.05), "steps": 5},
    "tickets": {"width": 16, "seeds": 2, "rounds": 2, "steps": 10},
    "sparse": {"seeds": 2, "steps": 12},
    "heads": {"wanted": 2, "most": 3, "layers": 2, "seeds": 2, "steps": 5},
}


def run(name: str) -> Any:
    """The result of a study at its tiny size; masks over edges are learned for five steps."""
    module = study(name)
    with mock.patch("interp.toy.sparse.circuits.STEPS", 5):
        return module.run(module.Config(**SETTINGS[name]))
