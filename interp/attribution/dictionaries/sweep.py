"""Covectors carried from a target back through the stages of every block, dictionaries met on the way."""

from __future__ import annotations

from collections.abc import Callable, Container
from typing import TYPE_CHECKING

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
    frozen_mlps: Container[int] = (),
) -> Float[Tensor, "*batch n_token d_model"]:
    """Carry covectors on the stream back to the embeddings.

    The stream is what `visible` components have written.

    `visit` is called for the MLP and the attention of every block and for every other stage with a dictionary, last
    first. Where an autoencoder decomposes a write, it is called once more for what wrote it, with no dictionary.
    Nothing is carried through the MLPs of the layers `frozen_mlps`.
    """
    layout, parallel = features.layout, features.model.spec.parallel
    sites = {(site.place.layer, site.place.written): site for site in features.sites}
    covectors = start

    def meet(layer: int, stage: Written) -> None:
        site = sites.get((layer, stage))
        if site is not None and layout.slots(site).start < visible:
            visit(layer, stage, site, covectors)

    for layer in reversed(range(features.model.spec.n_layer)):
        meet(layer, "resid_post")
        after = covectors
        if layout.mlp(layer) < visible:
            back = _mlp(features, layer, sites.get((layer, "mlp_out")), after, visit)
            covectors = covectors if layer in frozen_mlps else covectors + back
        meet(layer, "resid_mid")
        if layout.start(layer) < visible:
            on_write = after if parallel else covectors
            covectors = covectors + _attention(features, layer, sites.get((layer, "attn_out")), on_write, visit)
        meet(layer, "resid_pre")
    return covectors


def _mlp(features: Features, layer: int, site: Site | None, covectors: Tensor, visit: Visit) -> Tensor:
    """Carry covectors through an MLP to the stream it reads.

    Or through what replaces it.
    """
    visit(layer, "mlp_out", site, covectors)
    if site is not None and site.place.read == "write":
        visit(layer, "mlp_out", None, covectors)
    return features.pull.mlp(layer, covectors)[0]


def _attention(features: Features, layer: int, site: Site | None, covectors: Tensor, visit: Visit) -> Tensor:
    """Carry covectors through a layer's heads to the stream they read."""
    if site is not None:
        visit(layer, "attn_out", site, covectors)
    visit(layer, "attn_out", None, covectors)
    return features.pull.attention(layer, covectors)[0]
