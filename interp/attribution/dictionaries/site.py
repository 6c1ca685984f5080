"""The latents of one dictionary at one input: what each writes, and the covector with which it reads.

While a latent is active it is linear in what the dictionary reads, so with masks and norm scales fixed

    write = Σ_j f_j d_j + b + error,      f_j = a_j · x + c_j,

x being the residual stream (or the write that an autoencoder decomposes) and a_j the encoder's column carried through
the norm. The error is the original's own linear map less the dictionary's. In a contrast

    Δwrite = Σ_j Δf_j d_j + Δerror,       Δf_j = a_j · Δx,

a_j being the encoder's column carried through the secants, times the latent's slope Δf_j / Δ(pre-activation): 1 where
it is active in both runs, a chord where one run switches it off.

A cross-layer transcoder's latent reads one layer and writes in it and in later ones. It has a slot at the site of each
layer that it writes, with the layer that it reads as its origin (`spread`, `joined`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.attribution.components import Layout
from interp.attribution.dictionaries.protocol import Affine, Dictionary, Place
from interp.attribution.secant_pull import through
from interp.attribution.secants import NormSecant
from interp.errors import UsageError

if TYPE_CHECKING:
    from interp.attribution.contrast import Contrast
    from interp.attribution.frozen import Frozen

FLAT = 1e-6
"""Change of a pre-activation, relative to its size, below which a latent's slope is the mean of its two masks."""

Back = Callable[[Tensor, "slice | Int[Tensor, ' n']"], Tensor]


@dataclass(frozen=True)
class Site:
    """Dictionary at one input, with its active latents in slots.

    Slot k at position t is latent `latents[t, k]`, −1 where fewer are active.

    A latent's value (in a contrast its difference) is `codes`, what it writes codes · decoders, what it reads
    encoders · x + constants. `bias` is what the dictionary writes whatever it reads, `skip` its linear path, if any.
    `origins` are the layers that the slots read, where some of them read an earlier one.
    """

    place: Place
    latents: Int[np.ndarray, "n_token slot"]
    codes: Float[Tensor, "n_token slot"]
    encoders: Float[Tensor, "n_token slot d_model"]
    constants: Float[Tensor, "n_token slot"]
    decoders: Float[Tensor, "n_token slot d_model"]
    bias: Float[Tensor, "n_token d_model"]
    skip: Skip | None = None
    origins: tuple[int, ...] = ()

    @cached_property
    def slots_by_origin(self) -> dict[int, Int[np.ndarray, " n"]]:
        """The slots that read each layer, in the order of layers."""
        origins = np.array(self.origins or (self.place.layer,) * self.n_slot, np.int64)
        return {int(origin): np.flatnonzero(origins == origin) for origin in np.unique(origins)}

    @property
    def earlier(self) -> tuple[int, ...]:
        """The layers before its own that some slots read."""
        return tuple(origin for origin in self.slots_by_origin if origin != self.place.layer)

    @property
    def n_slot(self) -> int:
        """The largest number of latents at one position."""
        return self.latents.shape[1]

    def back(self, at: Tensor | slice, covectors: Float[Tensor, "*batch n d_model"]) -> tuple[Tensor, Tensor]:
        """Carry covectors through all latents together: (covectors on their input, constants).

        Of latents that read earlier layers the constants alone; for the rest see `back_to`.
        """
        flow = torch.einsum("...nm,nkm->...nk", covectors, self.decoders[at])
        constant = (flow * self.constants[at]).sum(-1) + (covectors * self.bias[at]).sum(-1)
        if self.earlier:
            back = self.back_to(self.place.layer, at, covectors)
        else:
            back = torch.einsum("...nk,nkm->...nm", flow, self.encoders[at])
        if self.skip is None:
            return back, constant
        more, own = self.skip.back(at, covectors)
        return back + more, constant + own

    def back_to(self, origin: int, at: Tensor | slice, covectors: Float[Tensor, "*batch n d_model"]) -> Tensor:
        """Carry covectors through the latents that read layer `origin`."""
        slots = self.slots_by_origin.get(origin)
        if slots is None:
            return torch.zeros_like(covectors)
        index = torch.from_numpy(slots).to(covectors.device)
        flow = torch.einsum("...nm,nkm->...nk", covectors, self.decoders[:, index][at])
        return torch.einsum("...nk,nkm->...nm", flow, self.encoders[:, index][at])


