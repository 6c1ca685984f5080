"""Conversion of training weights to final ones.

The scaling and the centre are folded in.
"""

from __future__ import annotations

import torch
from torch import Tensor

from saes.architectures.base import Weights
from saes.training.initial import Scaling


def fold(weights: Weights, scaling: Scaling, *, shared_bias: bool, unit: bool) -> Weights:
    """Return the trained tensors of an SAE in the data's units.

    An SAE with these tensors reconstructs x as in training. Training computes pre = (x s_in − c)·encoder + b and y
    s_out = f decoder + b_dec. All codes are divided by one number, the mean output scale, so that decoder rows keep
    their lengths if all dimensions have the same scale: every architecture commutes with one positive factor on its
    code.

    Args:
        weights: weights of training.
        scaling: scaling of training.
        shared_bias: whether the SAE subtracts b_dec from its input.
        unit: whether to scale every latent to a decoder row of length 1; not for topk, which compares latents.
    """
    common = (
        scaling.scale_out.log().mean().exp()
        if (scaling.scale_out != scaling.scale_out[0]).any()
        else scaling.scale_out[0]
    )
    encoder, decoder = weights["encoder"], weights["decoder"]
    tensors: Weights = {
        "b_dec": weights["b_dec"] / scaling.scale_out,
        "W_dec": decoder * (common / scaling.scale_out),
        "W_enc": encoder * (scaling.scale_in / common),
    }
    shift = -encoder @ scaling.centre
    if shared_bias:
        shift = encoder @ (tensors["b_dec"] * scaling.scale_in - scaling.centre)
    for name in weights.keys() - {"encoder", "decoder", "b_dec", "W_skip"}:
        tensors[name] = weights[name].clone() if name == "r_mag" else weights[name] / common
    for name in ("b_enc", "b_gate", "b_mag"):
        if name in tensors:
            gain = weights["r_mag"].exp() if name == "b_mag" else 1.0
            tensors[name] += shift * gain / common
    if "W_skip" in weights:
        tensors["W_skip"] = weights["W_skip"] * scaling.scale_in / scaling.scale_out[:, None]
        tensors["b_dec"] -= weights["W_skip"] @ scaling.centre / scaling.scale_out
    if unit:
        _unit_decoder(tensors)
    tensors["W_enc"] = tensors["W_enc"].T.contiguous()
    return tensors


def split_layers(weights: Weights, layers: int) -> list[Weights]:
    """Return the weights of each layer of a cross-layer transcoder.

    Each layer has a bias for its own layer only.

    >>> weights = {"encoder": torch.zeros(6, 2), "b_enc": torch.zeros(6)}
    >>> weights |= {"decoder": torch.zeros(6, 4), "b_dec": torch.zeros(4)}
    >>> [part["encoder"].shape for part in split_layers(weights, 2)]
    [torch.Size([3, 2]), torch.Size([3, 2])]
    """
    width, d_out = len(weights["encoder"]) // layers, len(weights["b_dec"]) // layers
    parts = []
    for at in range(layers):
        mine, own = slice(at * width, (at + 1) * width), slice(at * d_out, (at + 1) * d_out)
        bias = torch.zeros_like(weights["b_dec"][at * d_out :])
        bias[:d_out] = weights["b_dec"][own]
        part = {name: weights[name][mine] for name in ("encoder", "b_enc")}
        parts.append(part | {"decoder": weights["decoder"][mine, at * d_out :], "b_dec": bias})
    return parts


def _unit_decoder(tensors: Weights) -> None:
    """Move the length of each decoder row into its latent.

    Rows of zeros do not change.
    """
    norm = torch.linalg.vector_norm(tensors["W_dec"], dim=1)
    norm = torch.where(norm > 0, norm, torch.ones_like(norm))
    tensors["W_dec"] /= norm[:, None]
    tensors["W_enc"] *= norm[:, None]
    for name in ("b_enc", "b_gate", "b_mag", "threshold"):
        if name in tensors:
            tensors[name] = tensors[name] * norm


def threshold_for(pre: list[Tensor], k: int) -> Tensor:
    """Return the value that k entries per row exceed on average.

    Args:
        pre: (n, m) pieces, each with the largest values of its rows.
        k: mean number of values above the threshold.

    Example:
        >>> threshold_for([torch.tensor([[3.0, 1.0], [4.0, 2.0]])], k=1)
        tensor(2.5000)
    """
    values = torch.cat([part.reshape(-1) for part in pre])
    wanted = k * sum(len(part) for part in pre)
    best = values.topk(min(wanted + 1, len(values))).values
    return best[-2:].mean().clamp(min=0.0)
