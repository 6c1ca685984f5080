"""The nodes of a graph before pruning, numbered: active latents, errors, tokens, then targets."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.attribution.dictionaries.site import Site

if TYPE_CHECKING:
    from interp.attribution.dictionaries.features import Features

Stage = tuple[int, str]


@dataclass(frozen=True)
class Latents:
    """Active latents of one dictionary.

    The i-th is at position `at[i]`; they are numbered from `first` on.

    `directions` are what a value of 1 writes at each stage: one, or of a cross-layer transcoder several.
    """

    first: int
    numbers: Int[np.ndarray, " n"]
    at: Int[Tensor, " n"]
    directions: dict[Stage, Float[Tensor, "n d_model"]]
    encoders: Float[Tensor, "n d_model"]
    constants: Float[Tensor, " n"]
    values: Float[Tensor, " n"]

    def writes(self, stage: Stage) -> Float[Tensor, "n d_model"]:
        """Return what each latent writes at a stage."""
        return self.values[:, None] * self.directions[stage]

    @cached_property
    def total(self) -> Float[Tensor, "n d_model"]:
        """What each writes at all stages together."""
        return self.values[:, None] * torch.stack([*self.directions.values()]).sum(0)


class Sources:
    """Columns of all nodes that write.

    Latents by site and position, errors by stage and position, tokens.

    `kind`, `layer`, `position`, `feature` and `name` are columns over the nodes; `value` is a latent's own value, the
    norm of an error, and 1 for a token.
    """

    def __init__(self, features: Features):
        self.features = features
        self.sites: dict[Stage, Site] = {(site.place.layer, site.place.written): site for site in features.sites}
        self.latents: dict[Stage, Latents] = {}
        self.errors: dict[Stage, tuple[int, Tensor]] = {}
        kind: list[str] = []
        layer: list[int] = []
        position: list[int] = []
        feature: list[int] = []
        name: list[str] = []
        for stage, site in self.sites.items():
            if site.place.layer not in site.slots_by_origin:
                continue
            active = self._latents(site, len(kind))
            self.latents[stage] = active
            n = len(active.at)
            kind += ["latent"] * n
            layer += [site.place.layer] * n
            position += active.at.tolist()
            feature += active.numbers.tolist()
            name += [site.place.name] * n
        self.n_latent = len(kind)
        positions = list(range(features.first, features.n_token))
        for stage, site_name, writes in _error_writes(features):
            self.errors[stage] = len(kind), writes[features.first :]
            kind += ["error"] * len(positions)
            layer += [stage[0]] * len(positions)
            position += positions
            feature += [-1] * len(positions)
            name += [site_name] * len(positions)
        self.first_token = len(kind)
        n_token = features.n_token
        self.embedded = features.writes[: features.layout.n_embed].sum(0)
        self.kind = np.array([*kind, *["token"] * n_token])
        self.layer = np.array([*layer, *[-1] * n_token])
        self.position = np.array([*position, *range(n_token)])
        self.feature = np.array([*feature, *_token_ids(features)])
        self.name = np.array([*name, *["embed"] * n_token])
        self.value = self._values()

    def __len__(self) -> int:
        return len(self.kind)

    def stage_of(self, column: int) -> Stage:
        """Return the stage of a latent's column."""
        return next(
            stage for stage, active in self.latents.items() if active.first <= column < active.first + len(active.at)
        )

    @cached_property
    def column_of(self) -> dict[str, int]:
        """The column of each latent, by its id in a graph."""
        return {f"{self.name[i]}.f{self.feature[i]}@{self.position[i]}": i for i in range(self.n_latent)}

    def writers(self, stage: Stage) -> list[Latents]:
        """Return the latents that write at a stage.

        Those that read earlier layers come first.
        """
        return [active for active in self.latents.values() if stage in active.directions]

    def latent(self, column: int) -> tuple[Latents, int]:
        """Return the dictionary of a latent's column, and its index there."""
        active = self.latents[self.stage_of(column)]
        return active, column - active.first

    def _latents(self, site: Site, first: int) -> Latents:
        """Return the latents that read a site's layer."""
        layer, written = site.place.layer, site.place.written
        slots = site.slots_by_origin[layer]
        at, slot = (torch.from_numpy(index) for index in np.nonzero(site.latents[:, slots] >= 0))
        own = torch.from_numpy(slots)[slot]
        directions: dict[Stage, Tensor] = {(layer, written): site.decoders[at, own]}
        for stage, other in self.sites.items():
            if other is not site and layer in other.earlier:
                directions[stage] = other.decoders[at, torch.from_numpy(other.slots_by_origin[layer])[slot]]
        return Latents(
            first=first,
            numbers=site.latents[at.numpy(), own.numpy()],
            at=at,
            directions=directions,
            encoders=site.encoders[at, own],
            constants=site.constants[at, own],
            values=site.codes[at, own],
        )

    def _values(self) -> Float[np.ndarray, " n"]:
        sizes = np.ones(len(self.kind))
        for latents in self.latents.values():
            sizes[latents.first : latents.first + len(latents.at)] = latents.values.double().cpu().numpy()
        for first, writes in self.errors.values():
            sizes[first : first + len(writes)] = writes.norm(dim=-1).double().cpu().numpy()
        return sizes


def _error_writes(features: Features) -> list[tuple[Stage, str, Tensor]]:
    """Return (stage, name, write) of every error.

    And of every MLP without a dictionary.
    """
    layout, errors = features.layout, []
    sites: dict[Stage, Site] = {(site.place.layer, site.place.written): site for site in features.sites}
    for layer in range(features.model.spec.n_layer):
        for written in ("resid_pre", "attn_out", "resid_mid", "mlp_out", "resid_post"):
            stage: Stage = (layer, written)
            site = sites.get(stage)
            if site is not None:
                errors.append((stage, f"{site.place.name}.error", features.writes[layout.error(site)]))
            elif written == "mlp_out":
                first = layout.mlp(layer)
                write = features.writes[first : first + layout.n_mlp + features.model.spec.mlp_bias].sum(0)
                errors.append((stage, f"MLP{layer}", write))
    return errors


def _token_ids(features: Features) -> list[int]:
    tokens = features.tokens
    return (tokens if tokens.ndim == 1 else tokens[0]).tolist()
