"""Optional capabilities of a probe besides scikit-learn's `fit`, declared by its class.

Every scikit-learn classifier of two classes is a probe. These attributes and methods make fits or model selection
faster:

    strength         (parameter, candidates), a class attribute: the parameter that cross-validation chooses
    closed_form      True, a class attribute: fitting is a few matrix products, cheap enough for 200 shuffled labelings
    fit_layers       (X, y) -> [fitted, ...]: one fitted copy for each layer of X (layer, n, d)
    fit_path         (X, y, strengths, weights) -> Linear: every fold, layer and strength jointly
    fit_labelings    (X, labels) -> Linear or None: every labeling of the rows X (n, d) jointly

If a class lacks one of them, `fit` is called in a loop.
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
"""The methods whose result each capability must reproduce."""


@dataclass(frozen=True, eq=False)
class Linear:
    """Several fitted linear probes.

    `score = x @ direction + bias` in raw activation space, float64.

    >>> Linear(torch.zeros(3, 4), torch.zeros(3)).directions.shape
    torch.Size([3, 4])
    """

    directions: Float[Tensor, "*fit d"]
    biases: Float[Tensor, "*fit"]


def capability(probe: Any, name: str) -> Callable[..., Any] | None:
    """Return the method `name` of a probe, or None.

    Returns None also if a subclass overrides a method that the capability must reproduce (`RESTS_ON`): a subclass of
    `LogisticRegression` with its own `fit` is fitted by that, not by the path of its parent.

    >>> capability(probes.Ridge(), "fit_path").__name__
    'fit_path'
    """
    offered = _depth(probe, name)
    if offered is None:
        return None
    overridden = [_depth(probe, other) for other in RESTS_ON[name]]
    return None if any(depth is not None and depth < offered for depth in overridden) else getattr(probe, name)


def strength_of(probe: Any) -> tuple[str, tuple[float, ...]] | None:
    """Return the name and the candidates of a probe's strength, or None.

    >>> strength_of(probes.Ridge())[0]
    'alpha'
    """
    return getattr(type(probe), "strength", None)


def closed_form(probe: Any) -> bool:
    """Return whether fitting the probe costs only a few matrix products.

    >>> closed_form(probes.MassMean()), closed_form(probes.SAPLMA())
    (True, False)
    """
    return bool(getattr(type(probe), "closed_form", False))


def plain_settings(probe: Any) -> dict[str, Any]:
    """Return a probe's parameters as plain values.

    Any other value becomes {"repr": its text}.

    >>> plain_settings(probes.Ridge(alpha=2.0))
    {'alpha': 2.0}
    """
    return {name: _plain(value) for name, value in probe.get_params(deep=False).items()}


def _depth(probe: Any, name: str) -> int | None:
    """Return the MRO index of the class that defines a method.

    It is 0 for the probe's own class.
    """
    return next((i for i, kind in enumerate(type(probe).__mro__) if name in vars(kind)), None)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, tuple | list):
        items = tuple(map(_plain, value))
        return {"repr": repr(value)} if any(isinstance(item, dict) for item in items) else items
    return value if value is None or isinstance(value, bool | int | float | str) else {"repr": repr(value)}
