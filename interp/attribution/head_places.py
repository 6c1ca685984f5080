"""Heads of a contrast at single positions, many of one layer at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.attribution.secant_pull import through, through_scale
from interp.model.arithmetic import rotate

if TYPE_CHECKING:
    from interp.attribution.contrast import Contrast


class HeadPlaces:
    """Secant maps of heads, one (head, position) a row.

    For the equations see `secant_pull` and `expand_contrast`.
    """

    def __init__(self, contrast: Contrast):
        self.contrast, self.layers, self.spec = contrast, contrast.pull.layers, contrast.model.spec

    def z(
        self, layer: int, heads: Int[Tensor, " n"], at: Int[Tensor, " n"], covectors: Float[Tensor, "n d_model"]
    ) -> Float[Tensor, "n d_head"]:
        """Return covectors on the heads' values after the pattern.

        They are given on what the heads write.
        """
        covectors = through(self.contrast.blocks[layer].attn_post, covectors, at)
        W_O = self.layers[layer].W_O.detach()
        return (covectors @ W_O.flatten(0, 1).T).unflatten(-1, W_O.shape[:2])[torch.arange(len(heads)), heads]

    def on_scores(
        self, layer: int, heads: Int[Tensor, " n"], at: Int[Tensor, " n"], z: Float[Tensor, "n d_head"]
    ) -> Float[Tensor, "n n_token"]:
        """Return covectors on the scores of the heads' queries with every key.

        Before scale and softcap.
        """
        block = self.contrast.blocks[layer]
        on_pattern = torch.einsum("nd,nsd->ns", z, block.value[heads // self.spec.kv_group])
        return block.softmax.map(lambda x: x[heads, at]).pull(on_pattern) * block.slope[heads, at]

    def split(
        self, layer: int, heads: Int[Tensor, " n"], at: Int[Tensor, " n"], covectors: Float[Tensor, "n d_model"]
    ) -> Float[Tensor, "n branch"]:
        """Return what the heads pass on through query, key and value.

        The three sum to covector · write.
        """
        block, groups = self.contrast.blocks[layer], heads // self.spec.kv_group
        z = self.z(layer, heads, at, covectors)
        on_scores = self.on_scores(layer, heads, at, z)
        query = torch.einsum("ns,nsd,nd->n", on_scores, block.key[groups], block.delta_query[heads, at])
        key = torch.einsum("ns,nsd,nd->n", on_scores, block.delta_key[groups], block.query[heads, at])
        value = torch.einsum("ns,nsd,nd->n", block.pattern[heads, at], block.delta_value[groups], z)
        return torch.stack([query, key, value], dim=-1)

    def query(
        self, layer: int, heads: Int[Tensor, " n"], at: Int[Tensor, " n"], covectors: Float[Tensor, "n d_model"]
    ) -> Float[Tensor, "n d_model"]:
        """Return covectors on the stream through the heads' queries."""
        block = self.contrast.blocks[layer]
        on_scores = self.on_scores(layer, heads, at, self.z(layer, heads, at, covectors))
        on_query = torch.einsum("ns,nsd->nd", on_scores, block.key[heads // self.spec.kv_group])
        on_query = rotate(on_query, self.spec.rotaries[layer], -at, self.contrast.n_token)
        on_projection = through(block.query_norm, on_query, (heads, at))
        back = torch.einsum("nd,nmd->nm", on_projection, self.layers[layer].W_Q.detach()[heads])
        back = back + through_scale(block.query_norm, on_query, (heads, at), at)
        return through(block.ln1, back, at)

    def key(
        self, layer: int, heads: Int[Tensor, " n"], at: Int[Tensor, " n"], places: Int[Tensor, "*places"]
    ) -> Float[Tensor, "*places d_model"]:
        """Return covectors on the stream through the keys at some places.

        For a covector of 1 on the score.
        """
        block, groups = self.contrast.blocks[layer], heads // self.spec.kv_group
        places = places.expand(-1, len(heads))
        on_key, n_token = block.query[heads, at].expand(len(places), -1, -1), self.contrast.n_token
        on_key = rotate(on_key, self.spec.rotaries[layer], -places, n_token)
        on_projection = through(block.key_norm, on_key, (groups, places))
        back = torch.einsum("pnd,nmd->pnm", on_projection, self.layers[layer].W_K.detach()[groups])
        back = back + through_scale(block.key_norm, on_key, (groups, places), places)
        return through(block.ln1, back, places)

    def value(self, layer: int, heads: Int[Tensor, " n"], z: Float[Tensor, "n d_head"]) -> Float[Tensor, "n d_model"]:
        """Return covectors on the normalised stream through the values.

        For a pattern of 1.
        """
        return torch.einsum("nd,nmd->nm", z, self.layers[layer].W_V.detach()[heads // self.spec.kv_group])
