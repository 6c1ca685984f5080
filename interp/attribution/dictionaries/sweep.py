"""Covectors carried from a target back through the stages of every block, dictionaries met on the way."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from interp.attribution.dictionaries.protocol import Written
from interp.attribution.dictionaries.site import Site

if TYPE_CHECKING:
    from interp.attribution.dictionaries.features import Features

Visit = Callable[[int, Written, Site | None, Tensor], None]
"""Called with layer, stage, the dictionary there, if any, and the covectors on what is written at that stage."""


def sweep(
    features: Features,
    start: Float[Tensor, "*batch n_token d_model"],
    visible: int,
    visit: Visit,
    *,
    stop: bool = False,
) -> Float[Tensor, "*batch n_token d_model"]:
    """Carry covectors on the stream that `visible` components have written back to the embeddings.

    `visit` is called for the MLP and the attention of every block and for every other stage with a dictionary, last
    first. With `stop`, what reaches a latent, an error or an MLP ends there, and only attention and skip paths go on:
    what is left are direct effects. Without, everything goes on. Where an autoencoder takes a write apart, `visit` is
    called once more for what wrote it, with no dictionary.
    """
    layout, parallel = features.layout, features.model.spec.parallel
    sites = {(site.place.layer, site.place.written): site for site in features.sites}
    covectors = start
    for layer in reversed(range(features.model.spec.n_layer)):

        def whole_stage(stage: Written, covectors: Tensor, layer: int = layer) -> Tensor:
            site = sites.get((layer, stage))
            if site is None or _begin(features, site) >= visible:
                return covectors
            visit(layer, stage, site, covectors)
            return torch.zeros_like(covectors) if stop else covectors

        covectors = whole_stage("resid_post", covectors)
        after = covectors
        if layout.mlp(layer) < visible:
            covectors = covectors + _mlp(features, layer, sites.get((layer, "mlp_out")), after, visit, stop)
        covectors = whole_stage("resid_mid", covectors)
        if layout.start(layer) < visible:
            on_write = after if parallel else covectors
            covectors = covectors + _attention(features, layer, sites.get((layer, "attn_out")), on_write, visit, stop)
        covectors = whole_stage("resid_pre", covectors)
    return covectors


def _begin(features: Features, site: Site) -> int:
    return features.layout.slots(site).start


def _mlp(features: Features, layer: int, site: Site | None, covectors: Tensor, visit: Visit, stop: bool) -> Tensor:
    """What an MLP, or what stands in its place, hands on to the stream it reads."""
    visit(layer, "mlp_out", site, covectors)
    if site is not None and site.place.read == "write":
        if stop:
            return torch.zeros_like(covectors)
        visit(layer, "mlp_out", None, covectors)
    elif stop:
        skipped = site is not None and site.skip is not None
        return site.skip.back(slice(None), covectors)[0] if skipped else torch.zeros_like(covectors)
    return features.pull.mlp(layer, covectors)[0]


def _attention(
    features: Features, layer: int, site: Site | None, covectors: Tensor, visit: Visit, stop: bool
) -> Tensor:
    """What a layer's heads hand on to the stream they read."""
    if site is not None:
        visit(layer, "attn_out", site, covectors)
        if stop:
            return torch.zeros_like(covectors)
    visit(layer, "attn_out", None, covectors)
    return features.pull.attention(layer, covectors)[0]
