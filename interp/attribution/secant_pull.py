"""Pulling directions back through the secant maps of a contrast.

The transpose of a component's secant map takes a covector on what it writes to covectors on what it reads. A head
reads three times, and its covector on z = pattern · v splits into three, one for each factor:

    value at s    Σ_t p̄[t, s] c_z[t]
    score         c_s = slope ⊙ M (c_z · v̄),      M the softmax's secant
    query at t    Σ_s c_s[t, s] k̄_s
    key at s      Σ_t c_s[t, s] q̄_t

each then taken back through rotation, query/key norm, weights and the block's norm. Where one norm is over all heads,
a covector on its scale goes directly to the stream (`joint_norm`). Biases cancel between the runs, so
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

from interp.attribution.joint_norm import JointNormSecant
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

    Query heads that share a key-value head each have their own covector on it. `scales` are those on the scales of
    norms over all heads, of queries and of keys, (…, n_head, n_token, 1); None where every head has its own norm.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    scales: tuple[Tensor, Tensor] | None = None


@dataclass(frozen=True)
class SecantPull:
    """Transposes of every component's secant map.

    Covectors have any axes before those of the pairs.
    """

    contrast: SecantMap

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """Each block's parameters as stored: views, made once."""
        weights = self.contrast.model.weights
        return tuple(weights.raw(layer) for layer in range(weights.spec.n_layer))

    def attention(
        self, layer: int, covectors: Float[Tensor, "*batch n_token d_model"]
    ) -> tuple[Float[Tensor, "*batch n_token d_model"], Float[Tensor, "*batch"]]:
        """Take covectors back through all heads of a layer.

        Through queries, keys and values: the sum of `readers`.
        """
        raw, on_heads = self.layers[layer], self.heads(layer, covectors)
        back = _project(on_heads.q, raw.W_Q) + _project(self.grouped(on_heads.k), raw.W_K)
        back = back + _project(self.grouped(on_heads.v), raw.W_V)
        for scale, slope in zip(on_heads.scales or (), self._slopes(layer), strict=False):
            back = back if slope is None else back + scale.sum(-3) * slope
        return self.contrast.blocks[layer].ln1.pull(back), _nothing(covectors)

    def constant_name(self, part: Literal["attention", "mlp"], layer: int) -> str:
        """Return what a part's constant is called.

        Of a mixture of experts the choice; others have none.
        """
        return f"MLP{layer}.choice" if part == "mlp" else f"L{layer}"

    def mlp(
        self, layer: int, covectors: Float[Tensor, "*batch n_token d_model"]
    ) -> tuple[Float[Tensor, "*batch n_token d_model"], Float[Tensor, "*batch"]]:
        """Carry covectors back through the MLP of a layer.

        In a mixture of experts, through all of them.
        """
        back, constants = self.mlp_at(layer, slice(None), covectors)
        return back, constants.sum(-1)

    def mlp_at(
        self, layer: int, positions: Tensor | slice, covectors: Float[Tensor, "*batch n d_model"]
    ) -> tuple[Float[Tensor, "*batch n d_model"], Float[Tensor, "*batch n"]]:
        """Take covectors back through the MLP, or its experts, at given positions."""
        raw, block, at = self.layers[layer], self.contrast.blocks[layer], (..., positions, slice(None))
        if self.contrast.model.spec.n_expert:
            back, gained = self._slots(layer, positions, covectors)
            written = torch.einsum("...nm,e...nm->...ne", covectors, self.expert_writes(layer)[at])
            alone = ~self._secants(layer).both[at]
            return back.sum(-2), gained.sum(-1) + (written * alone).sum(-1)
        hidden = through(block.mlp_post, covectors, at) @ raw.W_out.detach().T
        if block.up is None or raw.W_gate is None:
            back = (hidden * block.gated[at]) @ raw.W_in.detach().T
        else:
            back = (hidden * block.up[at]) @ raw.W_in.detach().T + (hidden * block.gated[at]) @ raw.W_gate.detach().T
        return through(block.ln2, back, at), covectors.new_zeros(covectors.shape[:-1])

    def experts(
        self, layer: int, covectors: Float[Tensor, "*batch n_token d_model"]
    ) -> tuple[list[str], Float[Tensor, "*batch n_token n_ran d_model"], Float[Tensor, "*batch n_ran"]]:
        """Take covectors back through each expert that changes anything.

        Returns (names, covectors on the stream, constants).
        """
        secants, writes = self._secants(layer), self.expert_writes(layer)
        ran = (secants.both.flatten(0, -2).any(0) | writes.flatten(1).any(-1)).nonzero()[:, 0]
        back, gained = self._slots(layer, slice(None), covectors)
        back, gained = spread(back, secants.chosen, ran), spread(gained[..., None], secants.chosen, ran)
        whole = torch.einsum("...tm,e...tm->...te", covectors, writes[ran]) * ~secants.both[..., ran]
        return [f"L{layer}E{expert}" for expert in ran.tolist()], back, (gained[..., 0] + whole).sum(-2)

    def expert_at(
        self,
        layer: int,
        experts: Int[Tensor, " n"],
        positions: Int[Tensor, " n"],
        covectors: Float[Tensor, "n d_model"],
    ) -> tuple[Float[Tensor, "n d_model"], Float[Tensor, " n"]]:
        """Take covectors back through experts at given positions, one each.

        Of one pair: (covectors on the stream, constants).
        """
        secants = self._secants(layer)
        back, gained = self._slots(layer, positions, covectors)
        here = (secants.chosen[positions] == experts[:, None]).to(covectors.dtype)
        alone = ~secants.both[positions, experts]
        whole = (covectors * self.expert_writes(layer)[experts, positions]).sum(-1) * alone
        return (here[..., None] * back).sum(-2), (here * gained).sum(-1) + whole

    def expert_writes(self, layer: int) -> Float[Tensor, "n_expert *pair n_token d_model"]:
        """Return by how much each expert's write differs."""
        first = self.contrast.layout.mlp(layer)
        return self.contrast.writes[first : first + self.contrast.layout.n_mlp]

    def _slots(
        self, layer: int, positions: Int[Tensor, " n"] | slice, covectors: Float[Tensor, "*batch n d_model"]
    ) -> tuple[Float[Tensor, "*batch n n_used d_model"], Float[Tensor, "*batch n n_used"]]:
        """Take covectors back through each expert of the clean run.

        Returns (on the stream, what it gains by another choice).
        """
        raw, block, secants = self.layers[layer], self.contrast.blocks[layer], self._secants(layer)
        assert raw.W_gate is not None and block.up is not None and raw.router is not None
        at = (..., positions, slice(None))
        rows = (*at, slice(None))
        chosen = secants.chosen[at]
        before = through(block.mlp_post, covectors, at)[..., None, :]
        before = before.expand(*covectors.shape[:-1], chosen.shape[-1], -1)
        hidden = by_expert(before, raw.W_out.transpose(1, 2), chosen) * secants.share[at][..., None]
        back = by_expert(hidden * block.up[rows], raw.W_in.transpose(1, 2), chosen)
        back = back + by_expert(hidden * block.gated[rows], raw.W_gate.transpose(1, 2), chosen)
        on_share = (before * secants.output[rows]).sum(-1)
        own = one_hot(chosen, secants.both.shape[-1]).to(before)
        softmax = secants.softmax.map(lambda x: x[at][..., None, :])
        back = back + softmax.pull(own * on_share[..., None]) @ raw.router.W.detach().T
        ln2 = block.ln2.map(lambda x: x[at][..., None, :])
        return ln2.pull(back), on_share * secants.switched[at]

    def _secants(self, layer: int) -> ExpertSecants:
        secants = self.contrast.blocks[layer].experts
        assert secants is not None
        return secants

    def placed(
        self, layer: int, covectors: Float[Tensor, "*batch n_token d_model"], heads: slice = slice(None)
    ) -> Heads:
        """Carry covectors to queries, keys and values.

        As scores and z read them. They are given on what attention writes.
        """
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
        """Carry covectors to the heads' queries, keys and values as projected.

        They are given on what attention writes.
        """
        block, rotary = self.contrast.blocks[layer], self.contrast.model.spec.rotaries[layer]
        placed, at = self.placed(layer, covectors, heads), (..., heads, slice(None), slice(None))
        key_norm = None if block.key_norm is None else block.key_norm.map(self._spread)
        norms = [None if norm is None else norm.map(lambda x: x[at]) for norm in (block.query_norm, key_norm)]
        q, k = (turned_back(rotary, x, block.start) for x in (placed.q, placed.k))
        joint = [norm.on_scale(x) for norm, x in zip(norms, (q, k), strict=True) if isinstance(norm, JointNormSecant)]
        q, k = through(norms[0], q), through(norms[1], k)
        return Heads(q, k, placed.v, scales=(joint[0], joint[1]) if joint else None)

    def branch(
        self, layer: int, head: int, branch: Branch, covectors: Float[Tensor, "n_token d_model"]
    ) -> Float[Tensor, "n_token d_model"]:
        """Take covectors at every position back through one branch of one head."""
        raw, group = self.layers[layer], head // self.contrast.model.spec.kv_group
        on_heads = self.heads(layer, covectors, slice(head, head + 1))
        weight = {"q": raw.W_Q[head], "k": raw.W_K[group], "v": raw.W_V[group]}[branch]
        back = getattr(on_heads, branch)[0] @ weight.detach().T
        if on_heads.scales is not None and branch != "v":
            at = BRANCHES.index(branch)
            slope = self._slopes(layer)[at]
            back = back if slope is None else back + on_heads.scales[at][0] * slope
        return self.contrast.blocks[layer].ln1.pull(back)

    def readers(
        self, layer: int, covectors: Float[Tensor, "*batch n_token d_model"], grouped: bool = False
    ) -> tuple[list[str], Float[Tensor, "*batch n_token n_reader d_model"], Float[Tensor, "*batch n_reader"]]:
        """Take covectors back through queries, keys and values apart.

        Returns (names, covectors on the stream they read, constants, which are zero).

        With `grouped`, a key or value that several query heads share is one reader: "L5KV0.k" for "L5H0.k" and others.
        """
        on_heads, shared = self.heads(layer, covectors), "H"
        if grouped:
            scales = None if on_heads.scales is None else (on_heads.scales[0], self.grouped(on_heads.scales[1]))
            on_heads, shared = Heads(on_heads.q, self.grouped(on_heads.k), self.grouped(on_heads.v), scales), "KV"
        apart = self._apart(layer, on_heads)
        kinds = zip(BRANCHES, ("H", shared, shared), apart, strict=True)
        names = [f"L{layer}{kind}{i}.{branch}" for branch, kind, x in kinds for i in range(x.shape[-2])]
        return names, torch.cat(apart, dim=-2), covectors.new_zeros(*covectors.shape[:-2], len(names))

    def grouped(
        self, x: Float[Tensor, "*batch n_head n_token d_head"]
    ) -> Float[Tensor, "*batch n_kv_head n_token d_head"]:
        """Return the sum over the query heads that share a key-value head."""
        return x.unflatten(-3, (-1, self.contrast.model.spec.kv_group)).sum(-3)

    def _apart(self, layer: int, heads: Heads) -> list[Float[Tensor, "*batch n_token n d_model"]]:
        """Carry covectors on queries, keys and values to the stream, heads apart."""
        raw, branches = self.layers[layer], []
        norm = self.contrast.blocks[layer].ln1.map(lambda x: x.unsqueeze(-2))
        through_scales = [*zip(heads.scales or (None, None), self._slopes(layer), strict=True), (None, None)]
        stored = ((heads.q, raw.W_Q), (heads.k, raw.W_K), (heads.v, raw.W_V))
        for (x, weight), (scale, slope) in zip(stored, through_scales, strict=True):
            shared = x.unflatten(-3, (len(weight), -1))
            back = torch.einsum("...kitd,kmd->...tkim", shared, weight.detach()).flatten(-3, -2)
            if scale is not None and slope is not None:
                back = back + scale.transpose(-2, -3) * slope[..., None, :]
            branches.append(norm.pull(back))
        return branches

    def _slopes(self, layer: int) -> tuple[Tensor | None, Tensor | None]:
        """Return the slopes of norms over all heads.

        Of queries and of keys.

        None without such norms.
        """
        block = self.contrast.blocks[layer]
        query, key = (getattr(norm, "slope", None) for norm in (block.query_norm, block.key_norm))
        return query, key

    def _spread(self, x: Float[Tensor, "*pair n_kv_head n_token d"]) -> Float[Tensor, "*pair n_head n_token d"]:
        """Repeat each key-value head for the query heads that share it."""
        return x.repeat_interleave(self.contrast.model.spec.kv_group, dim=-3)


