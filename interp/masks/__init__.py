"""Pruning masks of many small networks at once.

    def loss(weights, step): ...                              # (instances,): every tensor's first axis counts networks
    trained = masks.train(weights, loss, steps=1000, lr=1e-3)
    mask = masks.prune(trained, masks.magnitude, density=0.1)
    masks.train(masks.apply(trained, mask), loss, steps=300, lr=1e-3, mask=mask)

Weights are a dictionary of tensors with networks (seeds, settings) along the first axis, so that one call prunes them
all. Gates that multiply neurons, heads or edges are weights of value 1, and are scored and learned alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from interp.lazy import attach

if TYPE_CHECKING:
    from interp.masks.learned import Learned as Learned, learn as learn
    from interp.masks.movement import movement as movement
    from interp.masks.scores import (
        flow_by_tensor as flow_by_tensor,
        grasp as grasp,
        magnitude as magnitude,
        random as random,
        snip as snip,
        synflow as synflow,
    )
    from interp.masks.selection import (
        apply as apply,
        density_of as density_of,
        empty_tensors as empty_tensors,
        keep as keep,
        prune as prune,
        schedule as schedule,
        smallest as smallest,
    )
    from interp.masks.tickets import Ticket as Ticket, lottery as lottery
    from interp.masks.training import gradients as gradients, train as train
    from interp.masks.units import Units as Units, spread as spread, unit_scores as unit_scores

attach(__name__)
