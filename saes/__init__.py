"""Sparse autoencoders: training, judging and exchange.

    config = saes.Config(architecture="topk", width=4608, k=32, steps=1000)
    sae = saes.train(config, activations)        # a tensor (n, d_in), a store, or an iterable of batches
    codes = sae.encode(x)                        # (n, width); sae.decode(codes), sae(x)
    sae.save("out/sae")                          # a folder that SAELens reads; saes.load reads it back

Names are fetched when first used; `saes.Config` needs no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from saes import coding, evaluation
    from saes.autoencoder import SAE, build
    from saes.config import Config
    from saes.evaluation import Evaluation, Truth, evaluate
    from saes.interop import load
    from saes.interop.card import card
    from saes.interop.push import push
    from saes.training.trainer import Trainer, train

__all__ = [
    "Config",
    "train",
    "Trainer",
    "SAE",
    "build",
    "load",
    "evaluate",
    "Evaluation",
    "Truth",
    "card",
    "push",
    "coding",
    "evaluation",
]

_MODULES = {
    "Config": "saes.config",
    "train": "saes.training.trainer",
    "Trainer": "saes.training.trainer",
    "SAE": "saes.autoencoder",
    "build": "saes.autoencoder",
    "load": "saes.interop",
    "evaluate": "saes.evaluation",
    "Evaluation": "saes.evaluation",
    "Truth": "saes.evaluation",
    "card": "saes.interop.card",
    "push": "saes.interop.push",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    if name in ("coding", "evaluation"):
        return import_module(f"saes.{name}")
    raise AttributeError(f"module 'saes' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
