"""A probe's score as a target of attribution: which components, tokens and paths write what it reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from interp import attribution
from interp.attribution.results import DirectionTarget
from interp.errors import UsageError
from probes.layers import EMBEDDING, read_layer

if TYPE_CHECKING:
    from interp.model import Model


def as_target(model: Model, probe: Any, layer: int | str, position: int = -1) -> DirectionTarget:
    """The product x · direction_ of a linear probe at one layer and position, for `attribution.path_tree` and the like.

    The residual stream is a sum of writes, so the target is exactly linear in them: no norm stands between. What the
    probe adds, `bias_`, is no component's doing and is left out; score = target + bias_ (the target's name says it).

    Args:
        model: the model.
        probe: a fitted linear probe, in raw activation space.
        layer: as in `collect`: l is the residual stream after block l; -1, or "embed", the embedding.
        position: of the token in the prompt.

    Raises `UsageError` for a probe without a direction or not fitted, or a layer that does not exist.
    """
    if not hasattr(probe, "direction_"):
        raise UsageError(f"{type(probe).__name__} has no direction_: only a fitted linear probe can be a target.")
    layer = read_layer(layer, model.spec.n_layer)
    return attribution.direction(
        model,
        probe.direction_,
        max(layer, 0),
        position,
        stage="resid_pre" if layer == EMBEDDING else "resid_post",
        name=f"{type(probe).__name__} score at layer {layer}, less its bias of {float(probe.bias_):+.3f}",
    )
