"""Refitting of the probe that a sweep chose."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator, clone

from interp.errors import UsageError
from probes import batched
from probes.estimators.persistence import KINDS
from probes.protocol.checks import as_torch
from probes.protocol.model_selection import extras, with_strength
from probes.protocol.splits import Split, own_split, split

if TYPE_CHECKING:
    from probes.activations import Activations
    from probes.protocol.results import Sweep


def refit(sweep: Sweep, acts: Activations, sides: Split | None = None, probe: Any = None) -> Any:
    """Fit the chosen probe of a sweep again.

    It is fitted on the same train side as in the sweep.

    Args:
        sweep: the sweep.
        acts: the activations of the sweep.
        sides: the split, as given to `sweep`.
        probe: an unfitted probe of the swept class, needed only for classes outside `probes`. Without it the class is
            looked up in modules that are already imported; a file never causes an import.

    Returns:
        The fitted probe.

    Raises:
        UsageError: other statements or another test side, or a class that cannot be looked up.

    Example:
        >>> refit(probes.sweep(acts, probe=probes.MassMean(), controls=False), acts)  # acts = probes.collect(...)
        MassMean()
    """
    if sweep.name != acts.data.name or len(acts) != sweep.n_train + sweep.n_test + sweep.dropped:
        raise UsageError(
            f"The sweep used {sweep.name}, not these {len(acts)} rows of {acts.data.name}: give its activations."
        )
    sides = split(acts.data, sweep.seed) if sides is None else own_split(acts.data, sides.train, sides.test)
    if not np.array_equal(np.flatnonzero(sides.test), sweep.predictions.rows):
        raise UsageError("The sweep used another split: give refit the same sides= as sweep.")
    probe = with_strength(_unfitted(sweep, probe), sweep.best.strength)
    rows = acts.at(sweep.best.layer, sweep.best.position)[as_torch(sides.train)]
    train = acts.data.take(sides.train)
    return batched.fit_layers(probe, rows[None], train.labels, **extras(train))[0]


def _unfitted(sweep: Sweep, probe: Any) -> Any:
    """Return an unfitted probe of the sweep's class with the sweep's settings."""
    name = f"{sweep.module}.{sweep.probe}"
    if probe is not None:
        if (type(probe).__module__, type(probe).__name__) != (sweep.module, sweep.probe):
            raise UsageError(f"The sweep used {name}, not {type(probe).__module__}.{type(probe).__name__}.")
        return clone(probe)
    kind = _class(sweep)
    if kind is None:
        raise UsageError(f"{name} is not imported: import it first, or give refit an unfitted instance as probe=.")
    if unknown := [key for key, value in sweep.settings.items() if isinstance(value, dict)]:
        raise UsageError(f"The sweep did not save the setting {unknown[0]} of {name}: give refit the probe as probe=.")
    return kind(**sweep.settings)


def _class(sweep: Sweep) -> Any:
    """Return the class that a sweep names, or None.

    It is one of `probes` or of an imported module.
    """
    import probes

    if sweep.module.partition(".")[0] == "probes":
        return getattr(probes, sweep.probe) if sweep.probe in KINDS else None
    kind = getattr(sys.modules.get(sweep.module), sweep.probe, None)
    return kind if isinstance(kind, type) and issubclass(kind, BaseEstimator) else None
