"""One round of the path tree with dictionaries: latents and errors taken back beside heads and MLPs.

    latent j at t    child (c, t):  write(c)_t · a_j,  times (u · d_j)
    error at t       child (c, t):  write(c)_t · (what it takes apart, less the dictionary)ᵀ u

with u the covector on the write, d_j the latent's direction and a_j what it reads with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from interp.attribution.contrast import Contrast
from interp.attribution.expand import ByPosition, Expander, Nodes
from interp.attribution.expand_contrast import SecantsByPosition
from interp.attribution.linearised import Linear, NodeKind
from interp.errors import UsageError

if TYPE_CHECKING:
    from interp.attribution.dictionaries.features import Features


def expander(features: Features, nodes: NodeKind, linear: Linear) -> Expander:
    """How nodes are taken back; `UsageError` for whole components, which a latent's slot is not."""
    if nodes != "position":
        raise UsageError('Latents are nodes at positions: grow the tree with nodes="position", or take edges.')
    made = _SecantsByPosition if isinstance(features.base, Contrast) else _ByPosition
    return made(features, linear)


class _Dictionaries:
    """What both expanders need to know of dictionaries: it overrides what they know of MLPs."""

    features: Features

    def hidden(self, values: Tensor, runs: list[tuple[int, slice, int]]) -> Tensor:
        """Set to 0, in place, what a node cannot see: what comes later, and what was taken apart before it."""
        for _, rows, seen in runs:
            values[:, rows, seen:] = 0
            values[:, rows, :seen] *= self.features.shown[seen]
        return values

    def back(self, nodes: Nodes) -> tuple[Tensor, Tensor]:
        """Nodes of one MLP, or of one dictionary, taken back: (covectors, constants)."""
        features, layout = self.features, self.features.layout
        components = [layout.components[i] for i in nodes.components]
        site, at = layout.site_of(components[0]), torch.from_numpy(nodes.positions)
        if site is None:
            found = features.pull.mlp_at(components[0].layer, at, nodes.covectors)
            return found if isinstance(found, tuple) else (found, found.new_zeros(len(found)))
        vectors, constants = torch.empty_like(nodes.covectors), nodes.covectors.new_empty(len(components))
        kinds = np.array([component.kind for component in components])
        for kind in np.unique(kinds):
            rows = torch.from_numpy(np.flatnonzero(kinds == kind))
            here, covectors = at[rows], nodes.covectors[rows]
            if kind == "latent":
                slots = torch.tensor([components[i].index for i in rows])
                flow = (covectors * site.decoders[here, slots]).sum(-1)
                found = flow[:, None] * site.encoders[here, slots], flow * site.constants[here, slots]
            elif kind == "error":
                found = features.error_back(site, here, covectors)
            else:
                assert site.skip is not None
                found = site.skip.back(here, covectors)
            vectors[rows], constants[rows] = found
        return vectors, constants

    def identify(self, components: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """Indices into the names, in which each latent is apart."""
        layout = self.features.layout
        n_slot, n_named = len(layout.components), len(layout.named)
        found = components.copy()
        own = (components >= 0) & (components < n_slot)
        found[own] = layout.identity[components[own], positions[own]]
        found[components >= n_slot] += n_named - n_slot
        return found


class _ByPosition(_Dictionaries, ByPosition):
    """A frozen input's nodes."""

    def __init__(self, features: Features, linear: Linear):
        super().__init__(features, linear)  # type: ignore[arg-type]
        self.features, self.names = features, tuple(component.name for component in features.layout.named)

    def here(self, layer: int, nodes: Nodes) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """Covectors and constants."""
        return self.back(nodes)


class _SecantsByPosition(_Dictionaries, SecantsByPosition):
    """A contrast's nodes."""

    def __init__(self, features: Features, linear: Linear):
        super().__init__(features, linear)  # type: ignore[arg-type]
        own = tuple(component.name for component in features.layout.named)
        self.features, self.names = features, own + self.table.names[self.table.n_layout :]

    def here(self, layer: int, nodes: Nodes) -> Any:  # noqa: ARG002
        """Covectors; a contrast has no constants."""
        return self.back(nodes)[0]
