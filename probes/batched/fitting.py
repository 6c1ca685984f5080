"""One call for all layers, whatever the probe."""

from __future__ import annotations

import inspect
from typing import Any, TypeVar, cast

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
    topics: Any = None,
) -> list[Fitted]:
    """One fitted copy of `probe` a layer, equal to fitting each layer on its own.

    Probes that offer `fit_layers` solve all layers together; any other scikit-learn classifier is fitted in a loop.
    `pairs`, `polarity` and `topics` (one entry a row) go to the probes whose `fit` takes them, and are left out for
    the rest, so that one call serves every probe. Raises what the probe's `fit` raises.
    """
    extra = {"pairs": pairs, "polarity": polarity, "topics": topics}
    extra = {name: value for name, value in extra.items() if value is not None and name in _arguments(probe)}
    if hasattr(probe, "fit_layers"):
        return cast(Any, probe).fit_layers(X, y, **extra)
    return [cast(Any, clone(probe)).fit(layer, y, **extra) for layer in X]


def _arguments(probe: Any) -> set[str]:
    return set(inspect.signature(type(probe).fit).parameters)
