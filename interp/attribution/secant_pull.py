"""Pulling directions back through the secant maps of a contrast.

The transpose of a component's secant map takes a covector on what it writes to covectors on what it reads. A head
reads three times, and its covector on z = pattern · v splits into three, one for each factor:

    value at s    Σ_t p̄[t, s] c_z[t]
    score         c_s = slope ⊙ M (c_z · v̄),      M the softmax's secant
    query at t    Σ_s c_s[t, s] k̄_s
    key at s      Σ_t c_s[t, s] q̄_t

each then taken back through rotation, query/key norm, weights and the block's norm. Biases cancel between the runs, so
there are no constants but one: what an expert changes because another choice of experts was made (`secant_experts`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from interp.attribution.secant_experts import ExpertSecants
from interp.attribution.secants import NormSecant
from interp.model import Rotary
from interp.model.arithmetic import rotate
from interp.model.experts import by_expert, spread
from interp.model.families import Layer

if TYPE_CHECKING:
    from interp.attribution.secant_map import SecantMap

Branch = Literal["q", "k", "v"]
BRANCHES: tuple[Branch, ...] = ("q", "k", "v")


class Heads(NamedTuple):
    """Covectors on query heads' queries, keys and values: (…, n_head, n_token, d_head).

    Query heads that share a key-value head each have their own covector on it.
    """

    q: Tensor
    k: Tensor
    v: Tensor


@dataclass(frozen=True)
class SecantPull:
    """The transposes of every component's secant map; covectors have any axes before those of the pairs."""

    contrast: SecantMap

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

    def constant_name(self, part: Literal["attention", "mlp"], layer: int) -> str:
        """What a part's constant is: for a mixture of experts the choice; others have none."""
        return f"MLP{layer}.choice" if part == "mlp" else f"L{layer}"

    def mlp(
        self, layer: int, covectors: Float[Tensor, "*batch n_token d_model"]
    ) -> tuple[Float[Tensor, "*batch n_token d_model"], Float[Tensor, "*batch"]]:
        """The MLP of a layer, or all its experts, position by position."""
        if not self.contrast.model.spec.n_expert:
            return self.mlp_at(layer, slice(None), covectors), _nothing(covectors)
        _, apart, constants = self.experts(layer, covectors)
        return apart.sum(-2), constants.sum(-1)

    def mlp_at(
        self, layer: int, positions: Tensor | slice, covectors: Float[Tensor, "*batch n d_model"]
    ) -> Float[Tensor, "*batch n d_model"]:
        """The MLP of a layer at given positions, one covector each."""
        raw, block, at = self.layers[layer], self.contrast.blocks[layer], (..., positions, slice(None))
        hidden = through(block.mlp_post, covectors, at) @ raw.W_out.detach().T
        if block.up is None or raw.W_gate is None:
            back = (hidden * block.gated[at]) @ raw.W_in.detach().T
        else:
            back = (hidden * block.up[at]) @ raw.W_in.detach().T + (hidden * block.gated[at]) @ raw.W_gate.detach().T
        return through(block.ln2, back, at)

    def experts(
        self, layer: int, covectors: Float[Tensor, "*batch n_token d_model"]
    ) -> tuple[list[str], Float[Tensor, "*batch n_token n_ran d_model"], Float[Tensor, "*batch n_ran"]]:
        """Each expert that changes anything apart: (names, covectors on the stream, constants)."""
        found, writes = self._secants(layer), self.expert_writes(layer)
        ran = (found.both.flatten(0, -2).any(0) | writes.flatten(1).any(-1)).nonzero()[:, 0]
        back, gained = self._slots(layer, torch.arange(covectors.shape[-2]), covectors)
        back, gained = spread(back, found.chosen, ran), spread(gained[..., None], found.chosen, ran)
        whole = torch.einsum("...tm,e...tm->...te", covectors, writes[ran]) * ~found.both[..., ran]
        return [f"L{layer}E{expert}" for expert in ran.tolist()], back, (gained[..., 0] + whole).sum(-2)

    def expert_at(
        self,
        layer: int,
        experts: Int[Tensor, " n"],
        positions: Int[Tensor, " n"],
        covectors: Float[Tensor, "n d_model"],
    ) -> tuple[Float[Tensor, "n d_model"], Float[Tensor, " n"]]:
        """Experts at given positions of one pair, one covector each: (covectors on the stream, constants)."""
        found = self._secants(layer)
        back, gained = self._slots(layer, positions, covectors)
        here = (found.chosen[positions] == experts[:, None]).to(covectors.dtype)
        alone = ~found.both[positions, experts]
        whole = (covectors * self.expert_writes(layer)[experts, positions]).sum(-1) * alone
        return (here[..., None] * back).sum(-2), (here * gained).sum(-1) + whole

    def expert_writes(self, layer: int) -> Float[Tensor, "n_expert *pair n_token d_model"]:
        """By how much each expert's write differs."""
        first = self.contrast.layout.mlp(layer)
        return self.contrast.writes[first : first + self.contrast.layout.n_mlp]

    def _slots(
        self, layer: int, positions: Int[Tensor, " n"], covectors: Float[Tensor, "*batch n d_model"]
    ) -> tuple[Float[Tensor, "*batch n n_used d_model"], Float[Tensor, "*batch n n_used"]]:
        """Covectors through each expert of the clean run: (on the stream, what it gains by another choice)."""
        raw, block, found = self.layers[layer], self.contrast.blocks[layer], self._secants(layer)
        assert raw.W_gate is not None and block.up is not None and raw.router is not None
        at = (..., positions, slice(None))
        rows = (*at, slice(None))
        chosen = found.chosen[at]
        before = through(block.mlp_post, covectors, at)[..., None, :]
        before = before.expand(*covectors.shape[:-1], chosen.shape[-1], -1)
        hidden = by_expert(before, raw.W_out.transpose(1, 2), chosen) * found.share[at][..., None]
        back = by_expert(hidden * block.up[rows], raw.W_in.transpose(1, 2), chosen)
        back = back + by_expert(hidden * block.gated[rows], raw.W_gate.transpose(1, 2), chosen)
        on_share = (before * found.output[rows]).sum(-1)
        own = one_hot(chosen, found.both.shape[-1]).to(before)
        softmax = found.softmax.map(lambda x: x[at][..., None, :])
        back = back + softmax.pull(own * on_share[..., None]) @ raw.router.W.detach().T
        ln2 = block.ln2.map(lambda x: x[at][..., None, :])
        return ln2.pull(back), on_share * found.switched[at]

    def _secants(self, layer: int) -> ExpertSecants:
        found = self.contrast.blocks[layer].experts
        assert found is not None
        return found

    def placed(
        self, layer: int, covectors: Float[Tensor, "*batch n_token d_model"], heads: slice = slice(None)
    ) -> Heads:
        """Covectors on what attention writes, carried to queries, keys and values as scores and z read them."""
        raw, block = self.layers[layer], self.contrast.blocks[layer]
        W_O, at = raw.W_O.detach()[heads], (..., heads, slice(None), slice(None))
        on_z = through(block.attn_post, covectors) @ W_O.flatten(0, 1).T
        on_z = on_z.unflatten(-1, W_O.shape[:2]).transpose(-2, -3)
        key, value = (self._spread(x)[at] for x in (block.key, block.value))
        softmax = block.softmax.map(lambda x: x[at])
        on_scores = softmax.pull(on_z @ value.mT) * block.slope[at]
        own = slice(block.start, None)  # keys and values before are those of both runs
        return Heads(on_scores @ key, on_scores[..., own].mT @ block.query[at], block.pattern[at][..., own].mT @ on_z)

    def heads(
        self, layer: int, covectors: Float[Tensor, "*batch n_token d_model"], heads: slice = slice(None)
    ) -> Heads:
        """Covectors on what attention writes, carried to the heads' queries, keys and values as projected."""
        block, rotary = self.contrast.blocks[layer], self.contrast.model.spec.rotaries[layer]
        found, at = self.placed(layer, covectors, heads), (..., heads, slice(None), slice(None))
        key_norm = None if block.key_norm is None else block.key_norm.map(self._spread)
        return Heads(
            q=through(block.query_norm, turned_back(rotary, found.q, block.start), at),
            k=through(key_norm, turned_back(rotary, found.k, block.start), at),
            v=found.v,
        )

    def branch(
        self, layer: int, head: int, branch: Branch, covectors: Float[Tensor, "n_token d_model"]
    ) -> Float[Tensor, "n_token d_model"]:
        """One branch of one head, covectors on what the head writes at every position."""
        raw, group = self.layers[layer], head // self.contrast.model.spec.kv_group
        x = getattr(self.heads(layer, covectors, slice(head, head + 1)), branch)[0]
        weight = {"q": (raw.W_Q, head), "k": (raw.W_K, group), "v": (raw.W_V, group)}[branch]
        return self.contrast.blocks[layer].ln1.pull(x @ weight[0][weight[1]].detach().T)

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
            shared = x.unflatten(-3, (len(stored), -1))
            found.append(norm.pull(torch.einsum("...kitd,kmd->...tkim", shared, stored.detach()).flatten(-3, -2)))
        return found

    def _spread(self, x: Float[Tensor, "*pair n_kv_head n_token d"]) -> Float[Tensor, "*pair n_head n_token d"]:
        """Each key-value head repeated for the query heads that share it."""
        return x.repeat_interleave(self.contrast.model.spec.kv_group, dim=-3)


def _project(
    heads: Float[Tensor, "*batch n n_token d_head"], weight: Tensor
) -> Float[Tensor, "*batch n_token d_model"]:
    """Σ over heads of covectors on projections, through the transposed weights."""
    return heads.transpose(-2, -3).flatten(-2) @ weight.detach().transpose(1, 2).flatten(0, 1)


def through(norm: NormSecant | None, covectors: Tensor, at: Any = ...) -> Tensor:
    """Covectors carried back through a norm at some places, if there is one."""
    return covectors if norm is None else norm.map(lambda x: x[at]).pull(covectors)


def turned_back(
    rotary: Rotary | None, x: Float[Tensor, "*batch n_token d_head"], start: int = 0
) -> Float[Tensor, "*batch n_token d_head"]:
    """Covectors on queries or keys rotated from position `start` on, carried back: R(p)ᵀ = R(−p)."""
    n_token = start + x.shape[-2]
    return rotate(x, rotary, -torch.arange(start, n_token, device=x.device), n_token)


def _nothing(covectors: Tensor) -> Tensor:
    return covectors.new_zeros(covectors.shape[:-2])
