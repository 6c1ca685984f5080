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
from interp.model.arithmetic import apply_norm, distance_bias, gate, norm_scale, rotate, softcap, visible
from interp.model.families import RawNorm
from interp.model.spec import Norm
from interp.model.weights import Weights

Read = Callable[[slice, Tensor], Tensor]
Wrote = Callable[[slice, Tensor], Tensor]
ALL = slice(None)


@dataclass(frozen=True)
class Rules:
    """Which factors gradients pass by as constants: none for the model's own gradient.

    `attention`, `norms` and `gates` hold patterns, norm scales and act(z)/z; `halves` shares the gradient of a product
    of gate and input equally between them instead of giving it to the input alone (RelP, arXiv 2508.21258).
    """

    attention: bool = False
    norms: bool = False
    gates: bool = False
    halves: bool = False


def plain(_: slice, x: Float[Tensor, "batch n_token d_model"]) -> Float[Tensor, "batch 1 n_token d_model"]:
    """Every reader reads the stream."""
    return x[:, None]


def unchanged(_: slice, writes: Tensor) -> Tensor:
    """What was written stands."""
    return writes


@dataclass(frozen=True)
class Forward:
    """One model on the positions from `start` on; `past` are each layer's keys and values of those before.

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
        return self.model.weights.kept()

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
        """The same on one row of a batch."""
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
        """The stream that the logits read, from the stream `x` that enters block `layer`; the embedding if that is 0.

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
        """The stream after one block."""
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
        """Queries, keys and values (batch, heads, n_token, d_head) as they meet: normalised and rotated.

        The input is one for all readers, or one for each.
        """
        weights, graph = self.weights, self.graph
        w = weights.attention(layer, folded=False)
        x = self._norm(inputs, weights.raw(layer).ln1)
        if x.shape[1] == 1:
            query, key, value = trace.project(w, x[:, 0])
            repeats = graph.n_key // graph.n_kv_head
            key, value = (y.repeat_interleave(repeats, dim=1) for y in (key, value))
        else:
            parts = x.split([graph.n_head, graph.n_key, graph.n_key], dim=1)
            pairs = ((w.W_Q, w.b_Q), (w.W_K, w.b_K), (w.W_V, w.b_V))
            query, key, value = (
                self._each(part, weight, bias) for part, (weight, bias) in zip(parts, pairs, strict=True)
            )
        query, key = self._head_norm(query, w.query_gain), self._head_norm(key, w.key_gain)
        return self.turned(layer, query), self.turned(layer, key), value

    def project_head(self, layer: int, branch: str, index: int, x: Tensor) -> Float[Tensor, "batch 1 n_token d_head"]:
        """Project one input of one head: its query ("q"), or the key ("k") or value ("v") of that index."""
        w = self.weights.attention(layer, folded=False)
        weight, bias = {"q": (w.W_Q, w.b_Q), "k": (w.W_K, w.b_K), "v": (w.W_V, w.b_V)}[branch]
        at = index if branch == "q" else index * self.graph.n_kv_head // self.graph.n_key
        found = (self._norm(x, self.weights.raw(layer).ln1) @ weight[at] + bias[at])[:, None]
        if branch == "v":
            return found
        return self.turned(layer, self._head_norm(found, w.query_gain if branch == "q" else w.key_gain))

    def mix(
        self, layer: int, query: Tensor, key: Tensor, value: Tensor, kv: slice = ALL
    ) -> Float[Tensor, "batch n_head n_token d_head"]:
        """The heads' values after attention over the positions before and these; `kv` are the key inputs given."""
        value = self._with_past(layer, 1, value, kv)
        return self.pattern(layer, query, key, kv) @ value.repeat_interleave(query.shape[1] // value.shape[1], dim=1)

    def pattern(
        self, layer: int, query: Tensor, key: Tensor, kv: slice = ALL
    ) -> Float[Tensor, "batch n_head query key"]:
        """Attention of these positions' queries on all keys."""
        spec = self.model.spec
        key = self._with_past(layer, 0, key, kv).repeat_interleave(query.shape[1] // key.shape[1], dim=1)
        scores = softcap(query @ key.transpose(-1, -2) * spec.attention_scale[layer], spec.attention_softcap)
        scores = scores + distance_bias(spec.alibi, key.shape[2], self.start, scores)
        seen = visible(key.shape[2], spec.windows[layer], key.device)[self.start :]
        pattern = scores.masked_fill(~seen, -torch.inf).softmax(dim=-1)
        return pattern.detach() if self.rules.attention else pattern

    def written(self, layer: int, z: Tensor) -> Float[Tensor, "batch n_head n_token d_model"]:
        """What each head adds to the stream; they share the output bias equally and the post-norm's scale."""
        w = self.weights.attention(layer, folded=False)
        heads = torch.einsum("bhtd,hdm->bhtm", z, w.W_O) + w.b_O / self.graph.n_head
        if w.post_gain is None:
            return heads
        scale = self._scale(heads.sum(1, keepdim=True))
        return heads / scale * w.post_gain

    def total(self, layer: int, z: Tensor) -> Float[Tensor, "batch n_token d_model"]:
        """What the layer's heads add together: the sum of `written`, in one product."""
        w = self.weights.attention(layer, folded=False)
        write = z.transpose(1, 2).flatten(2) @ w.W_O.flatten(0, 1) + w.b_O
        return write if w.post_gain is None else write / self._scale(write) * w.post_gain

    def mlp(self, layer: int, x: Float[Tensor, "batch n_token d_model"]) -> Float[Tensor, "batch n_token d_model"]:
        """What the MLP adds to the stream."""
        weights, activation = self.weights, self.model.spec.activation
        w = weights.mlp(layer, folded=False)
        x = self._norm(x, weights.raw(layer).ln2)
        pre = x @ w.W_in + w.b_in
        gated = pre if w.W_gate is None else x @ w.W_gate + (0.0 if w.b_gate is None else w.b_gate)
        slope = gate(gated, activation)
        if self.rules.gates:
            slope = slope.detach()
        factor = slope if w.W_gate is None else gated * slope
        hidden = self._product(pre, factor) if w.W_gate is not None else pre * factor
        write = hidden @ w.W_out + w.b_out
        return write if w.post_gain is None else write / self._scale(write) * w.post_gain

    def turned(self, layer: int, x: Float[Tensor, "batch n n_token d_head"]) -> Float[Tensor, "batch n n_token d_head"]:
        """Queries or keys rotated by their positions."""
        positions = torch.arange(self.start, self.start + x.shape[2], device=x.device)
        return rotate(x, self.model.spec.rotaries[layer], positions, self.start + x.shape[2])

    def final(
        self, x: Float[Tensor, "batch d_model"], columns: Tensor, bias: Tensor
    ) -> Float[Tensor, "batch n_answer"]:
        """Logits of some tokens, whose folded unembedding `columns` and `bias` are."""
        raw = x / self._scale(x) @ columns + bias
        capped = softcap(raw, self.model.spec.logit_softcap)
        return raw * (capped / raw).detach() if self.rules.gates and capped is not raw else capped

    def _product(self, pre: Tensor, factor: Tensor) -> Tensor:
        if self.rules.halves:
            return (pre * factor.detach() + pre.detach() * factor) / 2
        return pre * (factor.detach() if self.rules.gates else factor)

    def _each(self, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Each head's projection of its own input."""
        found = torch.einsum("bkitm,kmd->bkitd", x.unflatten(1, (len(weight), -1)), weight)
        return (found + bias[:, None, None]).flatten(1, 2)

    def _with_past(self, layer: int, which: int, new: Tensor, kv: slice) -> Tensor:
        if not self.past:
            return new
        old = self.past[layer][which][:, kv]
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
        scale = norm_scale(x, "rms", self.model.spec.norm_eps)
        return x / (scale.detach() if self.rules.norms else scale) * gain


def _detached(x: Tensor | None) -> Tensor | None:
    return None if x is None else x.detach()
