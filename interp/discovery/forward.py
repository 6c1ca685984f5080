"""The forward pass in which every reader has an input of its own, so that one edge can be changed and no other.

The stream that enters a part is the sum of what was written before it. Here it is handed to each reader separately:
`read(readers, x)` returns what they read instead of x, and `wrote(writers, writes)` sees, and may replace, what was
written. With neither, this is the model's own forward pass. Prompts of a pair agree up to their first difference, so
those positions are run once and enter only as keys and values.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.discovery.graph import Graph
from interp.model import Model, trace
from interp.model.arithmetic import (
    apply_norm,
    attention_pattern,
    distance_bias,
    gate,
    heads_scale,
    limited,
    norm_scale,
    rotate,
    softcap,
    visible,
)
from interp.model.experts import route, rows_of
from interp.model.families import RawNorm
from interp.model.spec import Norm
from interp.model.weights import Mlp, Weights

Read = Callable[[slice, Tensor], Tensor]
Wrote = Callable[[slice, Tensor], Tensor]
ALL = slice(None)


@dataclass(frozen=True)
class Rules:
    """Factors that gradients treat as constants.

    None for the model's own gradient.

    `attention`, `norms` and `gates` hold patterns, norm scales, and act(z)/z with the shares of experts; `halves`
    shares the gradient of a product of gate and input equally between them instead of giving it to the input alone
    (RelP, arXiv 2508.21258).
    """

    attention: bool = False
    norms: bool = False
    gates: bool = False
    halves: bool = False


def plain(_: slice, x: Float[Tensor, "batch n_token d_model"]) -> Float[Tensor, "batch 1 n_token d_model"]:
    """Let every reader read the stream."""
    return x[:, None]


def unchanged(_: slice, writes: Tensor) -> Tensor:
    """Return what was written."""
    return writes


@dataclass(frozen=True)
class Forward:
    """Forward pass of one model on the positions from `start` on.

    `past` are each layer's keys and values of the positions before.
    With a `past` of one row, any number of rows may be run.
    """

    model: Model
    graph: Graph
    start: int = 0
    past: tuple[tuple[Tensor, Tensor], ...] = ()
    rules: Rules = field(default_factory=Rules)

    @cached_property
    def weights(self) -> Weights:
        """The model's weights, each block's read once."""
        return self.model.weights.cached()

    @classmethod
    @torch.no_grad()
    def after(cls, model: Model, graph: Graph, shared: Int[Tensor, "batch n_shared"], rules: Rules) -> Forward:
        """Run the positions that all prompts share."""
        bare = cls(model, graph, rules=rules)
        if shared.shape[1] == 0:
            return bare
        past: list[tuple[Tensor, Tensor]] = []
        bare.run(trace.embed(model.weights, shared), past=past)
        return cls(model, graph, shared.shape[1], tuple(past), rules)

    def of_pair(self, pair: int) -> Forward:
        """Return the same pass for one row of a batch."""
        past = tuple((key[pair : pair + 1], value[pair : pair + 1]) for key, value in self.past)
        return replace(self, past=past)

    def run(
        self,
        x: Float[Tensor, "batch n_token d_model"],
        read: Read = plain,
        wrote: Wrote = unchanged,
        layer: int = 0,
        past: list[tuple[Tensor, Tensor]] | None = None,
    ) -> Float[Tensor, "batch n_token d_model"]:
        """Run from the stream that enters a block to the logits' input.

        `x` is the stream that enters block `layer`; with `layer` 0 it is the embedding. Returns what the logits read.
        `past` collects each layer's keys and values.
        """
        graph = self.graph
        if layer == 0:
            x = wrote(slice(0, 1), x[:, None])[:, 0]
        for at in range(layer, graph.n_layer):
            x = self.block(at, x, read, wrote, past)
        return read(graph.logits, x)[:, 0]

    def block(
        self,
        layer: int,
        x: Float[Tensor, "batch n_token d_model"],
        read: Read = plain,
        wrote: Wrote = unchanged,
        past: list[tuple[Tensor, Tensor]] | None = None,
    ) -> Float[Tensor, "batch n_token d_model"]:
        """Return the stream after one block."""
        graph = self.graph
        query, key, value = self.project(layer, read(graph.attention(layer), x))
        if past is not None:
            past.append((key, value))
        z = self.mix(layer, query, key, value)
        attended = (
            self.total(layer, z)[:, None] if wrote is unchanged else wrote(graph.heads(layer), self.written(layer, z))
        )
        middle = x + attended.sum(1)
        mlp = self.mlp(layer, read(graph.mlp(layer), x if graph.parallel else middle)[:, 0])
        return middle + wrote(graph.mlps(layer), mlp[:, None])[:, 0]

    def project(
        self, layer: int, inputs: Float[Tensor, "batch n_reader n_token d_model"]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values, normalised and rotated.

        Each is (batch, heads, n_token, d_head).
        The input is one for all readers, or one for each.
        """
        weights, graph = self.weights, self.graph
        w = weights.attention(layer, folded=False)
        x = self._norm(inputs, weights.raw(layer).ln1)
        if x.shape[1] == 1:
            query, key, value = trace.project(w, x[:, 0])
            query, key = self._head_norm(query, w.query_gain), self._head_norm(key, w.key_gain)
            repeats = graph.n_key // graph.n_kv_head
            key, value = (y.repeat_interleave(repeats, dim=1) for y in (key, value))
        else:
            parts = x.split([graph.n_head, graph.n_key, graph.n_key], dim=1)
            query = self._each(parts[0], w.W_Q, w.b_Q, w.query_gain)
            key, value = self._each(parts[1], w.W_K, w.b_K, w.key_gain), self._each(parts[2], w.W_V, w.b_V)
        return self.turned(layer, query), self.turned(layer, key), value

    def project_head(self, layer: int, branch: str, index: int, x: Tensor) -> Float[Tensor, "batch 1 n_token d_head"]:
        """Project one input of one head.

        `branch` says which: its query ("q"), or the key ("k") or value ("v") of that index.
        """
        w = self.weights.attention(layer, folded=False)
        weight, bias, gain = {
            "q": (w.W_Q, w.b_Q, w.query_gain),
            "k": (w.W_K, w.b_K, w.key_gain),
            "v": (w.W_V, w.b_V, None),
        }[branch]
        at = index if branch == "q" else index * self.graph.n_kv_head // self.graph.n_key
        x = self._norm(x, self.weights.raw(layer).ln1)
        if gain is not None and self.model.spec.joint_query_key_norm:  # what the other heads project scales this one
            every = torch.einsum("btm,hmd->bhtd", x, weight) + bias[:, None]
            projected = self._head_norm(every, gain)[:, at : at + 1]
        else:
            projected = self._head_norm((x @ weight[at] + bias[at])[:, None], gain)
        return projected if branch == "v" else self.turned(layer, projected)

    def mix(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, heads: slice = ALL
    ) -> Float[Tensor, "batch n_head n_token d_head"]:
        """Return the heads' values after attention over earlier and these positions.

        With `heads`, queries, keys and values are those of some query heads alone.
        """
        value = self._with_past(layer, 1, value, heads)
        shared = query.shape[1] // value.shape[1]
        return self.pattern(layer, query, key, heads) @ value.repeat_interleave(shared, dim=1)

    def pattern(
        self, layer: int, query: Tensor, key: Tensor, heads: slice = ALL
    ) -> Float[Tensor, "batch n_head query key"]:
        """Return the attention of these positions' queries on all keys."""
        spec, sinks = self.model.spec, self.weights.raw(layer).sinks
        key = self._with_past(layer, 0, key, heads).repeat_interleave(query.shape[1] // key.shape[1], dim=1)
        scores = softcap(query @ key.transpose(-1, -2) * spec.attention_scale[layer], spec.attention_softcap)
        distance = distance_bias(spec.alibi, key.shape[2], self.start, scores)
        scores = scores + (distance[heads] if isinstance(distance, Tensor) else distance)
        seen = visible(key.shape[2], spec.windows[layer], key.device)[self.start :]
        pattern = attention_pattern(scores, seen, None if sinks is None else sinks[heads])
        return pattern.detach() if self.rules.attention else pattern

    def written(self, layer: int, z: Tensor) -> Float[Tensor, "batch n_head n_token d_model"]:
        """Return what each head adds to the stream.

        Heads share the output bias equally, and the post-norm's scale.
        """
        w = self.weights.attention(layer, folded=False)
        heads = torch.einsum("bhtd,hdm->bhtm", z, w.W_O) + w.b_O / self.graph.n_head
        if w.post_gain is None:
            return heads
        scale = self._scale(heads.sum(1, keepdim=True))
        return heads / scale * w.post_gain

    def total(self, layer: int, z: Tensor) -> Float[Tensor, "batch n_token d_model"]:
        """Return the sum of what a layer's heads write.

        Computed in one product.
        """
        w = self.weights.attention(layer, folded=False)
        write = z.transpose(1, 2).flatten(2) @ w.W_O.flatten(0, 1) + w.b_O
        return write if w.post_gain is None else write / self._scale(write) * w.post_gain

    def mlp(self, layer: int, x: Float[Tensor, "batch n_token d_model"]) -> Float[Tensor, "batch n_token d_model"]:
        """Return what the MLP, or the sum of experts, writes.

        It is added to the stream.
        """
        w, raw = self.weights, self.weights.raw(layer)
        x = self._norm(x, raw.ln2)
        if self.model.spec.n_expert:
            write, post = self._experts(layer, x), raw.mlp_post
            gain = None if post is None else post.gain.detach()
        else:
            mlp = w.mlp(layer, folded=False)
            write, gain = self._hidden(mlp, x) @ mlp.W_out + mlp.b_out, mlp.post_gain
        return write if gain is None else write / self._scale(write) * gain

    def _experts(self, layer: int, x: Tensor) -> Float[Tensor, "batch n_token d_model"]:
        """Return Σ share · output of the experts chosen at each position."""
        spec, flat = self.model.spec, x.flatten(0, -2)
        W_R, b_R = self.weights.router(layer, folded=False)
        chosen, shares = route(spec, flat @ W_R + b_R)
        shares = shares.detach() if self.rules.gates else shares
        write = torch.zeros_like(flat)
        for expert, at in rows_of(chosen.flatten()):
            rows = at // spec.n_expert_used
            w = self.weights.mlp(layer, False, expert)
            output = self._hidden(w, flat[rows]) @ w.W_out + w.b_out
            write = write.index_add(0, rows, shares.flatten()[at, None] * output)
        return write.view_as(x)

    def _hidden(self, w: Mlp, x: Tensor) -> Float[Tensor, "*batch d_mlp"]:
        """Return the hidden units of an MLP, with the gradients that the rules leave."""
        spec = self.model.spec
        limit = spec.activation_limit
        pre = limited(x @ w.W_in + w.b_in, limit)
        if w.W_gate is None:
            slope = gate(pre, spec.activation)
            return pre * (slope.detach() if self.rules.gates else slope)
        gated = x @ w.W_gate + (0.0 if w.b_gate is None else w.b_gate)
        gated = gated if limit is None else gated.clamp(max=limit)
        slope = gate(gated, spec.activation)
        return self._product(pre, gated * (slope.detach() if self.rules.gates else slope))

    def turned(self, layer: int, x: Float[Tensor, "batch n n_token d_head"]) -> Float[Tensor, "batch n n_token d_head"]:
        """Return queries or keys rotated by their positions."""
        positions = torch.arange(self.start, self.start + x.shape[2], device=x.device)
        return rotate(x, self.model.spec.rotaries[layer], positions, self.start + x.shape[2])

    def final(
        self, x: Float[Tensor, "batch d_model"], columns: Tensor, bias: Tensor
    ) -> Float[Tensor, "batch n_answer"]:
        """Return logits of the tokens whose folded unembedding is given."""
        raw = x / self._scale(x) @ columns + bias
        capped = softcap(raw, self.model.spec.logit_softcap)
        return raw * (capped / raw).detach() if self.rules.gates and capped is not raw else capped

    def _product(self, pre: Tensor, factor: Tensor) -> Tensor:
        if self.rules.halves:
            return (pre * factor.detach() + pre.detach() * factor) / 2
        return pre * (factor.detach() if self.rules.gates else factor)

    def _each(self, x: Tensor, weight: Tensor, bias: Tensor, gain: Tensor | None = None) -> Tensor:
        """Project each head's own input, and normalise it where there is a gain."""
        x = x.unflatten(1, (len(weight), -1))
        if gain is None or not self.model.spec.joint_query_key_norm:
            projected = torch.einsum("bkitm,kmd->bkitd", x, weight) + bias[:, None, None]
            return self._head_norm(projected.flatten(1, 2), gain)
        return torch.cat([self._own(x[:, head], head, weight, bias, gain) for head in range(len(weight))], dim=1)

    def _own(self, x: Tensor, head: int, weight: Tensor, bias: Tensor, gain: Tensor) -> Tensor:
        """Project one head's inputs, scaled by the projections of all heads."""
        every = torch.einsum("bitm,hmd->bihtd", x, weight) + bias[:, None]
        return self._head_norm(every, gain)[:, :, head]

    def _with_past(self, layer: int, which: int, new: Tensor, heads: slice) -> Tensor:
        if not self.past:
            return new
        share = self.graph.share
        keys = heads if heads == ALL else slice(heads.start // share, (heads.stop - 1) // share + 1)
        old = self.past[layer][which][:, keys]
        return torch.cat([old.expand(len(new), -1, -1, -1), new], dim=2)

    def _norm(self, x: Tensor, norm: RawNorm) -> Tensor:
        scale = self._scale(x, self.model.spec.block_norm)
        return apply_norm(x, scale, RawNorm(norm.gain.detach(), _detached(norm.bias)))

    def _scale(self, x: Tensor, kind: Norm | None = None) -> Tensor:
        spec = self.model.spec
        scale = norm_scale(x, kind or spec.norm, spec.norm_eps)
        return scale.detach() if self.rules.norms else scale

    def _head_norm(self, x: Tensor, gain: Tensor | None) -> Tensor:
        if gain is None:
            return x
        scale = heads_scale(x, self.model.spec.norm_eps, self.model.spec.joint_query_key_norm)
        return x / (scale.detach() if self.rules.norms else scale) * gain


def _detached(x: Tensor | None) -> Tensor | None:
    return None if x is None else x.detach()
