"""Small autoencoders of every form with weights that exercise every term: nothing is zero, no norm is one."""

from __future__ import annotations

import torch

import saes

D_IN, D_OUT, WIDTH, K, LAYERS = 12, 8, 40, 5, 2
LATENTS = {"gated": ("b_gate", "b_mag", "r_mag"), "standard": ("b_enc",), "topk": ("b_enc",)}
ARCHITECTURES = ("standard", "gated", "topk", "batchtopk", "jumprelu", "matryoshka")
METADATA = {
    "model_name": "smollm2",
    "hook_name": "blocks.10.hook_resid_post",
    "context_size": 128,
    "prepend_bos": False,
    "seqpos_slice": (None,),
    "training": {"lr": 3e-4, "groups": (10, 40), "steps": 7},
}


def inputs(n: int = 64) -> torch.Tensor:
    return torch.randn(n, D_IN, generator=torch.Generator().manual_seed(1)) * 2 + 0.5


def sae(architecture: str, variant: str = "autoencoder", *, skip: bool = False, **settings: object) -> saes.SAE:
    draw = torch.Generator().manual_seed(7)
    d_in = D_IN * LAYERS if variant == "crosscoder" else D_IN
    d_out = D_OUT if variant == "transcoder" else d_in

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=draw)

    tensors = {"W_enc": normal(d_in, WIDTH), "W_dec": normal(WIDTH, d_out), "b_dec": normal(d_out)}
    tensors |= {name: normal(WIDTH) * 0.3 for name in LATENTS.get(architecture, ("b_enc",))}
    if architecture in ("batchtopk", "jumprelu", "matryoshka"):
        tensors["threshold"] = normal(WIDTH).abs() + 0.5
    if skip:
        tensors["W_skip"] = normal(d_out, d_in)
    if architecture == "topk":
        settings = {"k": K} | settings
    if architecture == "matryoshka":
        settings = {"groups": (10, WIDTH)} | settings
    if variant == "crosscoder":
        settings = {"layers": LAYERS} | settings
    return saes.build(architecture, variant, tensors, dict(settings), dict(METADATA))
