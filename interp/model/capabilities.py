"""Which parts of the toolkit a model can be used in, by its level and its family."""

from __future__ import annotations

from dataclasses import dataclass

from interp.model.check import check
from interp.model.model import Model
from interp.model.observed import not_exact

EVERY = ("runs and caches", "edits", "generation", "probes", "sparse autoencoders")
"""Parts that need only the run of the model and its residual stream."""
EXACT = ("freeze, path trees, orders", "contrast", "circuits", "discovery", "logit lens")
"""Parts that need the arithmetic of the family."""


@dataclass(frozen=True)
class Capability:
    """Part of the toolkit, and whether it takes a model.

    It includes the reason if the model cannot.

    >>> from interp.model import capabilities
    >>> part = capabilities(model)[0]
    >>> part.name, part.works
    ('runs and caches', True)
    """

    name: str
    works: bool
    reason: str = ""


def capabilities(model: Model) -> tuple[Capability, ...]:
    """List every part of the toolkit, with whether it takes the model.

    >>> [one.name for one in capabilities(model) if not one.works]
    []
    """
    result = [Capability(name, True) for name in EVERY]
    pieces = model.structure is None or not model.structure.reason
    reason = "" if model.structure is None else model.structure.reason
    result.append(Capability("hooks of attention and MLP", pieces, reason))
    reason = "" if model.structure is None else str(not_exact(model.structure.family))
    result.extend(Capability(name, not reason, reason) for name in EXACT)
    return tuple(result)


def check_error(model: Model) -> float | None:
    """Return the error of `interp.check` for an exact model.

    It is None for an observed one.
    """
    return None if model.structure is not None else check(model).worst
