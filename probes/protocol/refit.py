"""The probe a sweep chose, fitted again."""

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


def refit(found: Sweep, acts: Activations, sides: Split | None = None, probe: Any = None) -> Any:
    """Return the probe a sweep chose, fitted on the train side of the same activations and the same split.

    Args:
        found: the sweep.
        acts: the activations it was made of.
        sides: as given to `sweep`.
        probe: an unfitted probe of the class that was swept, where that is not one of `probes`. Without it the class
            is looked up among the modules that are imported already; a file never causes an import.

    Raises `UsageError` for other statements or another test side, and for a class that cannot be looked up.
    """
    if found.name != acts.data.name or len(acts) != found.n_train + found.n_test + found.dropped:
        raise UsageError(f"The sweep is of {found.name}, not of these {len(acts)} rows of {acts.data.name}.")
    sides = split(acts.data, found.seed) if sides is None else own_split(acts.data, sides.train, sides.test)
    if not np.array_equal(np.flatnonzero(sides.test), found.predictions.rows):
        raise UsageError("The sweep was made with another split: give refit the same sides= as sweep.")
    probe = with_strength(_unfitted(found, probe), found.best.strength)
    rows = acts.at(found.best.layer, found.best.position)[as_torch(sides.train)]
    train = acts.data.take(sides.train)
    return batched.fit_layers(probe, rows[None], train.labels, **extras(train))[0]


def _unfitted(found: Sweep, probe: Any) -> Any:
    """Return a probe of the sweep's class with the sweep's settings."""
    name = f"{found.module}.{found.probe}"
    if probe is not None:
        if (type(probe).__module__, type(probe).__name__) != (found.module, found.probe):
            raise UsageError(f"The sweep is of {name}, not of {type(probe).__module__}.{type(probe).__name__}.")
        return clone(probe)
    kind = _class(found)
    if kind is None:
        raise UsageError(f"{name} is not imported: import it first, or give refit an unfitted one as probe=.")
    if unknown := [key for key, value in found.settings.items() if isinstance(value, dict)]:
        raise UsageError(f"The sweep does not hold the setting {unknown[0]} of {name}: give refit the probe as probe=.")
    return kind(**found.settings)


def _class(found: Sweep) -> Any:
    """Return the class a sweep names: one of `probes`, or an estimator of a module that is imported; else None."""
    import probes

    if found.module.partition(".")[0] == "probes":
        return getattr(probes, found.probe) if found.probe in KINDS else None
    kind = getattr(sys.modules.get(found.module), found.probe, None)
    return kind if isinstance(kind, type) and issubclass(kind, BaseEstimator) else None
