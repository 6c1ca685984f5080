"""What the protocol asks of activations and probes before it uses them."""

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
"""A set is affirmative or negated when the mean of its polarities is beyond this."""


def check(acts: Activations, probe: Any) -> None:
    """`UsageError` for activations or probes that a protocol of vectors cannot use."""
    if isinstance(probe, type):
        raise UsageError(f"{probe.__name__} is a class: give a probe made of it, {probe.__name__}().")
    if acts.whole:
        raise UsageError('These are activations of every token: collect position="last", or another rule, to sweep.')
    if getattr(type(probe), "reads_tokens", False):
        name = type(probe).__name__
        raise UsageError(f"{name} reads all tokens of a statement, a sweep one vector of it: fit it by itself.")
    scored = hasattr(probe, "decision_function") or hasattr(probe, "predict_proba")
    if not scored or not all(hasattr(probe, name) for name in ("fit", "get_params")):
        raise UsageError(
            f"{probe!r} is not a probe: give probes.LogisticRegression() or another classifier of scikit-learn's kind, "
            "with decision_function or predict_proba."
        )
    check_pairs(acts.data, probe)
    if acts.values.dtype not in (torch.float16, torch.float32, torch.float64):
        raise UsageError(f"Activations must be float32 numbers, not {acts.values.dtype}: convert them by .float().")
    if not all(bool(torch.isfinite(layers).all()) for layers in acts.values):
        raise UsageError(f"The activations of {acts.data.name} hold NaN or infinity: collect them in a wider dtype.")


def check_pairs(data: Statements, probe: Any) -> None:
    """`UsageError` for a probe that learns from pairs where the statements name none, or all have one polarity."""
    if not isinstance(probe, PairProbe):
        return
    if data.pair is None or data.polarity is None or len(set(data.polarity.tolist())) < 2:
        raise UsageError(
            f"{type(probe).__name__} learns from statements beside their denials, and {data.name} does not hold "
            'both: give a file with the columns "pair" and "polarity", or join two sets by probes.paired.'
        )


def as_torch(mask: np.ndarray) -> Tensor:
    """A numpy mask as a torch one."""
    return torch.from_numpy(np.ascontiguousarray(mask))


def polarity_of(data: Statements) -> int:
    """+1 or -1 where at least nine in ten statements agree, else 0; 0 where the set does not say."""
    if data.polarity is None:
        return 0
    mean = float(data.polarity.mean())
    return int(np.sign(mean)) if abs(mean) >= MOSTLY else 0
