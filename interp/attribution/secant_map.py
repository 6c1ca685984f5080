"""Exactly linear map between two runs, of which every contrast is made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interp.attribution.components import Layout
from interp.attribution.secant_blocks import SecantBlock, change, runs, secant_block
from interp.attribution.secant_pull import SecantPull
from interp.attribution.secants import NormSecant, norm_secant
from interp.model import Model, trace as forward
from interp.model.weights import Weights


@dataclass(frozen=True)
class SecantMap:
    """Secants of all blocks and the final norm, with changes of writes.

    `writes[c, t]` is clean − counterfactual, `residual` are the streams after the last block.
    """

    model: Model
    layout: Layout
    blocks: tuple[SecantBlock, ...]
    writes: Float[Tensor, "n_component *pair n_token d_model"]
    residual: Float[Tensor, "run *pair n_token d_model"]
    final: NormSecant

    @property
    def pull(self) -> SecantPull:
        """The transposes of every component's secant map."""
        return self._pull

    @cached_property
    def _pull(self) -> SecantPull:
        return SecantPull(self)


@torch.no_grad()
def secant_map(
    model: Model,
    embedded: Float[Tensor, "run pair n_token d_model"],
    moved: Bool[Tensor, "pair n_token"],
    past: Sequence[forward.KeysValues] = (),
) -> SecantMap:
    """Compute the secants between two runs, or between each and the next.

    The clean run is first.

    Differences before the first token that differs are zero, so the runs may begin there: attention then looks back at
    `past`, and no attribution changes.

    Args:
        model: in float32 or float64.
        embedded: the streams before the first block, clean first, then any points on the way, counterfactual last. With
            points, what is computed has a row for each pair in each segment, the segments one after the other.
        moved: the positions that a differing token can reach.
        past: each layer's keys (rotated) and values of the positions before, of each pair; empty from position 0 on.
    """
    layout, residual, weights = Layout(model.spec), embedded.flatten(0, 1), model.weights.cached()
    n_run = len(embedded)
    moved = moved.repeat(n_run - 1, 1)
    n, n_token = moved.shape
    writes = residual.new_zeros(n, n_token, len(layout.components), model.spec.d_model).movedim(2, 0)
    writes[0], blocks = change(residual, n), []
    for layer in range(model.spec.n_layer):
        before = None
        if past:
            key, value = (x.repeat(n_run, 1, 1, 1) for x in past[layer])
            before = key, value
        block = forward.run_block(weights, layer, residual, folded=False, past=before)
        secants = secant_block(weights, block, moved)
        _write_block(weights, layout, block, secants, writes)
        blocks.append(secants)
        residual = block.resid_post
    writes *= moved[..., None]
    final = norm_secant(*runs(residual, n), model.weights.ln_final, model.spec.norm, model.spec.norm_eps)
    return SecantMap(model, layout, tuple(blocks), writes, torch.stack(runs(residual, n)), final)


def _write_block(
    weights: Weights, layout: Layout, block: forward.BlockTrace, secants: SecantBlock, writes: Tensor
) -> None:
    """Write by how much what each component of one block adds differs."""
    index, mlp, n = layout.start(block.layer), layout.mlp(block.layer), writes.shape[1]
    written = torch.einsum("phtd,hdm->phtm", change(block.attention.z, n), weights.raw(block.layer).W_O.detach())
    if secants.attn_post is not None:
        written = secants.attn_post.map(lambda x: x[:, None]).push(written)
    writes[index : index + weights.spec.n_head] = written.transpose(0, 1)
    if block.mlp.routing is None:
        writes[mlp] = change(block.mlp.write, n)
        return
    for expert in block.mlp.routing.chosen.unique().tolist():
        written = change(block.mlp.routing.of_expert(expert), n)
        writes[mlp + expert] = written if secants.mlp_post is None else secants.mlp_post.push(written)
