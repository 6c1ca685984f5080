"""Neurons as latents, for models without dictionaries: an MLP's own hidden units, each of which writes one direction.

    write = Σ_j h_j W_out[j] + b_out,      h_j = multiplier_j · (x W_in[:, j] + b_in[j])

With the multiplier fixed (an activation's ratio, a gate) a neuron is as linear as a latent, and all neurons together
leave no error. The k that write most at a position are latents; the error is the sum of the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from interp.attribution.dictionaries.protocol import Place
from interp.attribution.dictionaries.site import Site, before, reading_of, secant_reading
from interp.attribution.frozen import Frozen

if TYPE_CHECKING:
    from interp.attribution.contrast import Contrast


def neuron_site(linearised: Frozen | Contrast, layer: int, k: int, first: int) -> Site:
    """Return a site of the k neurons that write most per position.

    The neurons of one MLP.
    """
    place = Place(layer, "mlp_out", "gain")
    raw = linearised.model.weights.raw(layer)
    out = raw.W_out.detach()
    x = before(linearised.writes, linearised.layout, place)
    if isinstance(linearised, Frozen):
        block, reading = linearised.blocks[layer], reading_of(linearised, place)
        bias = x.new_zeros(out.shape[0]) if raw.b_in is None else raw.b_in.detach()
        hidden = (reading.forward(x) @ raw.W_in.detach() + bias) * block.multiplier
        scale = block.mlp_write_scale[:, None]
    else:
        secants, reading = linearised.blocks[layer], secant_reading(linearised, place)
        change = reading.forward(x)
        hidden = (change @ raw.W_in.detach()) * (secants.gated if secants.up is None else secants.up)
        if secants.up is not None and raw.W_gate is not None:
            hidden = hidden + (change @ raw.W_gate.detach()) * secants.gated
        bias, scale = hidden.new_zeros(out.shape[0]), None
    size = hidden.abs() * out.norm(dim=1)
    index = size.topk(min(k, size.shape[1]), dim=1).indices.sort(dim=1).values
    here = (torch.arange(len(x), device=x.device) >= first)[:, None]
    codes = hidden.gather(1, index) * here
    columns, constants = _reading(linearised, layer, index, bias, reading.constant)
    at = torch.arange(len(x), device=x.device).repeat_interleave(index.shape[1])
    return Site(
        place=place,
        latents=torch.where(here, index, -1).cpu().numpy(),
        codes=codes,
        encoders=reading.back(columns.flatten(0, 1), at).unflatten(0, index.shape) * here[..., None],
        constants=constants * here,
        decoders=_written(linearised, layer, out[index], scale) * here[..., None],
        bias=torch.zeros_like(x),
    )


def _reading(
    linearised: Frozen | Contrast, layer: int, index: Tensor, bias: Tensor, constant: Tensor
) -> tuple[Tensor, Tensor]:
    """Return (each neuron's covector on the MLP's input, its constant)."""
    raw = linearised.model.weights.raw(layer)
    columns = raw.W_in.detach().T[index]
    if isinstance(linearised, Frozen):
        multiplier = linearised.blocks[layer].multiplier.gather(1, index)
        return columns * multiplier[..., None], (bias[index] + columns @ constant) * multiplier
    secants = linearised.blocks[layer]
    up = secants.gated if secants.up is None else secants.up
    columns = columns * up.gather(1, index)[..., None]
    if secants.up is not None and raw.W_gate is not None:
        columns = columns + raw.W_gate.detach().T[index] * secants.gated.gather(1, index)[..., None]
    return columns, columns.new_zeros(index.shape)


def _written(linearised: Frozen | Contrast, layer: int, directions: Tensor, scale: Tensor | None) -> Tensor:
    """Return what a neuron's value of 1 adds to the stream.

    After a post-norm.
    """
    norm = linearised.model.weights.raw(layer).mlp_post
    if norm is None:
        return directions
    if scale is not None:
        return directions * norm.gain.detach() / scale[..., None]
    assert not isinstance(linearised, Frozen)
    secant = linearised.blocks[layer].mlp_post
    assert secant is not None
    return secant.map(lambda x: x[:, None]).push(directions)
