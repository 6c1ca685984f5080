"""The components of a model in which dictionaries stand, in the order they write, and which of them a reader sees.

A transcoder's latents, its bias and its error stand where the MLP stood. An autoencoder decomposes what was written
already: what reads later sees its latents, bias and error instead of what they are made of, which only they see. So
what a reader sees are the components from `first` on among the first `seen` that were not replaced before. A
cross-layer latent has a slot in every layer that it writes, each of which sees what its origin sees.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Int

from interp.attribution.components import Component, Layout
from interp.attribution.dictionaries.site import Site


@dataclass(frozen=True)
class FeatureLayout(Layout):
    """Layout of components in which latents of dictionaries occupy slots.

    A latent slot of a site holds different latents at different positions.

    `base` is the layout without dictionaries, `sites` the dictionaries in the order of a run. `index` of a latent
    component is its slot; `named` lists each latent by its number, and `identity` is the index of a slot in it.
    """

    base: Layout
    sites: tuple[Site, ...]

    @cached_property
    def components(self) -> tuple[Component, ...]:
        """Every component, latents by slot."""
        return tuple(component for component, _ in self._order)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Their names; a latent's has the number of its slot."""
        return tuple(component.name for component in self.components)

    @cached_property
    def reads(self) -> Bool[np.ndarray, " n_component"]:
        """Which components read."""
        return np.array([component.reads for component in self.components])

    @cached_property
    def n_embed(self) -> int:
        """Number of components before the first block."""
        return self.base.n_embed

    def start(self, layer: int) -> int:
        """Return how many components write before the attention of block `layer`."""
        return self._starts[layer]

    def mlp(self, layer: int) -> int:
        """Return how many components write before the MLP of a block.

        The same holds for a dictionary in its place.
        """
        return self._mlps[layer]

    def visible(self, component: Component) -> int:
        """Return how many components have written when this one reads; see `window`."""
        return self.window(component)[1]

    def window(self, component: Component) -> tuple[int, int]:
        """Return the window (first, seen) of components that a component reads.

        It reads those from `first` on among the first `seen`.
        """
        if component.site:
            site = self._site[component.site]
            first, last = self._windows[component.site]
            if site.place.read == "write":
                return first, last
        layer = component.layer if component.origin < 0 else component.origin
        return 0, self.start(layer) if component.kind == "head" else self.read_by_mlp(layer)

    def read_by_mlp(self, layer: int) -> int:
        """Return how many components have written before a block's MLP reads."""
        return self.start(layer) if self.spec.parallel else self.mlp(layer)

    def shown(self, first: int, seen: int) -> Bool[np.ndarray, " seen"]:
        """Return which components a reader with this window sees.

        Among the first `seen`.
        """
        index = np.arange(seen)
        return (index >= first) & (self.until[:seen] >= seen)

    @cached_property
    def until(self) -> Int[np.ndarray, " n_component"]:
        """Number of components after which each is no longer visible.

        A component stops being visible when an autoencoder replaces it.
        """
        until = np.full(len(self.components), len(self.components))
        for site in self.sites:
            if site.place.read == "write":
                first, last = self._windows[site.place.name]
                until[first:last] = np.minimum(until[first:last], last)
        return until

    def site_of(self, component: Component) -> Site | None:
        """Return the dictionary that a component is part of."""
        return self._site.get(component.site)

    def slots(self, site: Site) -> slice:
        """Return the indices of a site's latents."""
        first = self._windows[site.place.name][1] if site.place.read == "write" else self.mlp(site.place.layer)
        return slice(first, first + site.n_slot)

    def error(self, site: Site) -> int:
        """Return the index of a site's error."""
        return self.slots(site).stop + (site.skip is not None)

    def block_part(self, visible: int) -> int:
        """Convert a number of visible components of `base` into this layout's."""
        if visible == len(self.base.components):
            return len(self.components)
        for layer in range(self.spec.n_layer):
            if visible == self.base.start(layer):
                return self.start(layer)
            if visible == self.base.mlp(layer):
                return self.mlp(layer)
        raise ValueError(f"{visible} components are not a whole stage of a block.")

    @cached_property
    def named(self) -> tuple[Component, ...]:
        """All components, each active latent by its number instead of its slot."""
        parts: list[Component] = []
        listed: set[tuple[str, int]] = set()
        for component in self.components:
            if component.kind != "latent":
                parts.append(component)
            elif (component.site, component.origin) not in listed:
                listed.add((component.site, component.origin))
                site = self._site[component.site]
                origin = component.layer if component.origin < 0 else component.origin
                latents = np.unique(site.latents[:, site.slots_by_origin[origin]])
                parts += [replace(component, index=int(i)) for i in latents[latents >= 0]]
        return tuple(parts)

    @cached_property
    def identity(self) -> Int[np.ndarray, "n_component n_token"]:
        """Index of each component in `named` at each position.

        −1 for an empty slot.
        """
        n_token = self.sites[0].latents.shape[0]
        number = {component: i for i, component in enumerate(self.named)}
        indices = np.empty((len(self.components), n_token), np.int64)
        for i, component in enumerate(self.components):
            if component.kind == "latent":
                here = self._site[component.site].latents[:, component.index].tolist()
                indices[i] = [number[replace(component, index=j)] if j >= 0 else -1 for j in here]
            else:
                indices[i] = number[component]
        return indices

    def listed(self, visible: int, position: int) -> tuple[np.ndarray, tuple[Component, ...]]:
        """Return (indices, components) of what a reader at a position sees."""
        seen = np.flatnonzero(self.shown(0, visible) & (self.identity[:visible, position] >= 0))
        return seen, tuple(self.named[i] for i in self.identity[seen, position])

    @cached_property
    def _site(self) -> dict[str, Site]:
        return {site.place.name: site for site in self.sites}

    @cached_property
    def _order(self) -> list[tuple[Component, str]]:
        """Components with the stage of the block in which they write."""
        order = [(component, "embed") for component in self.base.components[: self.n_embed]]
        for layer in range(self.spec.n_layer):
            order += list(self._block(layer))
        return order

    def _block(self, layer: int) -> Iterator[tuple[Component, str]]:
        start, mlp, end = self.base.start(layer), self.base.mlp(layer), self.base.start(layer + 1)
        here = {site.place.written: site for site in self.sites if site.place.layer == layer}
        own = {"attn_out": self.base.components[start:mlp], "mlp_out": self.base.components[mlp:end]}
        for stage in ("resid_pre", "attn_out", "resid_mid", "mlp_out", "resid_post"):
            site = here.get(stage)
            if site is None or site.place.read == "write":
                yield from ((component, stage) for component in own.get(stage, ()))
            if site is not None:
                yield from ((component, f"{stage} site") for component in _parts(site))

    @cached_property
    def _starts(self) -> list[int]:
        return [self._before(layer, ("resid_pre site",)) for layer in range(self.spec.n_layer)] + [len(self._order)]

    @cached_property
    def _mlps(self) -> list[int]:
        stages = ("resid_pre site", "attn_out", "attn_out site", "resid_mid site")
        return [self._before(layer, stages) for layer in range(self.spec.n_layer)]

    def _before(self, layer: int, stages: tuple[str, ...]) -> int:
        """Return how many components write before a block or its stages."""
        return sum(c.layer < layer or (c.layer == layer and stage in stages) for c, stage in self._order)

    @cached_property
    def _windows(self) -> dict[str, tuple[int, int]]:
        """The components that each autoencoder decomposes: (first, how many have written)."""
        windows = {}
        for site in self.sites:
            layer, written = site.place.layer, site.place.written
            last = next(i for i, c in enumerate(self.components) if c.site == site.place.name)
            first = {"attn_out": self.start(layer), "mlp_out": self.mlp(layer)}.get(written, 0)
            windows[site.place.name] = first, last
        return windows


def _parts(site: Site) -> list[Component]:
    """Return a site's components: latents by slot, skip path, error and bias."""
    name, layer = site.place.name, site.place.layer
    origins = [-1 if origin == layer else origin for origin in site.origins or (layer,) * site.n_slot]
    parts = [Component("latent", layer, site=name, index=slot, origin=origin) for slot, origin in enumerate(origins)]
    parts += [Component("skip", layer, site=name)] if site.skip is not None else []
    return [*parts, Component("error", layer, site=name), Component("dictionary_bias", layer, site=name)]
