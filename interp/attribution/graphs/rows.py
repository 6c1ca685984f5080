"""Rows of the adjacency matrix: the direct effects of every node on a latent or on a target.

    A[i, j] = write(j) · (what i reads with, carried back through attention alone)

for latents f_j d_j · J · a_i: through residual stream, fixed attention patterns (in a contrast their secants) and norm
scales, and through no MLP. The row of a latent sums, with the biases on the way, to its value: that is checked.
Rows are carried back together, those of higher layers first: below a layer all rows that start above it are live.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.attribution.dictionaries.protocol import Written
from interp.attribution.graphs.sources import Sources
from interp.attribution.linearised import Linear


@dataclass(frozen=True)
class Rows:
    """Direct effects of every source on some nodes.

    `effects` is (row, source); what biases add to each row is separate.
    """

    effects: Float[Tensor, "row source"]
    biases: Float[Tensor, " row"]


def target_rows(sources: Sources, targets: Sequence[Linear]) -> Rows:
    """Return the rows of targets, in their order."""
    return _Batch(sources, targets, np.empty(0, np.int64)).run()


def latent_rows(sources: Sources, columns: Int[np.ndarray, " row"]) -> Rows:
    """Return the rows of latents, given by their columns."""
    return _Batch(sources, (), columns).run()


class _Batch:
    """Rows carried back together: `slots` are their covectors, live ones first."""

    def __init__(self, sources: Sources, targets: Sequence[Linear], columns: np.ndarray):
        self.sources, self.features = sources, sources.features
        self.targets, self.columns = targets, columns
        n, like = len(targets) + len(columns), self.features.writes
        self.effects, self.biases = like.new_zeros(n, len(sources)), like.new_zeros(n)
        self.slots = like.new_zeros(n, *like.shape[1:])
        self.row = np.empty(n, np.int64)
        self.live = 0

    def run(self) -> Rows:
        """Carry rows through all layers, last first, then to the tokens."""
        layout, parallel = self.features.layout, self.features.model.spec.parallel
        self._start_targets(len(layout.components))
        for layer in reversed(range(self.features.model.spec.n_layer)):
            self._stage(layer, "resid_post")
            above = self.live
            after = self.slots[:above].clone() if parallel else None
            self._mlp(layer)
            self._start_targets(layout.mlp(layer))
            self._stage(layer, "resid_mid")
            self._attention(layer, after)
            self._start_targets(layout.start(layer))
            self._stage(layer, "resid_pre")
        self._into(self.sources.first_token, self.sources.embedded, self.slots[: self.live])
        order = torch.from_numpy(np.argsort(self.row[: self.live]))
        return Rows(self.effects[order], self.biases[order])

    def _start_targets(self, visible: int) -> None:
        for i, linear in enumerate(self.targets):
            if linear.visible == visible and i not in self.row[: self.live]:
                self.slots[self.live, linear.position] = linear.covector
                self.biases[self.live] = linear.constant
                self.row[self.live] = i
                self.live += 1

    def _into(self, first: int, writes: Float[Tensor, "n_token d_model"], covectors: Tensor) -> None:
        """Record effects of vectors written at the last len(writes) positions."""
        skipped = covectors.shape[1] - len(writes)
        values = torch.einsum("rtm,tm->rt", covectors[:, skipped:], writes)
        self.effects[: len(covectors), first : first + len(writes)] = values

    def _read(self, layer: int, written: Written, covectors: Tensor) -> None:
        """Record effects of one stage's latents and error, and its biases."""
        stage, n = (layer, written), len(covectors)
        for latents in self.sources.writers(stage):
            values = torch.einsum("rnm,nm->rn", covectors[:, latents.at], latents.writes(stage))
            self.effects[:n, latents.first : latents.first + values.shape[1]] += values
        site = self.sources.sites.get(stage)
        if site is not None:
            self.biases[:n] += torch.einsum("rtm,tm->r", covectors, site.bias)
            if site.skip is not None:
                self.biases[:n] += site.skip.back(slice(None), covectors)[1].sum(-1)
        first, writes = self.sources.errors[stage]
        self._into(first, writes, covectors)
        before = self.features.first
        if before:
            whole = self.features.writes[self._error(layer, written)].sum(0)[:before]
            self.biases[:n] += torch.einsum("rtm,tm->r", covectors[:, :before], whole)

    def _error(self, layer: int, written: Written) -> slice:
        """Return the components that make a stage's error."""
        layout, site = self.features.layout, self.sources.sites.get((layer, written))
        if site is None:
            return slice(layout.mlp(layer), layout.mlp(layer) + 1 + self.features.model.spec.mlp_bias)
        index = layout.error(site)
        return slice(index, index + 1)

    def _stage(self, layer: int, written: Written) -> None:
        """End rows in a decomposed stream, and begin its latents' rows.

        The stream is one that an autoencoder decomposes.
        """
        if (layer, written) not in self.sources.sites:
            return
        self._read(layer, written, self.slots[: self.live])
        self.slots[: self.live] = 0
        self._begin(layer, written)

    def _begin(self, layer: int, written: Written) -> slice:
        """Add the wanted latents of a stage to the live rows.

        Returns where.
        """
        latents = self.sources.latents.get((layer, written))
        first = self.live
        if latents is None:
            return slice(first, first)
        inside = (self.columns >= latents.first) & (self.columns < latents.first + len(latents.at))
        wanted = np.flatnonzero(inside)
        index = torch.from_numpy(self.columns[wanted] - latents.first)
        self.live += len(wanted)
        new = slice(first, self.live)
        self.slots[torch.arange(first, self.live), latents.at[index]] = latents.encoders[index]
        self.biases[new] = latents.constants[index]
        self.row[new] = len(self.targets) + wanted
        return new

    def _mlp(self, layer: int) -> None:
        site = self.sources.sites.get((layer, "mlp_out"))
        self._read(layer, "mlp_out", self.slots[: self.live])
        if site is not None and site.skip is not None:
            self.slots[: self.live] += site.skip.back(slice(None), self.slots[: self.live])[0]
        new = self._begin(layer, "mlp_out")
        if site is not None and site.place.read == "write":
            on_write = self.slots[new]
            back, constant = self.features.pull.mlp(layer, on_write)
            self.biases[new] += constant
            if self.features.model.spec.mlp_bias:
                bias = self.features.writes[self.features.layout.mlp(layer) + 1]
                self.biases[new] += torch.einsum("rtm,tm->r", on_write, bias)
            self.slots[new] = back

    def _attention(self, layer: int, after: Tensor | None) -> None:
        """Carry rows through all heads, or an autoencoder's latents alone."""
        site = self.sources.sites.get((layer, "attn_out"))
        on_write = self.slots[: self.live] if after is None else after
        if site is not None:
            self._read(layer, "attn_out", on_write)
            new = self._begin(layer, "attn_out")
            own = self.slots[new].clone()
            self.slots[new] = self._through(layer, own, new)
        else:
            reached = slice(0, len(on_write))
            self.slots[reached] += self._through(layer, on_write, reached)

    def _through(self, layer: int, covectors: Tensor, rows: slice) -> Tensor:
        """Carry covectors on heads' writes to the stream they read.

        Biases are counted.
        """
        back, constant = self.features.pull.attention(layer, covectors)
        self.biases[rows] += constant
        layout = self.features.layout
        if self.features.model.spec.output_bias:
            bias = self.features.writes[layout.start(layer) + self.features.model.spec.n_head]
            self.biases[rows] += torch.einsum("rtm,tm->r", covectors, bias)
        return back
