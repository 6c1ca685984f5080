"""Pulling directions back through frozen components.

A component of a frozen input is a linear map from the residual streams it reads to the vector it writes. Its
transpose takes a covector on the output (a direction whose product with the write is the number wanted) to covectors
on the inputs, plus a constant for the component's own biases:

    head at query t:   covector on x_s = pattern[t, s] / s_norm(s) · W_V' W_O u        for every source s ≤ t
    MLP at t:          covector on x_t = 1 / s_norm(t) · W_in' (multiplier ⊙ W_out u)
    expert at t:       the same with its own weights, times its share; nothing where it did not run

with u already taken back through a post-norm, and W' the weights with the norm's gain folded in. Nothing is folded
here: the matrices stay views of the model's, and gain and centring are applied to the result. A pattern that sums to
less than one, because of a sink, passes on as much less of the value's bias.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from typing import TYPE_CHECKING, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.attribution.components import Component
from interp.model.experts import by_expert, spread
from interp.model.families import Layer, RawNorm

if TYPE_CHECKING:
    from interp.attribution.frozen import Frozen


@dataclass(frozen=True)
class FrozenPull:
    """The transposes of every component of one frozen input."""

    frozen: Frozen

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Each block's parameters as stored."""
        return self.frozen.layers

    @cached_property
    def value_biases(self) -> tuple[Float[Tensor, "n_head d_head"], ...]:
        """What each head adds whatever it reads, for each layer.

        b_V with the norm's bias through W_V.
        """
        biases = []
        for raw in self.layers:
            bias = raw.W_V.new_zeros(raw.W_V.shape[0], raw.W_V.shape[2]) if raw.b_V is None else raw.b_V
            if raw.ln1.bias is not None:
                bias = bias + torch.einsum("m,hmd->hd", raw.ln1.bias, raw.W_V)
            biases.append(bias.detach().repeat_interleave(self.frozen.model.spec.kv_group, dim=0))
        return tuple(biases)

    def readers(
        self,
        layer: int,
        covectors: Float[Tensor, "*batch n_token d_model"],
        grouped: bool = False,  # noqa: ARG002
    ) -> tuple[list[str], Float[Tensor, "*batch n_token n_head d_model"], Float[Tensor, "*batch n_head"]]:
        """Take covectors back through each head: (names, covectors on x, constants).

        They are given on what the heads write at every position.

        `grouped` changes nothing: heads read through values alone, each with its own covector.
        """
        mixed, constant = self._values(layer, covectors)
        every = range(self.frozen.model.spec.n_head)
        back = torch.stack([mixed[..., h, :] @ self._value_weights(layer, h).T for h in every], dim=-2)
        back = _through_norm(self.layers[layer].ln1, back)
        names = [f"L{layer}H{head}" for head in every]
        return names, back / self.frozen.blocks[layer].attn_scale[:, None, None], constant.sum(-2)

    def attention(
        self, layer: int, covectors: Float[Tensor, "*batch n_token d_model"]
    ) -> tuple[Float[Tensor, "*batch n_token d_model"], Float[Tensor, "*batch"]]:
        """Take covectors back through all heads of a layer at once.

        It is the sum of `readers`, in the time of one.
        """
        mixed, constant = self._values(layer, covectors)
        grouped = mixed.unflatten(-2, (-1, self.frozen.model.spec.kv_group)).sum(-2)
        flat = self.layers[layer].W_V.detach().transpose(1, 2).flatten(0, 1)
        back = _through_norm(self.layers[layer].ln1, grouped.flatten(-2) @ flat)
        return back / self.frozen.blocks[layer].attn_scale[:, None], constant.sum((-1, -2))

    def constant_name(self, part: Literal["attention", "mlp"], layer: int) -> str:
        """Return the bias that a part's constant is."""
        return f"L{layer}.b_V" if part == "attention" else f"MLP{layer}.b_in"

    def mlp(
        self, layer: int, covectors: Float[Tensor, "*batch n_token d_model"]
    ) -> tuple[Float[Tensor, "*batch n_token d_model"], Float[Tensor, "*batch"]]:
        """Carry covectors back through the MLP of a layer.

        In a mixture of experts, through all of them.

        Position by position: (covectors on what it reads, constant).
        """
        back, constant = self.mlp_at(layer, slice(None), covectors)
        return back, constant.sum(-1)

    def experts(
        self, layer: int, covectors: Float[Tensor, "*batch n_token d_model"]
    ) -> tuple[list[str], Float[Tensor, "*batch n_token n_ran d_model"], Float[Tensor, "*batch n_ran"]]:
        """Take covectors back through each expert that ran at any position.

        Returns (names, covectors on x, constants).
        """
        chosen = self._chosen(layer)
        ran = chosen.unique()
        back, constant = self._slots(layer, slice(None), covectors, chosen, self._slot_multipliers(layer))
        apart, constants = spread(back, chosen, ran), spread(constant[..., None], chosen, ran)
        return [f"L{layer}E{expert}" for expert in ran.tolist()], apart, constants[..., 0].sum(-2)

    def component(
        self, component: Component, covectors: Float[Tensor, "n_token d_model"]
    ) -> tuple[Float[Tensor, "n_token d_model"], Float[Tensor, ""]]:
        """Take covectors at every position back through one component."""
        if component.kind == "head":
            return self.head(component.layer, component.head, covectors)
        every = torch.arange(len(covectors), device=covectors.device)
        experts = every.new_full(every.shape, component.expert)
        back, constant = self.component_at(component.layer, experts, every, covectors)
        return back, constant.sum()

    def component_at(
        self,
        layer: int,
        experts: Int[Tensor, " n"],
        positions: Int[Tensor, " n"],
        covectors: Float[Tensor, "n d_model"],
    ) -> tuple[Float[Tensor, "n d_model"], Float[Tensor, " n"]]:
        """Take covectors back through experts at given positions, one each.

        Through the layer's MLP if it has no experts.
        """
        if not self.frozen.model.spec.n_expert:
            return self.mlp_at(layer, positions, covectors)
        here = (self._chosen(layer)[positions] == experts[:, None]).to(covectors.dtype)
        multiplier = torch.einsum("nk,nkm->nm", here, self._slot_multipliers(layer)[positions])[:, None]
        back, constant = self._slots(layer, positions, covectors, experts[:, None], multiplier)
        return back[:, 0], constant[:, 0]

    def head(
        self, layer: int, head: int, covectors: Float[Tensor, "n_token d_model"]
    ) -> tuple[Float[Tensor, "n_token d_model"], Float[Tensor, ""]]:
        """Take covectors at every position back through one head."""
        raw, block = self.layers[layer], self.frozen.blocks[layer]
        covectors = self._before_edit(layer, "hook_attn_out", covectors)
        covectors = _before_post(raw.attn_post, block.attn_write_scale, covectors)
        values = (covectors @ raw.W_O.detach().flatten(0, 1).T).unflatten(-1, raw.W_O.shape[:2])
        values, own = (part[:, head] for part in self._before_z(layer, values))
        back = block.pattern[head].T @ values @ self._value_weights(layer, head).T
        constant = block.pattern[head].sum(-1) @ values @ self.value_biases[layer][head] + own.sum()
        return _through_norm(raw.ln1, back) / block.attn_scale[:, None], constant

    def heads_at(
        self,
        layer: int,
        heads: Int[Tensor, " n"],
        positions: Int[Tensor, " n"],
        covectors: Float[Tensor, "n d_model"],
    ) -> tuple[Float[Tensor, "n d_model"], Float[Tensor, " n"]]:
        """Take covectors at one position back through some heads, one each.

        W_V' W_O u, before pattern and norm scale.
        """
        raw, block = self.layers[layer], self.frozen.blocks[layer]
        covectors = self._before_edit(layer, "hook_attn_out", covectors, positions)
        covectors = _before_post(raw.attn_post, block.attn_write_scale[positions], covectors)
        values, back = covectors.new_empty(len(covectors), raw.W_O.shape[1]), torch.empty_like(covectors)
        runs = _runs(heads)
        for head, rows in runs:
            torch.mm(covectors[rows], raw.W_O[head].detach().T, out=values[rows])
        values, own = self._before_z_of(layer, values, heads, positions)
        for head, rows in runs:
            torch.mm(values[rows], self._value_weights(layer, head).T, out=back[rows])
        if raw.b_V is not None or raw.ln1.bias is not None:
            biases = (values * self.value_biases[layer][heads]).sum(-1)
            own = biases * block.pattern[heads, positions].sum(-1) + own
        return _through_norm(raw.ln1, back), own

    def mlp_at(
        self, layer: int, position: Tensor | slice, covectors: Float[Tensor, "*batch n d_model"]
    ) -> tuple[Float[Tensor, "*batch n d_model"], Float[Tensor, "*batch n"]]:
        """Take covectors back through the MLP, or its experts, at given positions."""
        if self.frozen.model.spec.n_expert:
            chosen, multiplier = self._chosen(layer)[position], self._slot_multipliers(layer)[position]
            back, constant = self._slots(layer, position, covectors, chosen, multiplier)
            return back.sum(-2), constant.sum(-1)
        raw, block = self.layers[layer], self.frozen.blocks[layer]
        given = covectors
        covectors = edited = self._before_edit(layer, "hook_resid_post", covectors, position)
        covectors = self._before_edit(layer, "hook_mlp_out", covectors, position)
        covectors = _before_post(raw.mlp_post, block.mlp_write_scale[position], covectors)
        hidden = covectors @ raw.W_out.detach().T
        hidden *= block.multiplier[position]
        back = hidden @ raw.W_in.detach().T
        constant = back.new_zeros(back.shape[:-1])
        if raw.b_in is not None:
            constant = constant + hidden @ raw.b_in.detach()
        if raw.ln2.bias is not None:
            constant = constant + back @ raw.ln2.bias.detach()
        back = _through_norm(raw.ln2, back).div_(block.mlp_scale[position][..., None])
        # An edit of the stream after the block is written by its MLP, which reads for it what passes by.
        return back if edited is given else back + (edited - given), constant

    def _before_edit(
        self, layer: int, hook: str, covectors: Tensor, at: Tensor | slice = slice(None)
    ) -> Float[Tensor, "*batch n *head d"]:
        """Carry covectors on an edited value to the value before."""
        edit = self.frozen.edits.get((layer, hook))
        return covectors if edit is None else edit.back(covectors, at)

    def _slots(
        self,
        layer: int,
        position: Tensor | slice,
        covectors: Float[Tensor, "*batch n d_model"],
        experts: Int[Tensor, "n k"],
        multiplier: Float[Tensor, "n k d_mlp"],
    ) -> tuple[Float[Tensor, "*batch n k d_model"], Float[Tensor, "*batch n k"]]:
        """Take covectors back through k experts at each position.

        With `multiplier`, that of the experts times their shares: (on x, constants).
        """
        raw, block = self.layers[layer], self.frozen.blocks[layer]
        covectors = _before_post(raw.mlp_post, block.mlp_write_scale[position], covectors)[..., None, :]
        covectors = covectors.expand(*covectors.shape[:-2], experts.shape[1], -1)
        hidden = by_expert(covectors, raw.W_out.transpose(1, 2), experts) * multiplier
        back = by_expert(hidden, raw.W_in.transpose(1, 2), experts)
        constant = back.new_zeros(back.shape[:-1])
        if raw.b_in is not None:
            constant = (hidden * raw.b_in.detach()[experts]).sum(-1)
        if raw.ln2.bias is not None:
            constant = constant + back @ raw.ln2.bias.detach()
        return _through_norm(raw.ln2, back) / block.mlp_scale[position][..., None, None], constant

    def _chosen(self, layer: int) -> Int[Tensor, "n_token n_used"]:
        chosen = self.frozen.blocks[layer].chosen
        assert chosen is not None
        return chosen

    def _slot_multipliers(self, layer: int) -> Float[Tensor, "n_token n_used d_mlp"]:
        """Return each chosen expert's multiplier times its share."""
        block = self.frozen.blocks[layer]
        assert block.shares is not None
        return block.multiplier * block.shares[..., None]

    def _values(self, layer: int, covectors: Tensor) -> tuple[Tensor, Tensor]:
        """Return covectors on every head's value vectors, and constants.

        (…, source, head, d_head), and one constant for each (query, head).
        """
        raw, block = self.layers[layer], self.frozen.blocks[layer]
        covectors = self._before_edit(layer, "hook_attn_out", covectors)
        covectors = _before_post(raw.attn_post, block.attn_write_scale, covectors)
        flat = raw.W_O.detach().flatten(0, 1)
        per_head = (covectors @ flat.T).unflatten(-1, (raw.W_O.shape[0], -1))
        per_head, own = self._before_z(layer, per_head)
        mixed = torch.einsum("hqk,...qhd->...khd", block.pattern, per_head)
        constants = torch.einsum("...qhd,hd->...qh", per_head, self.value_biases[layer])
        return mixed, constants * block.pattern.sum(-1).T + own

    def _before_z(
        self, layer: int, values: Tensor, at: Tensor | slice = slice(None)
    ) -> tuple[Float[Tensor, "*batch n head d_head"], Float[Tensor, "*batch n head"]]:
        """Return covectors on heads' values before an edit, and its constant's part."""
        edit = self.frozen.edits.get((layer, "attn.hook_z"))
        if edit is None:
            return values, values.new_zeros(values.shape[:-1])
        return edit.back(values, at), (values * edit.constant[at]).sum(-1)

    def _before_z_of(
        self, layer: int, values: Float[Tensor, "n d_head"], heads: Tensor, positions: Tensor
    ) -> tuple[Float[Tensor, "n d_head"], Float[Tensor, " n"]]:
        """Return covectors on one head's value each before an edit, and its constant's part."""
        edit = self.frozen.edits.get((layer, "attn.hook_z"))
        if edit is None:
            return values, values.new_zeros(len(values))
        apart = values.new_zeros(len(values), *edit.constant.shape[1:])
        every = torch.arange(len(values))
        apart[every, heads] = values
        before, own = self._before_z(layer, apart, positions)
        return before[every, heads], own.sum(-1)

    def _value_weights(self, layer: int, head: int) -> Float[Tensor, "d_model d_head"]:
        return self.layers[layer].W_V[head // self.frozen.model.spec.kv_group].detach()


def _runs(heads: Int[Tensor, " n"]) -> list[tuple[int, slice]]:
    """Return each run of equal heads and its rows."""
    runs, first = [], 0
    for head, run in groupby(heads.tolist()):
        end = first + len(list(run))
        runs.append((head, slice(first, end)))
        first = end
    return runs


def _before_post(norm: RawNorm | None, scale: Tensor, covectors: Tensor) -> Tensor:
    """Carry covectors from the residual stream to before a post-norm."""
    return covectors if norm is None else covectors * norm.gain.detach() / scale[..., None]


def _through_norm(norm: RawNorm, back: Tensor) -> Tensor:
    """Apply the transpose of gain and, for LayerNorm, centring.

    Dividing by the scale is left to the caller.
    """
    back = back * norm.gain.detach()
    return back if norm.bias is None else back - back.mean(dim=-1, keepdim=True)
