"""Pulling directions back through the secant maps of a contrast.

The transpose of a component's secant map takes a covector on what it writes to covectors on what it reads. A head
reads three times, and its covector on z = pattern · v splits into three, one for each factor:

    value at s    Σ_t p̄[t, s] c_z[t]
    score         c_s = slope ⊙ M (c_z · v̄),      M the softmax's secant
    query at t    Σ_s c_s[t, s] k̄_s
    key at s      Σ_t c_s[t, s] q̄_t

each then taken back through rotation, query/key norm, weights and the block's norm. There are no constants: biases
cancel between the runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from interp.attribution.secants import NormSecant
from interp.model import Spec
from interp.model.arithmetic import rotary_table, rotate
from interp.model.families import Layer

if TYPE_CHECKING:
    from interp.attribution.contrast import Contrast

Branch = Literal["q", "k", "v"]
BRANCHES: tuple[Branch, ...] = ("q", "k", "v")


@dataclass(frozen=True)
class Heads:
    """Covectors on every query head's query, key and value, as projected: (…, n_head, n_token, d_head).

    Query heads that share a key-value head each have their own covector on it.
    """

    q: Tensor
    k: Tensor
    v: Tensor


@dataclass(frozen=True)
class SecantPull:
    """The transposes of every component's secant map; covectors have any axes before those of the pairs."""

    contrast: Contrast

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """Each block's parameters as stored: views, made once."""
        weights = self.contrast.model.weights
        return tuple(weights.raw(layer) for layer in range(weights.spec.n_layer))

    def attention(
        self, layer: int, covectors: Float[Tensor, "*batch n_token d_model"]
    ) -> tuple[Float[Tensor, "*batch n_token d_model"], Float[Tensor, "*batch"]]:
        """All heads of a layer together, through queries, keys and values: the sum of `readers`."""
        raw, found = self.layers[layer], self.heads(layer, covectors)
        back = _project(found.q, raw.W_Q) + _project(self.grouped(found.k), raw.W_K)
        back = back + _project(self.grouped(found.v), raw.W_V)
        return self.contrast.blocks[layer].ln1.pull(back), _nothing(covectors)

    def mlp(
        self, layer: int, covectors: Float[Tensor, "*batch n_token d_model"]
    ) -> tuple[Float[Tensor, "*batch n_token d_model"], Float[Tensor, "*batch"]]:
        """The MLP of a layer, position by position."""
        raw, block = self.layers[layer], self.contrast.blocks[layer]
        hidden = _through(block.mlp_post, covectors) @ raw.W_out.detach().T
        if block.up is None or raw.W_gate is None:
            back = (hidden * block.gated) @ raw.W_in.detach().T
        else:
            back = (hidden * block.up) @ raw.W_in.detach().T + (hidden * block.gated) @ raw.W_gate.detach().T
        return block.ln2.pull(back), _nothing(covectors)

    def heads(self, layer: int, covectors: Float[Tensor, "*batch n_token d_model"]) -> Heads:
        """Covectors on what attention writes, carried to every head's query, key and value as projected."""
        raw, block, spec = self.layers[layer], self.contrast.blocks[layer], self.contrast.model.spec
        covectors = _through(block.attn_post, covectors)
        on_z = (covectors @ raw.W_O.detach().flatten(0, 1).T).unflatten(-1, raw.W_O.shape[:2]).transpose(-2, -3)
        key, value = (self._spread(x) for x in (block.key, block.value))
        on_scores = block.softmax.pull(on_z @ value.transpose(-1, -2)) * block.slope
        on_query, on_key = on_scores @ key, on_scores.transpose(-1, -2) @ block.query
        key_norm = None if block.key_norm is None else block.key_norm.map(self._spread)
        return Heads(
            q=_through(block.query_norm, turned_back(spec, on_query)),
            k=_through(key_norm, turned_back(spec, on_key)),
            v=block.pattern.transpose(-1, -2) @ on_z,
        )

    def readers(
        self, layer: int, covectors: Float[Tensor, "*batch n_token d_model"], grouped: bool = False
    ) -> tuple[list[str], Float[Tensor, "*batch n_token n_reader d_model"], Float[Tensor, "*batch n_reader"]]:
        """Queries, keys and values apart: (names, covectors on the stream they read, constants, which are zero).

        With `grouped`, a key or value that several query heads share is one reader: "L5KV0.k" for "L5H0.k" and others.
        """
        found, shared = self.heads(layer, covectors), "H"
        if grouped:
            found, shared = Heads(found.q, self.grouped(found.k), self.grouped(found.v)), "KV"
        apart = self._apart(layer, found)
        kinds = zip(BRANCHES, ("H", shared, shared), apart, strict=True)
        names = [f"L{layer}{kind}{i}.{branch}" for branch, kind, x in kinds for i in range(x.shape[-2])]
        return names, torch.cat(apart, dim=-2), covectors.new_zeros(*covectors.shape[:-2], len(names))

    def grouped(
        self, x: Float[Tensor, "*batch n_head n_token d_head"]
    ) -> Float[Tensor, "*batch n_kv_head n_token d_head"]:
        """The sum over the query heads that share a key-value head."""
        return x.unflatten(-3, (-1, self.contrast.model.spec.kv_group)).sum(-3)

    def _apart(self, layer: int, heads: Heads) -> list[Float[Tensor, "*batch n_token n d_model"]]:
        """Covectors on queries, keys and values carried to the stream, each head apart."""
        raw, found = self.layers[layer], []
        norm = self.contrast.blocks[layer].ln1.map(lambda x: x.unsqueeze(-2))
        for x, stored in ((heads.q, raw.W_Q), (heads.k, raw.W_K), (heads.v, raw.W_V)):
            weight = stored.detach().repeat_interleave(x.shape[-3] // len(stored), dim=0)
            found.append(norm.pull((x @ weight.transpose(-1, -2)).transpose(-2, -3)))
        return found

    def _spread(self, x: Float[Tensor, "*pair n_kv_head n_token d"]) -> Float[Tensor, "*pair n_head n_token d"]:
        """Each key-value head repeated for the query heads that share it."""
        return x.repeat_interleave(self.contrast.model.spec.kv_group, dim=-3)


def _project(
    heads: Float[Tensor, "*batch n n_token d_head"], weight: Tensor
) -> Float[Tensor, "*batch n_token d_model"]:
    """Σ over heads of covectors on projections, through the transposed weights."""
    return heads.transpose(-2, -3).flatten(-2) @ weight.detach().transpose(1, 2).flatten(0, 1)


def _through(norm: NormSecant | None, covectors: Tensor) -> Tensor:
    return covectors if norm is None else norm.pull(covectors)


def turned_back(spec: Spec, x: Float[Tensor, "*batch n_token d_head"]) -> Float[Tensor, "*batch n_token d_head"]:
    """Covectors on rotated queries or keys, carried back through the rotation: R(p)ᵀ = R(−p)."""
    if spec.rotary is None:
        return x
    return rotate(x, *rotary_table(spec.rotary, -torch.arange(x.shape[-2], device=x.device), x))


def _nothing(covectors: Tensor) -> Tensor:
    return covectors.new_zeros(covectors.shape[:-2])
