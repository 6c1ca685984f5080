"""One call for all layers, whatever the probe."""

from __future__ import annotations

import inspect
from typing import Any, TypeVar, cast

import numpy as np
from jaxtyping import Float
from sklearn.base import clone
from torch import Tensor

from probes.estimators.base import as_array
from probes.estimators.capabilities import capability

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

    Probes that offer `fit_layers` solve all layers together; any other scikit-learn classifier is fitted in a loop
    (`probes.estimators.capabilities`).
    `pairs`, `polarity` and `topics` (one entry a row) go to the probes whose `fit` takes them, and are left out for
    the rest, so that one call serves every probe. Raises what the probe's `fit` raises.
    """
    extra = {"pairs": pairs, "polarity": polarity, "topics": topics}
    extra = {name: value for name, value in extra.items() if value is not None and name in _arguments(probe)}
    if together := capability(probe, "fit_layers"):
        return together(X, y, **extra)
    labels = as_array(y)
    return [cast(Any, clone(probe)).fit(as_array(layer), labels, **extra) for layer in X]


def scores_of(fitted: Any, X: Float[Tensor, "n d"] | np.ndarray) -> Float[np.ndarray, " n"]:
    """Return the signed score of each row, above 0 for the greater class.

    A classifier without `decision_function` gives its log-odds log(p / (1 - p)), p limited to [1e-12, 1 - 1e-12].
    """
    if hasattr(fitted, "decision_function"):
        return np.asarray(fitted.decision_function(as_array(X)), np.float64)
    true = np.clip(fitted.predict_proba(as_array(X))[:, 1].astype(np.float64), 1e-12, 1 - 1e-12)
    return np.log(true) - np.log1p(-true)


def _arguments(probe: Any) -> set[str]:
    return set(inspect.signature(type(probe).fit).parameters)
