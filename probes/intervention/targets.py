"""Score of a probe as an attribution target.

It can be attributed to components, tokens and paths.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from interp import attribution
from interp.attribution.results import DirectionTarget
from interp.errors import UsageError
from probes.layers import EMBEDDING, read_layer

if TYPE_CHECKING:
    from interp.model import Model


def as_target(model: Model, probe: Any, layer: int | str, position: int = -1) -> DirectionTarget:
    """Return the projection on a linear probe as an attribution target.

    The projection is x · direction_. The residual stream is a sum of writes, and no norm is applied before the probe,
    so the target is exactly linear in them. The `bias_` of the probe does not come from any component and is not
    included: score = target + bias_. The name of the target states it.

    Args:
        model: the model.
        probe: a fitted linear probe in raw activation space.
        layer: layer l is the residual stream after block l; -1 or "embed" is the embedding.
        position: position of the token in the prompt.

    Returns:
        A target for `attribution.direct`, `attribution.path_tree` and similar functions.

    Raises:
        UsageError: a probe without a direction or not fitted, or a layer that does not exist.

    Example:
        >>> probe = probes.MassMean().fit(np.outer([0, 2], np.eye(24)[0]), [0, 1])
        >>> as_target(model, probe, layer=1).name
        'MassMean score at layer 1, less its bias of -2.000'
    """
    if not hasattr(probe, "direction_"):
        raise UsageError(f"{type(probe).__name__} has no direction_: give a fitted linear probe.")
    layer = read_layer(layer, model.spec.n_layer)
    return attribution.direction(
        model,
        probe.direction_,
        max(layer, 0),
        position,
        stage="resid_pre" if layer == EMBEDDING else "resid_post",
        name=f"{type(probe).__name__} score at layer {layer}, less its bias of {float(probe.bias_):+.3f}",
    )
