"""Checks of activations and probes before the protocol uses them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from interp.errors import UsageError
from probes.activations import Activations
from probes.estimators.pairs import PairProbe
from probes.statements import Statements

MOSTLY = 0.8
"""A set counts as affirmative or negated if the absolute mean of its polarities is at least this."""


def check(acts: Activations, probe: Any) -> None:
    """Raise `UsageError` for activations or probes that the protocol cannot use.

    >>> check(acts, probes.MassMean())  # acts = probes.collect(model, data)
    """
    if isinstance(probe, type):
        raise UsageError(f"{probe.__name__} is a class: give an instance, {probe.__name__}().")
    if acts.whole:
        raise UsageError(
            'These are activations of every token: collect with position="last" or another single position.'
        )
    if getattr(type(probe), "reads_tokens", False):
        name = type(probe).__name__
        raise UsageError(
            f"{name} reads all tokens of a statement, but the protocol uses one vector: call its fit instead."
        )
    scored = hasattr(probe, "decision_function") or hasattr(probe, "predict_proba")
    if not scored or not all(hasattr(probe, name) for name in ("fit", "get_params")):
        raise UsageError(
            f"{probe!r} is not a probe: give probes.LogisticRegression() or another scikit-learn classifier with "
            "decision_function or predict_proba."
        )
    check_pairs(acts.data, probe)
    if acts.values.dtype not in (torch.float16, torch.float32, torch.float64):
        raise UsageError(f"Activations must be float32, not {acts.values.dtype}: convert them with .float().")
    if not all(bool(torch.isfinite(layers).all()) for layers in acts.values):
        raise UsageError(f"The activations of {acts.data.name} contain NaN or infinity: collect them in a wider dtype.")


def check_pairs(data: Statements, probe: Any) -> None:
    """Raise `UsageError` if a probe needs pairs and the statements have none.

    >>> check_pairs(data, probes.MassMean())  # needs no pairs; data = probes.read_statements(...)
    """
    if not isinstance(probe, PairProbe):
        return
    if data.pair is None or data.polarity is None or len(set(data.polarity.tolist())) < 2:
        raise UsageError(
            f"{type(probe).__name__} needs statements together with their negations, and {data.name} does not contain "
            'both: give a file with the columns "pair" and "polarity", or join two sets with probes.paired.'
        )


def as_torch(mask: np.ndarray) -> Tensor:
    """Return a numpy mask as a torch tensor.

    >>> as_torch(np.array([True, False]))
    tensor([ True, False])
    """
    return torch.from_numpy(np.ascontiguousarray(mask))


def polarity_of(data: Statements) -> int:
    """Return the common polarity of a set: +1, -1 or 0.

    It is +1 or -1 if at least nine in ten statements have that polarity, else 0. 0 also if the polarity is unknown.

    >>> polarity_of(data)  # data = probes.read_statements(...)
    1
    """
    if data.polarity is None:
        return 0
    mean = float(data.polarity.mean())
    return int(np.sign(mean)) if abs(mean) >= MOSTLY else 0
