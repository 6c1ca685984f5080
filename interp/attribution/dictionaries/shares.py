"""How much of what flows to a target its dictionaries leave to their errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from interp.attribution.dictionaries.protocol import Written
from interp.attribution.dictionaries.site import Site
from interp.attribution.dictionaries.sweep import sweep
from interp.attribution.linearised import start_of
from interp.attribution.results import Target

if TYPE_CHECKING:
    from interp.attribution.dictionaries.features import Features


@torch.no_grad()
def error_share(
    features: Features, targets: Target | Sequence[Target], weights: Sequence[float] | None = None
) -> float:
    """Return the absolute flow through error nodes relative to all decomposed flow.

        Σ |error(t) · g(t)| / Σ |write(t) · g(t)|

    over all dictionaries and positions (from `first` on), g being the target's covector carried back over all paths
    and write what is decomposed. 0: the dictionaries explain everything that reaches the target; 1: as if there were
    none, which is what random directions give; above 1: they put flow in that is not there.

    Args:
        features: an input with dictionaries.
        targets: one target, or several, whose flows are added.
        weights: one for each target; 1 by default.

    Returns:
        The share.

    >>> frozen, target = attribution.freeze(model, tokens), attribution.logit(model, " Paris")
    >>> few, all_neurons = (attribution.features(frozen, n) for n in (4, model.spec.d_mlp))
    >>> error_share(few, target), error_share(all_neurons, target)
    (0.279, 0.053)
    """
    several = list(targets) if isinstance(targets, Sequence) else [targets]
    shares = [1.0] * len(several) if weights is None else list(weights)
    sums = np.zeros(2)
    for target, weight in zip(several, shares, strict=True):
        sums += weight * np.array(list(_flows(features, target).values())).reshape(-1, 2).sum(0)
    return float(sums[0] / sums[1]) if sums[1] else 0.0


@torch.no_grad()
def error_shares(features: Features, target: Target) -> dict[str, float]:
    """Return the error share of each dictionary, by its place.

    See `error_share`.

    >>> mixed = attribution.features(attribution.freeze(model, tokens), 4)
    >>> error_shares(mixed, attribution.logit(model, " Paris"))
    {'MLP0': 0.263, 'MLP1': 0.380, 'MLP2': 0.010}
    """
    flows = reversed(_flows(features, target).items())
    return {name: float(error / whole) if whole else 0.0 for name, (error, whole) in flows}


def _flows(features: Features, target: Target) -> dict[str, tuple[float, float]]:
    """Return by place (absolute flow through the error, through what is decomposed)."""
    linear, layout, flows = features.linear(target), features.layout, {}

    def visit(layer: int, stage: Written, site: Site | None, covectors: Tensor) -> None:  # noqa: ARG001
        if site is None:
            return
        index, slots = layout.error(site), layout.slots(site)
        error = (features.writes[index] * covectors).sum(-1)
        rest = torch.einsum("ctm,tm->t", features.writes[slots.start : index], covectors)
        rest = rest + (features.writes[index + 1] * covectors).sum(-1)
        used = slice(features.first, None)
        flows[site.place.name] = float(error[used].abs().sum()), float((error + rest)[used].abs().sum())

    sweep(features, start_of(features, linear), linear.visible, visit)
    return flows
