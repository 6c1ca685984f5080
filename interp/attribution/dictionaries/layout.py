"""The components of a model in which dictionaries stand, in the order they write, and which of them a reader sees.

A transcoder's latents, its bias and its error stand where the MLP stood. An autoencoder takes apart what was written
already: what reads later sees its latents, bias and error instead of what they are made of, which only they see. So
what a reader sees are the components from `first` on among the first `seen` that were not taken apart before. A
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
    """Components by slot: latent slots of a site hold different latents at different positions.

    `base` is the layout without dictionaries, `sites` the dictionaries in the order of a run. `index` of a latent
    component is its slot; `named` are the components with each latent apart, and `identity` what a slot is among them.
    """

    base: Layout
    sites: tuple[Site, ...]

    @cached_property
    def components(self) -> tuple[Component, ...]:
        """Every component, latents by slot."""
        return tuple(component for component, _ in self._order)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Their names; that of a latent tells its slot."""
        return tuple(component.name for component in self.components)

    @cached_property
    def reads(self) -> Bool[np.ndarray, " n_component"]:
        """Which components read."""
        return np.array([component.reads for component in self.components])

    @cached_property
    def n_embed(self) -> int:
        """How many components precede the first block."""
        return self.base.n_embed

    def start(self, layer: int) -> int:
        """How many components write before the attention of block `layer`."""
        return self._starts[layer]

    def mlp(self, layer: int) -> int:
        """How many write before the MLP, or what stands in its place, of block `layer`."""
        return self._mlps[layer]

    def visible(self, component: Component) -> int:
        """How many components have written when this one reads; see `window` for which of them it sees."""
        return self.window(component)[1]

    def window(self, component: Component) -> tuple[int, int]:
        """(first, seen): it sees components from `first` on among the first `seen`."""
        if component.site:
            site = self._site[component.site]
            first, last = self._windows[component.site]
            if site.place.read == "write":
                return first, last
        layer = component.layer if component.origin < 0 else component.origin
        return 0, self.start(layer) if component.kind == "head" else self.read_by_mlp(layer)

    def read_by_mlp(self, layer: int) -> int:
        """How many components have written what the MLP of block `layer` reads."""
        return self.start(layer) if self.spec.parallel else self.mlp(layer)

    def shown(self, first: int, seen: int) -> Bool[np.ndarray, " seen"]:
        """Which of the first `seen` components a reader with this window sees."""
        index = np.arange(seen)
        return (index >= first) & (self.until[:seen] >= seen)

    @cached_property
    def until(self) -> Int[np.ndarray, " n_component"]:
        """How many components may have written when a reader still sees each: more take its write apart."""
        found = np.full(len(self.components), len(self.components))
        for site in self.sites:
            if site.place.read == "write":
                first, last = self._windows[site.place.name]
                found[first:last] = np.minimum(found[first:last], last)
        return found

    def site_of(self, component: Component) -> Site | None:
        """The dictionary that a component is part of."""
        return self._site.get(component.site)

    def slots(self, site: Site) -> slice:
        """Indices of a site's latents."""
        first = self._windows[site.place.name][1] if site.place.read == "write" else self.mlp(site.place.layer)
        return slice(first, first + site.n_slot)

    def error(self, site: Site) -> int:
        """Index of a site's error."""
        return self.slots(site).stop + (site.skip is not None)

    def block_part(self, visible: int) -> int:
        """The number of components here for `visible` of the layout without dictionaries, at the same stage."""
        if visible == len(self.base.components):
            return len(self.components)
        for layer in range(self.spec.n_layer):
            if visible == self.base.start(layer):
                return self.start(layer)
            if visible == self.base.mlp(layer):
                return self.mlp(layer)
        raise ValueError(f"{visible} components are no whole stage of a block")

    @cached_property
    def named(self) -> tuple[Component, ...]:
        """Every component with the latents that are active at any position apart, in the order of their numbers."""
        found: list[Component] = []
        listed: set[tuple[str, int]] = set()
        for component in self.components:
            if component.kind != "latent":
                found.append(component)
            elif (component.site, component.origin) not in listed:
                listed.add((component.site, component.origin))
                site = self._site[component.site]
                origin = component.layer if component.origin < 0 else component.origin
                latents = np.unique(site.latents[:, site.slots_by_origin[origin]])
                found += [replace(component, index=int(i)) for i in latents[latents >= 0]]
        return tuple(found)

    @cached_property
    def identity(self) -> Int[np.ndarray, "n_component n_token"]:
        """What each component is among `named` at each position; −1 for a slot that is empty there."""
        n_token = self.sites[0].latents.shape[0]
        number = {component: i for i, component in enumerate(self.named)}
        found = np.empty((len(self.components), n_token), np.int64)
        for i, component in enumerate(self.components):
            if component.kind == "latent":
                here = self._site[component.site].latents[:, component.index].tolist()
                found[i] = [number[replace(component, index=j)] if j >= 0 else -1 for j in here]
            else:
                found[i] = number[component]
        return found

    def listed(self, visible: int, position: int) -> tuple[np.ndarray, tuple[Component, ...]]:
        """Indices and components of what a reader at a position sees: latents active there, not what they replaced."""
        seen = np.flatnonzero(self.shown(0, visible) & (self.identity[:visible, position] >= 0))
        return seen, tuple(self.named[i] for i in self.identity[seen, position])

    @cached_property
    def _site(self) -> dict[str, Site]:
        return {site.place.name: site for site in self.sites}

    @cached_property
    def _order(self) -> list[tuple[Component, str]]:
        """Components with the stage of the block in which they write."""
        found = [(component, "embed") for component in self.base.components[: self.n_embed]]
        for layer in range(self.spec.n_layer):
            found += list(self._block(layer))
        return found

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
        """How many components write before the block, or in these stages of it."""
        return sum(c.layer < layer or (c.layer == layer and stage in stages) for c, stage in self._order)

    @cached_property
    def _windows(self) -> dict[str, tuple[int, int]]:
        """The components that each autoencoder takes apart: (first, how many have written)."""
        found = {}
        for site in self.sites:
            layer, written = site.place.layer, site.place.written
            last = next(i for i, c in enumerate(self.components) if c.site == site.place.name)
            first = {"attn_out": self.start(layer), "mlp_out": self.mlp(layer)}.get(written, 0)
            found[site.place.name] = first, last
        return found


def _parts(site: Site) -> list[Component]:
    """A site's latents by slot, its skip path, its error and its bias."""
    name, layer = site.place.name, site.place.layer
    origins = [-1 if origin == layer else origin for origin in site.origins or (layer,) * site.n_slot]
    found = [Component("latent", layer, site=name, index=slot, origin=origin) for slot, origin in enumerate(origins)]
    found += [Component("skip", layer, site=name)] if site.skip is not None else []
    return [*found, Component("error", layer, site=name), Component("dictionary_bias", layer, site=name)]
