"""Every study at a size that takes a second: for pages and files, not for the numbers."""

from __future__ import annotations

from typing import Any

from analyses.superposition import study

SETTINGS: dict[str, dict[str, Any]] = {
    "geometry": {"density": (1.0, 0.5, 0.05), "starts": 2, "steps": 100},
    "phases": {"side": 3, "starts": 2, "steps": 50},
    "dimensions": {"features": 12, "hidden": 3, "sparsity": (0.0, 0.66, 0.9), "steps": 100, "batch_size": 64},
    "correlation": {"starts": 4, "steps": 100},
    "collapse": {"density": (0.03, 0.6), "starts": 2, "steps": 100},
    "perturbation": {"ratio": (0.1, 0.5, 1.0), "starts": 4, "steps": 200},
    "computation": {"features": 8, "neurons": 4, "density": (0.5, 0.01), "steps": 100, "exact_starts": 2},
    "adversarial": {"sparsity": (0.0, 0.6), "inputs": 64, "steps": 100},
    "dynamics": {"features": 8, "hidden": 3, "steps": 200},
    "memorisation": {"features": 20, "points": (3, 5, 30), "steps": 100},
    "capacity": {"matrices": 60, "width": 8, "ratios": (2, 4)},
    "closedforms": {},
    "ladder": {"features": 12, "hidden": 8, "signals": 200, "sae_steps": 20, "seeds": 2, "toy_steps": 100},
}


def run(name: str) -> Any:
    """The result of a study at its tiny size."""
    module = study(name)
    return module.run(module.Config(**SETTINGS[name]))
