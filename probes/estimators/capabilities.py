"""What a probe can do besides scikit-learn's `fit`: asked of its class, never of the name of the class.

Every scikit-learn classifier of two classes is a probe. One that offers more is fitted faster or chosen better:

    strength         (parameter, candidates), a class attribute: the parameter that cross-validation chooses
    closed_form      True, a class attribute: fitting is a few matrix products, cheap enough for 200 shuffled labelings
    fit_layers       (X, y) -> [fitted, ...]: one fitted copy for each layer of X (layer, n, d)
    fit_path         (X, y, strengths, weights) -> Linear: every fold, layer and strength together
    fit_labelings    (X, labels) -> Linear or None: every labeling of the rows X (n, d) together

What a class lacks is done in a loop over `fit`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

RESTS_ON = {
    "fit_layers": ("fit",),
    "fit_path": ("fit", "fit_layers", "_solve", "decision_function"),
    "fit_labelings": ("fit", "fit_layers", "_solve", "decision_function"),
}
"""The methods whose result each capability repeats in another way."""


@dataclass(frozen=True, eq=False)
class Linear:
    """Several fitted linear probes: `score = x @ direction + bias` in raw activation space, float64."""

    directions: Float[Tensor, "*fit d"]
    biases: Float[Tensor, "*fit"]


def capability(probe: Any, name: str) -> Callable[..., Any] | None:
    """Return the method `name` of a probe, or None.

    None also where a subclass overrides a method that this one repeats (`RESTS_ON`): a class derived from
    `LogisticRegression` with a `fit` of its own is fitted by that, not by the path of the class it is derived from.
    """
    offered = _depth(probe, name)
    if offered is None:
        return None
    overridden = [_depth(probe, other) for other in RESTS_ON[name]]
    return None if any(depth is not None and depth < offered for depth in overridden) else getattr(probe, name)


def strength_of(probe: Any) -> tuple[str, tuple[float, ...]] | None:
    """Return (parameter, candidates) of a probe whose strength is chosen, or None."""
    return getattr(type(probe), "strength", None)


def closed_form(probe: Any) -> bool:
    """Return whether the probe says that it is fitted at the cost of a few matrix products."""
    return bool(getattr(type(probe), "closed_form", False))


def plain_settings(probe: Any) -> dict[str, Any]:
    """Return a probe's parameters as values a result may hold; any other value becomes {"repr": its text}."""
    return {name: _plain(value) for name, value in probe.get_params(deep=False).items()}


def _depth(probe: Any, name: str) -> int | None:
    """Return how far up its line of ancestors a probe's method is defined: 0 for its own class."""
    return next((i for i, kind in enumerate(type(probe).__mro__) if name in vars(kind)), None)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, tuple | list):
        items = tuple(map(_plain, value))
        return {"repr": repr(value)} if any(isinstance(item, dict) for item in items) else items
    return value if value is None or isinstance(value, bool | int | float | str) else {"repr": repr(value)}
