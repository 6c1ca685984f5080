"""One call for all layers, whatever the probe."""

from __future__ import annotations

from typing import Any, TypeVar

from jaxtyping import Float
from sklearn.base import clone
from torch import Tensor

Fitted = TypeVar("Fitted")


def fit_layers(
    probe: Fitted,
    X: Float[Tensor, "layer n d"],
    y: Any = None,
    *,
    pairs: Any = None,
    polarity: Any = None,
    groups: Any = None,
) -> list[Fitted]:
    """One fitted copy of `probe` a layer, equal to fitting each layer on its own.

    Probes that offer `fit_layers` solve all layers together; any other scikit-learn classifier is fitted in a loop.
    `pairs`, `polarity` and `groups` (one entry a row) go to the probes whose `fit` takes them, and are left out for
    the rest, so that one call serves every probe. Raises what the probe's `fit` raises.
    """
    extra = {"pairs": pairs, "polarity": polarity, "groups": groups}
    extra = {name: value for name, value in extra.items() if value is not None and name in _arguments(probe)}
    if hasattr(probe, "fit_layers"):
        return probe.fit_layers(X, y, **extra)  # pyright: ignore[reportAttributeAccessIssue]
    return [clone(probe).fit(layer, y, **extra) for layer in X]


def _arguments(probe: Any) -> set[str]:
    import inspect

    return set(inspect.signature(type(probe).fit).parameters)