def _project(
    heads: Float[Tensor, "*batch n n_token d_head"], weight: Tensor
) -> Float[Tensor, "*batch n_token d_model"]:
    """Return Σ over heads of covectors on projections, through the weights."""
    return heads.transpose(-2, -3).flatten(-2) @ weight.detach().transpose(1, 2).flatten(0, 1)


def through(norm: NormSecant | JointNormSecant | None, covectors: Tensor, at: Any = ...) -> Tensor:
    """Carry covectors back through a norm at some places.

    They are unchanged if there is no norm. A scale of all heads is constant.
    """
    return covectors if norm is None else norm.map(lambda x: x[at]).pull(covectors)


def through_scale(
    norm: NormSecant | JointNormSecant | None, covectors: Tensor, at: Any, places: Any
) -> Float[Tensor, "*batch d_model"] | float:
    """Carry covectors to the stream through a scale of all heads.

    They are given on heads at some places; 0 without such a scale.
    """
    if not isinstance(norm, JointNormSecant):
        return 0.0
    return norm.map(lambda x: x[at]).on_scale(covectors) * norm.slope[places]


def turned_back(
    rotary: Rotary | None, x: Float[Tensor, "*batch n_token d_head"], start: int = 0
) -> Float[Tensor, "*batch n_token d_head"]:
    """Rotate covectors on queries or keys back: R(p)ᵀ = R(−p).

    From position `start` on.
    """
    n_token = start + x.shape[-2]
    return rotate(x, rotary, -torch.arange(start, n_token, device=x.device), n_token)


def _nothing(covectors: Tensor) -> Tensor:
    return covectors.new_zeros(covectors.shape[:-2])
