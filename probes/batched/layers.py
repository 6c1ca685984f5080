"""Fits of any probe on all layers in one call."""

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
    """Fit one copy of a probe per layer, equal to separate fits.

    Probes with `fit_layers` solve all layers jointly; any other scikit-learn classifier is fitted in a loop
    (`probes.estimators.capabilities`).

    Args:
        probe: an unfitted probe.
        X: (layer, n, d) activations.
        y: (n,) labels.
        pairs: name of each row's pair, for probes whose `fit` takes it.
        polarity: +1 or -1 for each row, for probes whose `fit` takes it.
        topics: topic of each row, for probes whose `fit` takes it.

    Returns:
        The fitted copies, in the order of the layers.

    Raises:
        UsageError: whatever the probe's `fit` refuses.

    Example:
        >>> X = torch.tensor([[[0.0], [1.0]], [[0.0], [3.0]]])  # two layers, two rows, width 1
        >>> [probe.direction_.tolist() for probe in fit_layers(probes.MassMean(), X, [0, 1])]
        [[1.0], [3.0]]
    """
    extra = {"pairs": pairs, "polarity": polarity, "topics": topics}
    extra = {name: value for name, value in extra.items() if value is not None and name in _arguments(probe)}
    if fit_all := capability(probe, "fit_layers"):
        return fit_all(X, y, **extra)
    labels = as_array(y)
    return [cast(Any, clone(probe)).fit(as_array(layer), labels, **extra) for layer in X]


def scores_of(fitted: Any, X: Float[Tensor, "n d"] | np.ndarray) -> Float[np.ndarray, " n"]:
    """Return the signed score of each row.

    The score is above 0 for the greater class. A classifier without `decision_function` gives its log-odds
    log(p / (1 - p)), p limited to [1e-12, 1 - 1e-12].

    >>> X, y = [[0.0, 1.0], [0.0, 3.0], [2.0, 1.0], [2.0, 3.0]], [0, 0, 1, 1]
    >>> scores_of(probes.MassMean().fit(X, y), np.array(X)).tolist()
    [-2.0, -2.0, 2.0, 2.0]
    """
    if hasattr(fitted, "decision_function"):
        return np.asarray(fitted.decision_function(as_array(X)), np.float64)
    true = np.clip(fitted.predict_proba(as_array(X))[:, 1].astype(np.float64), 1e-12, 1 - 1e-12)
    return np.log(true) - np.log1p(-true)


def _arguments(probe: Any) -> set[str]:
    return set(inspect.signature(type(probe).fit).parameters)
