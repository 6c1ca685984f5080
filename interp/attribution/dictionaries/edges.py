"""Edges with dictionaries: the flow from every writer to every reader, latents and errors among both."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interp.attribution.dictionaries.protocol import Written
from interp.attribution.dictionaries.site import Site
from interp.attribution.dictionaries.sweep import sweep
from interp.attribution.linearised import Linear, start_of
from interp.errors import UsageError

if TYPE_CHECKING:
    from interp.attribution.dictionaries.features import Features

MOST = 2000
"""Components between which edges are listed: a square table of floats and names."""


def flows(features: Features, linear: Linear) -> tuple[tuple[str, ...], tuple[str, ...], np.ndarray, np.ndarray]:
    """Return (readers, writers, flow between them (n_reader, n_writer), each reader's biases).

    Latents are named by their numbers and summed over positions. Raises `UsageError` for more than `MOST` components.
    """
    n = len(features.layout.named)
    if n > MOST:
        raise UsageError(
            f"This input has {n:,} components, latents included, and edges are listed between {MOST:,} at most: "
            "attribution.graph prunes them by their influence, and path_tree grows the largest paths."
        )
    table = _Flows(features, linear)
    sweep(features, start_of(features, linear), linear.visible, table.visit)
    table.target()
    order = list(reversed(table.rows))
    writers = tuple(component.name for component in features.layout.named)
    flow = torch.stack([table.rows[name] for name in order]).cpu().numpy()
    return tuple(order), writers, flow, np.array([table.own[name] for name in order])


class _Flows:
    """Rows of the table of flows, filled from the target backwards."""

    def __init__(self, features: Features, linear: Linear):
        self.features, self.linear, self.layout = features, linear, features.layout
        self.rows: dict[str, Tensor] = {linear.name: features.writes.new_zeros(0)}
        self.own: dict[str, float] = {linear.name: linear.constant}
        self.identity = torch.from_numpy(np.maximum(self.layout.identity, 0))

    def target(self) -> None:
        """Record what flows straight into the target."""
        linear, at = self.linear, self.linear.position
        covectors = torch.zeros_like(self.features.writes[0])
        covectors[at] = linear.covector
        self.rows[linear.name] = self._by_writer(covectors[:, None], linear.visible)[0]

    def visit(self, layer: int, stage: Written, site: Site | None, covectors: Tensor) -> None:
        """Record the readers of one stage, those that write last first."""
        if site is not None:
            self._site(site, covectors)
        elif stage == "mlp_out":
            seen = self.layout.start(layer) if self.layout.spec.parallel else self.layout.mlp(layer)
            if self.layout.spec.n_expert:
                names, apart, constants = self.features.pull.experts(layer, covectors)
                self._add(tuple(names), self._by_writer(apart, seen), constants)
                return
            back, constant = self.features.pull.mlp(layer, covectors)
            self._add((f"MLP{layer}",), self._by_writer(back[:, None], seen), constant.reshape(1))
        else:
            names, apart, constants = self.features.pull.readers(layer, covectors)
            self._add(tuple(names), self._by_writer(apart, self.layout.start(layer)), constants)

    def _site(self, site: Site, covectors: Tensor) -> None:
        features, layout, everywhere = self.features, self.layout, slice(None)
        seen = layout.window(layout.components[layout.error(site)])[1]
        back, constant = features.error_back(site, everywhere, covectors)
        into_error = self._by_writer(back[:, None], seen)
        for fewer, back in features.error_earlier(site, everywhere, covectors):
            into_error += self._by_writer(back[:, None], fewer)
        self._add((f"{site.place.name}.error",), into_error, constant.sum().reshape(1))
        if site.skip is not None:
            back, constant = site.skip.back(everywhere, covectors)
            self._add((f"{site.place.name}.skip",), self._by_writer(back[:, None], seen), constant.sum().reshape(1))
        for origin in reversed(site.slots_by_origin):
            self._latents(site, origin, covectors, layout.read_by_mlp(origin) if site.earlier else seen)

    def _latents(self, site: Site, origin: int, covectors: Tensor, seen: int) -> None:
        """Record the latents of one site that read the same layer."""
        features, layout, slots = self.features, self.layout, site.slots_by_origin[origin]
        flow = torch.einsum("tm,tkm->tk", covectors, site.decoders[:, slots])
        active = site.latents[:, slots]
        latents = np.unique(active[active >= 0])
        number = torch.from_numpy(np.searchsorted(latents, np.maximum(active, 0)))
        rows = flow.new_zeros(len(latents), len(layout.named), dtype=torch.float64)
        own = flow.new_zeros(len(latents), dtype=torch.float64)
        shown = features.shown[seen]
        for t in range(features.n_token):
            there = torch.from_numpy(active[t] >= 0)
            values = features.writes[:seen, t] @ (site.encoders[t, slots] * flow[t, :, None]).T * shown[:, None]
            here = flow.new_zeros(len(layout.named), len(slots), dtype=torch.float64)
            here.index_add_(0, self.identity[:seen, t], values.double())
            rows.index_add_(0, number[t][there], here.T[there])
            own.index_add_(0, number[t][there], (flow[t] * site.constants[t, slots]).double()[there])
        first = layout.components[layout.slots(site).start + int(slots[0])]
        self._add(tuple(replace(first, index=int(i)).name for i in latents), rows, own)

    def _by_writer(self, covectors: Float[Tensor, "n_token n_reader d_model"], seen: int) -> Tensor:
        """Return Σ_t write(w)_t · covector(r)_t by the writers' names: (n_reader, n_named)."""
        flow = torch.zeros(covectors.shape[1], len(self.layout.named), dtype=torch.float64, device=covectors.device)
        shown = self.features.shown[seen]
        for t in range(self.features.n_token):
            values = covectors[t] @ self.features.writes[:seen, t].T * shown
            flow.index_add_(1, self.identity[:seen, t], values.double())
        return flow

    def _add(self, names: tuple[str, ...], rows: Tensor, own: Tensor) -> None:
        for name, row, constant in zip(reversed(names), rows.flip(0), reversed(own.flatten().tolist()), strict=True):
            self.rows[name], self.own[name] = row, constant
