"""Dictionaries made at random, as plain objects: attribution needs no more of one than its weights and `encode`."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import torch

from interp.attribution import features, freeze, logit
from interp.attribution.graphs.build import adjacency
from interp.model import Model
from tests import models

IDS = models.tokens(1, 6)


def random_dictionary(d_model: int, width: int = 48, seed: int = 0, *, top: int = 0, threshold: float = 0.0):
    """A dictionary whose latents are ReLU, JumpReLU (`threshold`) or TopK (`top`) of random directions."""
    generator = torch.Generator().manual_seed(1000 + seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator) * d_model**-0.5

    W_enc, W_dec, b_enc, b_dec = draw(d_model, width), draw(width, d_model), draw(width), draw(d_model)

    def encode(x: torch.Tensor) -> torch.Tensor:
        pre = (x @ W_enc + b_enc).relu()
        if top:
            return torch.zeros_like(pre).scatter(1, (best := pre.topk(top, dim=1)).indices, best.values)
        return pre * (pre > threshold)

    return SimpleNamespace(W_enc=W_enc, W_dec=W_dec, b_enc=b_enc, b_dec=b_dec, encode=encode)


def dictionary_of(W_enc: torch.Tensor, b_enc: torch.Tensor, W_dec: torch.Tensor):
    """A ReLU dictionary of given weights, without a bias of its own."""
    b_dec = torch.zeros(W_dec.shape[1])
    return SimpleNamespace(
        W_enc=W_enc, W_dec=W_dec, b_enc=b_enc, b_dec=b_dec, encode=lambda x: (x @ W_enc + b_enc).relu()
    )


def transcoders(model: Model, width: int = 48, **how):
    """A random transcoder for every layer."""
    return {
        f"blocks.{layer}.mlp.hook_in": random_dictionary(model.spec.d_model, width, layer, **how)
        for layer in range(model.spec.n_layer)
    }


def skips(model: Model):
    """Transcoders with skip paths in every layer."""
    result = transcoders(model, 24)
    for layer, made in enumerate(result.values()):
        generator = torch.Generator().manual_seed(layer)
        made.W_skip = torch.randn(model.spec.d_model, model.spec.d_model, generator=generator) / model.spec.d_model
    return result


def cross_layer(model: Model, width: int = 32):
    """A random cross-layer transcoder: each layer's latents write the MLPs of that layer and of all later ones."""
    d, n_layer = model.spec.d_model, model.spec.n_layer
    result = {}
    for layer in range(n_layer):
        made = random_dictionary(d, width, layer, **({"top": 6} if layer % 2 else {}))
        generator = torch.Generator().manual_seed(layer)
        made.W_dec = torch.randn(width, (n_layer - layer) * d, generator=generator) * d**-0.5
        made.b_dec = torch.randn((n_layer - layer) * d, generator=generator) * d**-0.5
        made.writes = tuple(f"blocks.{at}.hook_mlp_out" for at in range(layer, n_layer))
        result[f"blocks.{layer}.mlp.hook_in"] = made
    skip = torch.zeros(n_layer * d, d)
    skip[:d] = torch.randn(d, d, generator=torch.Generator().manual_seed(9)) / d
    result["blocks.0.mlp.hook_in"].W_skip = skip
    return result


def everywhere(model: Model):
    """A random dictionary at every kind of place: transcoders, and autoencoders of writes and streams."""
    hooks = ["blocks.0.mlp.hook_in", "blocks.1.ln2.hook_normalized", "blocks.2.hook_mlp_out", "blocks.1.hook_attn_out"]
    hooks += ["blocks.1.hook_resid_post", "blocks.2.hook_resid_pre"]
    hooks += [] if model.spec.parallel else ["blocks.0.hook_resid_mid"]
    kinds = ({}, {"top": 6}, {"threshold": 0.1})
    result = {}
    for i, hook in enumerate(hooks):
        result[hook] = random_dictionary(model.spec.d_model, seed=i, **kinds[i % 3])
    if "blocks.1.ln2.hook_normalized" in result:
        generator = torch.Generator().manual_seed(77)
        shape = model.spec.d_model, model.spec.d_model
        result["blocks.1.ln2.hook_normalized"].W_skip = torch.randn(shape, generator=generator) / model.spec.d_model
    return result


def mixed_of(name: str = "llama", dictionaries=transcoders, dtype=torch.float64, first: int = 0):
    """A frozen prompt of random tokens with dictionaries from layer `first` on."""
    frozen = freeze(models.load(name, dtype), IDS)
    return features(frozen, dictionaries(frozen.model), first=first)


def whole(mixed):
    """The adjacency of everything, for one target."""
    return adjacency(mixed, [logit(mixed.model, 3)], np.ones(1), 10**6)
