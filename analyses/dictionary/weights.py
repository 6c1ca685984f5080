"""Features of latents that are read from the weights.

They are the tokens that a latent raises, similar latents and possible inhibitors.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Int
from torch import Tensor

from interp.coding.neighbours import NUMBERS, Neighbours, nearest
from interp.model.arithmetic import norm_scale

if TYPE_CHECKING:
    from interp.model import Model
    from saes.autoencoder import SAE

RESIDUAL = ("hook_resid_pre", "hook_resid_mid", "hook_resid_post", "hook_attn_out", "hook_mlp_out")
"""Endings of the names of hooks whose vectors are the residual stream or are added to it."""


def logits(sae: SAE, model: Model, scale: float, count: int) -> tuple[Neighbours, Neighbours]:
    """Return the tokens that each latent raises and lowers most, in logits.

    The effect of a unit of the latent through the direct path is d · W_U / s − its mean over the vocabulary, with d the
    decoder row, the final norm's gain (and centring) inside W_U and s = `scale`, what that norm typically divides by.
    What later blocks make of the direction is left out.
    """
    W_U = model.weights.W_U.to(sae.W_dec.device, torch.float32)
    parts = []
    for rows in sae.W_dec.detach().float().split(max(1, NUMBERS // W_U.shape[1])):
        effect = rows @ W_U / scale
        effect -= effect.mean(1, keepdim=True)
        parts.append((*effect.topk(count, 1), *effect.topk(count, 1, largest=False)))
    up, up_at, down, down_at = (torch.cat(part) for part in zip(*parts, strict=True))
    return Neighbours(up, up_at), Neighbours(down, down_at)


@torch.no_grad()
def final_scale(model: Model, tokens: Int[Tensor, "context position"]) -> float:
    """Return what the final norm typically divides by at these tokens.

    It is the harmonic mean, because logits are divided by it; position 0 is left out.

    >>> round(final_scale(model, tokens), 1)  # tokens = model.to_tokens("the tower is in")
    8.0
    """
    name = f"blocks.{model.spec.n_layer - 1}.hook_resid_post"
    stream = model.run_with_cache(tokens.to(model.device), [name])[1][name][:, 1:].float()
    return float(1 / norm_scale(stream, model.spec.norm, model.spec.norm_eps).reciprocal().mean())


def hook_written(sae: SAE) -> str:
    """Return the hook that the decoder writes; empty if not known.

    >>> hook_written(dictionaries["blocks.1.hook_resid_post"])
    'blocks.1.hook_resid_post'
    """
    name = "hook_name_out" if sae.variant == "transcoder" else "hook_name"
    return str(sae.metadata.get(name) or "")


def why_no_logits(sae: SAE, model: Model | None) -> str:
    """Return why decoder rows cannot be read as logits.

    Empty if they can.

    >>> why_no_logits(dictionaries["blocks.1.hook_resid_post"], None)
    'the model was not given'
    """
    if model is None:
        return "the model was not given"
    hook = hook_written(sae)
    if sae.variant == "crosscoder" or not hook.endswith(RESIDUAL) or sae.d_out != model.spec.d_model:
        return f"the decoder does not write into the residual stream (it writes {hook or 'several hooks'})"
    return ""


def similar(sae: SAE, count: int) -> Neighbours:
    """Return the latents with the most similar decoder rows, by cosine.

    >>> similar(dictionaries["blocks.1.hook_resid_post"], 3).index.shape
    torch.Size([48, 3])
    """
    unit = torch.nn.functional.normalize(sae.W_dec.detach().float(), dim=1)
    return nearest(unit, unit, min(count, sae.width - 1))


def inhibitors(sae: SAE, count: int) -> Neighbours:
    """Return the possible inhibitors of each latent.

    For latent j they are the latents i of most negative virtual weight dec_i · enc_j, which lower j. The value is the
    change of j's pre-activation for a unit of i, as far as i's decoder row is part of what is read. It is 0 where the
    two directions are no more opposed than random ones: cosine above −2 / √d.

    >>> inhibitors(dictionaries["blocks.1.hook_resid_post"], 1).index[:2].tolist()
    [[24], [25]]
    """
    reads, writes = sae.W_enc.detach().float().T, sae.W_dec.detach().float()
    opposed = nearest(-reads, writes, min(count, sae.width - 1))
    cosine = -opposed.value / (reads.norm(dim=1)[:, None] * writes.norm(dim=1)[opposed.index]).clamp_min(1e-30)
    return Neighbours(torch.where(cosine < -2 / sae.d_in**0.5, -opposed.value, 0.0), opposed.index)


def no_inhibitors(sae: SAE) -> Neighbours:
    """Return no inhibitors for any latent.

    This is for autoencoders whose decoder does not write into what the encoder reads.
    """
    empty = torch.zeros(sae.width, 0, device=sae.W_dec.device)
    return Neighbours(empty, empty.long())


def random_latents(sae: SAE, count: int, seed: int) -> Int[Tensor, "width count"]:
    """Return other latents drawn at random for each latent.

    >>> random_latents(sae, 3, seed=0).shape  # sae = saes.load("folder"), which has 8 latents
    torch.Size([8, 3])
    """
    step = torch.randint(1, max(2, sae.width), (sae.width, count), generator=torch.Generator().manual_seed(seed))
    return ((torch.arange(sae.width)[:, None] + step) % sae.width).to(sae.W_dec.device)