@dataclass(frozen=True)
class Skip:
    """Linear path of a transcoder from its input to what it writes."""

    weight: Float[Tensor, "d_out d_in"]
    reading: Reading
    on: Float[Tensor, " n_token"]
    write: Float[Tensor, "n_token d_model"]

    def back(self, at: Tensor | slice, covectors: Tensor) -> tuple[Tensor, Tensor]:
        """Carry covectors through the path: (covectors on the stream, constants)."""
        covectors = covectors * self.on[at][:, None] @ self.weight
        return self.reading.back(covectors, at), covectors @ self.reading.constant


@dataclass(frozen=True)
class Reading:
    """Linear map from the stream to a dictionary's input.

    At each position x = linear map of the stream + constant.

    `back` is the transpose, `forward` gives x itself, or its change, from the stream or its change.
    """

    back: Back
    forward: Callable[[Tensor], Tensor]
    constant: Float[Tensor, " d_model"]


def frozen_site(frozen: Frozen, place: Place, dictionary: Dictionary, linear: Affine, first: int) -> Site:
    """Return the latents active at a frozen input, from position `first` on."""
    reading = reading_of(frozen, place)
    x = reading.forward(before(frozen.writes, frozen.layout, place))
    values = linear.values(dictionary, x, place.name)
    values[:first] = 0
    rows, index, there = _slots(values != 0)
    columns = linear.columns.T[index] * there[..., None]
    constants = (linear.constants[index] + columns @ reading.constant) * there
    on = (torch.arange(frozen.n_token, device=x.device) >= first).to(x)
    return Site(
        place=place,
        latents=rows,
        codes=values.gather(1, index) * there,
        encoders=_each_slot(reading.back, columns),
        constants=constants,
        decoders=linear.directions[index] * there[..., None],
        bias=on[:, None] * linear.bias,
        skip=_skip(linear, reading, x, on),
    )


def contrast_site(contrast: Contrast, place: Place, dictionary: Dictionary, linear: Affine, first: int) -> Site:
    """Return the latents active in either run, with their secants."""
    values, pre = [], []
    for end in contrast.ends:
        x = reading_of(end, place).forward(before(end.writes, end.layout, place))
        values.append(linear.values(dictionary, x, place.name))
        pre.append(x @ linear.columns + linear.constants)
    for each in values:
        each[:first] = 0
    reading = secant_reading(contrast, place)
    change = reading.forward(before(contrast.writes, contrast.layout, place))
    moved = (change != 0).any(-1, keepdim=True)
    rows, index, there = _slots(((values[0] != 0) | (values[1] != 0)) & moved)
    columns = linear.columns.T[index] * there[..., None]
    wanted = (values[0] - values[1]).gather(1, index)
    along = torch.einsum("tkm,tm->tk", columns, change)
    size = torch.maximum(*(each.gather(1, index).abs() for each in pre))
    masks = sum((each.gather(1, index) != 0).to(along) for each in values) / 2
    slope = torch.where(along.abs() > FLAT * size, wanted / along, masks) * there
    on = (torch.arange(contrast.n_token, device=change.device) >= first).to(change)
    return Site(
        place=place,
        latents=rows,
        codes=slope * along,
        encoders=_each_slot(reading.back, columns * slope[..., None]),
        constants=torch.zeros_like(along),
        decoders=linear.directions[index] * there[..., None],
        bias=linear.bias.new_zeros(len(change), len(linear.bias)),
        skip=_skip(linear, reading, change, on),
    )


def spread(site: Site, places: Sequence[Place], hook: str) -> list[Site]:
    """Split a cross-layer transcoder's latents into one site per place written.

    Raises `UsageError` for a skip path into a later layer, which would be no part of a linear map of one layer.
    """
    if len(places) == 1:
        return [site]
    sites, d = [], site.encoders.shape[-1]
    for i, place in enumerate(places):
        rows = slice(i * d, (i + 1) * d)
        skip = site.skip
        if skip is not None:
            skip = replace(skip, weight=skip.weight[rows], write=skip.write[:, rows])
            if i > 0 and bool(skip.weight.any()):
                raise UsageError(f"The skip path of {hook} writes {place.name}: one that leaves its layer is not read.")
        part = replace(site, place=place, decoders=site.decoders[..., rows], bias=site.bias[:, rows])
        sites.append(replace(part, skip=None if i > 0 else skip, origins=(site.place.layer,) * site.n_slot))
    return sites


