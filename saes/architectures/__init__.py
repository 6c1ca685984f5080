"""The six architectures, which decide which latents fire; one file each."""

from __future__ import annotations

from saes.architectures.base import Architecture
from saes.architectures.batchtopk import BatchTopK
from saes.architectures.crosslayer import CrossLayer
from saes.architectures.gated import Gated
from saes.architectures.jumprelu import JumpReLU
from saes.architectures.matryoshka import Matryoshka
from saes.architectures.standard import Standard
from saes.architectures.topk import TopK

__all__ = ["Architecture", "architecture"]


def architecture(name: str, variant: str = "autoencoder") -> Architecture:
    """Return the architecture of a name, as it trains the given variant.

    >>> architecture("topk").latents
    ('b_enc',)
    """
    if variant == "crosslayer":
        return CrossLayer()
    known: dict[str, type[Architecture]] = {
        "standard": Standard,
        "gated": Gated,
        "topk": TopK,
        "batchtopk": BatchTopK,
        "jumprelu": JumpReLU,
        "matryoshka": Matryoshka,
    }
    return known[name]()
