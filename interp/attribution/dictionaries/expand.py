"""One round of the path tree with dictionaries: latents and errors are expanded like heads and MLPs.

    latent j at t    child (c, t):  write(c)_t · a_j,  times (u · d_j)
    error at t       child (c, t):  write(c)_t · (what it decomposes, less the dictionary)ᵀ u

with u the covector on the write, d_j the latent's direction and a_j what it reads with. The error of a layer that
cross-layer latents write includes their maps too, from the layers that they read, whose streams see less:

    child (c, t):  write(c)_t · (g − Σ_origins [c wrote before origin] v_origin),   v_origin = Σ_j (u · d_j) a_j
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from interp.attribution.contrast import Contrast
from interp.attribution.dictionaries.site import Site
from interp.attribution.expand import ByPosition, Children, Expander, Nodes
from interp.attribution.expand_contrast import SecantsByPosition
from interp.attribution.linearised import Linear, NodeKind
from interp.errors import UsageError

if TYPE_CHECKING:
    from interp.attribution.dictionaries.features import Features


def expander(features: Features, nodes: NodeKind, linear: Linear) -> Expander:
    """Return the expander of a tree whose nodes are positions.

    Raises `UsageError` for whole components, because a slot holds different latents at different positions.
    """
    if nodes != "position":
        raise UsageError('Latents are nodes at positions: grow the tree with nodes="position", or take edges.')
    made = _SecantsByPosition if isinstance(features.base, Contrast) else _ByPosition
    return made(features, linear)


class _Dictionaries:
    """Mixin of both expanders that expands latents and errors.

    In the place of MLPs.
    """

    features: Features

    def batch(self) -> None:
        """Return None: what a head sees is not all that wrote before it, so that `round` expands it."""

    def hidden(self, values: Tensor, runs: list[tuple[int, slice, int]]) -> Tensor:
        """Set to 0, in place, what a node cannot see.

        Later writes, and writes that were decomposed.
        """
        for _, rows, seen in runs:
            values[:, rows, seen:] = 0
            values[:, rows, :seen] *= self.features.shown[seen]
        return values

    def back(self, nodes: Nodes) -> tuple[Tensor, Tensor]:
        """Carry the nodes of one MLP, or of dictionaries, back: (covectors, constants)."""
        features, layout = self.features, self.features.layout
        components = [layout.components[i] for i in nodes.components]
        at = torch.from_numpy(nodes.positions)
        if layout.site_of(components[0]) is None:
            return super().here(components[0].layer, nodes)  # type: ignore[misc]
        vectors, constants = torch.empty_like(nodes.covectors), nodes.covectors.new_empty(len(components))
        groups: dict[tuple[str, str], list[int]] = {}
        for i, component in enumerate(components):
            groups.setdefault((component.site, component.kind), []).append(i)
        for (_, kind), members in groups.items():
            site, rows = layout.site_of(components[members[0]]), torch.tensor(members)
            assert site is not None
            here, covectors = at[rows], nodes.covectors[rows]
            if kind == "latent":
                slots = torch.tensor([components[i].index for i in rows])
                flow = (covectors * site.decoders[here, slots]).sum(-1)
                covector = flow[:, None] * site.encoders[here, slots], flow * site.constants[here, slots]
            elif kind == "error":
                covector = features.error_back(site, here, covectors)
            else:
                assert site.skip is not None
                covector = site.skip.back(here, covectors)
            vectors[rows], constants[rows] = covector
        return vectors, constants

    def round(self, nodes: Nodes) -> Iterator[Children]:
        """Yield the children of some nodes; some errors see several streams."""
        row = {int(row): i for i, row in enumerate(nodes.rows)}
        for children in super().round(nodes):  # type: ignore[misc]
            parents = np.array([row[int(parent)] for parent in children.parents])
            for i, j in enumerate(parents):
                site = self._error_site(int(nodes.components[j]))
                if site is not None:
                    self._add_earlier(children, i, site, int(nodes.positions[j]), nodes.covectors[j])
            yield children

    def _add_earlier(self, children: Children, i: int, site: Site, at: int, covector: Tensor) -> None:
        """Add what earlier streams contribute to an error's children, in place."""
        for seen, back in self.features.error_earlier(site, slice(at, at + 1), covector[None]):
            values = self.features.writes[:seen, at] @ back[0] * self.features.shown[seen]
            children.values[0, i, :seen] += values
        children.vectors[i] = covector

    def carry(self, nodes: Nodes, parents: Nodes) -> Tensor:
        """Return covectors of children.

        Those of an error depend on the streams a child wrote to.
        """
        carried = super().carry(nodes, parents)  # type: ignore[misc]
        for i in range(len(parents.components)):
            site = self._error_site(int(parents.components[i]))
            if site is None:
                continue
            at, covector = slice(int(parents.positions[i]), int(parents.positions[i]) + 1), parents.covectors[i][None]
            back = self.features.error_back(site, at, covector)[0]
            earlier = self.features.error_earlier(site, at, covector)
            carried[i] = sum((more[0] for seen, more in earlier if nodes.components[i] < seen), back[0])
        return carried

    def _error_site(self, component: int) -> Site | None:
        """Return the site of an error, if cross-layer latents write there.

        Else None.
        """
        layout = self.features.layout
        if not 0 <= component < len(layout.components) or layout.components[component].kind != "error":
            return None
        site = layout.site_of(layout.components[component])
        return site if site is not None and site.earlier else None

    def identify(self, components: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """Return indices into the names, in which each latent has its own."""
        layout = self.features.layout
        n_slot, n_named = len(layout.components), len(layout.named)
        indices = components.copy()
        own = (components >= 0) & (components < n_slot)
        indices[own] = layout.identity[components[own], positions[own]]
        indices[components >= n_slot] += n_named - n_slot
        return indices


class _ByPosition(_Dictionaries, ByPosition):
    """A frozen input's nodes."""

    def __init__(self, features: Features, linear: Linear):
        super().__init__(features, linear)  # type: ignore[arg-type]
        self.features, self.names = features, tuple(component.name for component in features.layout.named)

    def here(self, layer: int, nodes: Nodes) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """Return covectors and constants."""
        return self.back(nodes)


class _SecantsByPosition(_Dictionaries, SecantsByPosition):
    """A contrast's nodes."""

    def __init__(self, features: Features, linear: Linear):
        super().__init__(features, linear)  # type: ignore[arg-type]
        own = tuple(component.name for component in features.layout.named)
        self.features, self.names = features, own + self.table.names[self.table.n_layout :]

    def here(self, layer: int, nodes: Nodes) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """Return covectors and constants."""
        return self.back(nodes)