def joined(parts: Sequence[Site]) -> Site:
    """Join all latents that write at one place into a site.

    Those that read earlier layers come first.
    """
    ordered = sorted(parts, key=lambda part: part.origins or (part.place.layer,))
    if len(ordered) == 1:
        return ordered[0]
    own = ordered[-1]
    origins = sum((part.origins or (part.place.layer,) * part.n_slot for part in ordered), ())
    return Site(
        place=own.place,
        latents=np.concatenate([part.latents for part in ordered], axis=1),
        codes=torch.cat([part.codes for part in ordered], 1),
        encoders=torch.cat([part.encoders for part in ordered], 1),
        constants=torch.cat([part.constants for part in ordered], 1),
        decoders=torch.cat([part.decoders for part in ordered], 1),
        bias=torch.stack([part.bias for part in ordered]).sum(0),
        skip=own.skip,
        origins=origins,
    )


def before(writes: Tensor, layout: Layout, place: Place) -> Float[Tensor, "n_token d_model"]:
    """Return a dictionary's input: a stream, or the write it decomposes."""
    layer = place.layer
    bounds = {
        "resid_pre": (0, layout.start(layer)),
        "attn_out": (layout.start(layer), layout.mlp(layer)),
        "resid_mid": (0, layout.mlp(layer)),
        "mlp_out": (layout.mlp(layer), layout.start(layer + 1)),
        "resid_post": (0, layout.start(layer + 1)),
    }
    parallel = layout.spec.parallel
    start, end = bounds[place.written if place.read == "write" else "resid_pre" if parallel else "resid_mid"]
    return writes[start:end].sum(0)


def reading_of(frozen: Frozen, place: Place) -> Reading:
    """Return how a dictionary reads a frozen input."""
    none = frozen.residual.new_zeros(frozen.residual.shape[-1])
    if place.read in ("write", "stream"):
        return Reading(lambda u, _: u, lambda x: x, none)
    norm = frozen.model.weights.raw(place.layer).ln2
    gain, bias = norm.gain.detach(), none if norm.bias is None else norm.bias.detach()
    gain, bias = (gain, bias) if place.read == "gain" else (torch.ones_like(gain), none)
    scale = frozen.blocks[place.layer].mlp_scale

    def centred(x: Tensor) -> Tensor:
        return x if norm.bias is None else x - x.mean(-1, keepdim=True)

    return Reading(
        back=lambda u, at: centred(u * gain) / scale[at][:, None],
        forward=lambda x: centred(x) / scale[:, None] * gain + bias,
        constant=bias,
    )


def secant_reading(contrast: Contrast, place: Place) -> Reading:
    """Return how a dictionary's input changes between the runs of a contrast."""
    none = contrast.residual.new_zeros(contrast.residual.shape[-1])
    if place.read in ("write", "stream"):
        return Reading(lambda u, _: u, lambda x: x, none)
    norm: NormSecant = contrast.blocks[place.layer].ln2
    if place.read == "norm":
        norm = NormSecant(norm.mean, norm.inverse, norm.bend, torch.ones_like(norm.gain), norm.centred)
    return Reading(lambda u, at: through(norm, u, at), norm.push, none)


def _slots(active: Tensor) -> tuple[np.ndarray, Tensor, Tensor]:
    """Return latents by slot, and which slots are filled.

    (latents by slot with −1 for none, the same with 0 for none, filled slots).
    """
    most = max(1, int(active.sum(1).max()))
    order = active.to(torch.int8).sort(dim=1, descending=True, stable=True)
    index, there = order.indices[:, :most], order.values[:, :most] > 0
    rows = torch.where(there, index, -1).cpu().numpy()
    return rows, torch.where(there, index, 0), there


def _each_slot(back: Back, columns: Float[Tensor, "n_token slot d_in"]) -> Float[Tensor, "n_token slot d_model"]:
    """Carry covectors of every slot from the dictionary's input to the stream."""
    n_token, n_slot = columns.shape[:2]
    at = torch.arange(n_token, device=columns.device).repeat_interleave(n_slot)
    return back(columns.flatten(0, 1), at).unflatten(0, (n_token, n_slot))


def _skip(linear: Affine, reading: Reading, x: Tensor, on: Tensor) -> Skip | None:
    if linear.skip is None:
        return None
    return Skip(linear.skip, reading, on, on[:, None] * (x @ linear.skip.T))
