"""One input as an exactly linear map, with patterns, scales and gates constant.

What is left of the model is linear in embeddings and biases (the idea of arXiv 2312.16797 and of Anthropic's
"Mathematical Framework", here with norms, gates and biases included): every component's output is a known vector, and a
direction on that output is pulled back, through the component alone, to directions on what it read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from numbers import Real

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.attribution.bilinear import score_pairs
from interp.attribution.components import Layout
from interp.attribution.edited_run import (
    Edits,
    affine_edits,
    edit_writes,
    edited_blocks,
    edited_layout,
    embedded,
    refuse_edits,
)
from interp.attribution.expand import ByComponent, ByPosition, Expander
from interp.attribution.linearised import Linear, NodeKind, Targets, checked_position
from interp.attribution.pull import FrozenPull
from interp.attribution.targets import resolve
from interp.errors import CheckFailedError, UsageError, require
from interp.model import Model, trace as forward
from interp.model.arithmetic import norm_scale
from interp.model.capture import ending
from interp.model.experts import Routing
from interp.model.families import Layer
from interp.model.weights import Weights

TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-9}
"""Largest relative logit error of a frozen input, by dtype."""


@dataclass(frozen=True)
class FrozenBlock:
    """Constants of one block.

    Scales are what a norm divides by; a write scale of 1 stands for no post-norm.

    Of a mixture of experts `chosen` are those that ran at each position, with their `shares`; multipliers are theirs.
    """

    scores: Float[Tensor, "n_head query key"]
    pattern: Float[Tensor, "n_head query key"]
    attn_scale: Float[Tensor, " n_token"]
    attn_write_scale: Float[Tensor, " n_token"]
    query_scale: Float[Tensor, "n_head n_token"] | None
    key_scale: Float[Tensor, "n_kv_head n_token"] | None
    mlp_scale: Float[Tensor, " n_token"]
    mlp_write_scale: Float[Tensor, " n_token"]
    multiplier: Float[Tensor, "n_token *n_used d_mlp"]
    chosen: Int[Tensor, "n_token n_used"] | None = None
    shares: Float[Tensor, "n_token n_used"] | None = None


@dataclass(frozen=True)
class Frozen:
    """A model at one input, frozen. Made by `freeze`.

    `writes[c, t]` is what component c (in the order of `layout`) adds to the residual stream at position t. They sum
    to `residual`, the stream that leaves the last block. `error` is the larger of two relative differences between the
    frozen map and the model: of the logits of the last position, and of the stream that leaves the last block at any
    position. `edits` are those of an edited model (see `interp.attribution.edited_run`).

    >>> frozen = attribution.freeze(model, model.to_tokens("the tower is in"))
    >>> frozen.labels
    ('the', ' tower', ' is', ' in')
    """

    model: Model
    tokens: Int[Tensor, " n_token"]
    labels: tuple[str, ...]
    layout: Layout
    blocks: tuple[FrozenBlock, ...]
    writes: Float[Tensor, "n_component n_token d_model"]
    residual: Float[Tensor, "n_token d_model"]
    final_scale: Float[Tensor, " n_token"]
    error: float
    edits: Edits = field(default_factory=dict)
    known: dict[int, Float[Tensor, " d_vocab"]] = field(default_factory=dict, repr=False)
    """The model's own logits by position, as far as they have been asked for."""

    @property
    def n_token(self) -> int:
        """Number of positions."""
        return self.tokens.shape[0]

    @property
    def tolerance(self) -> float:
        """Relative error above which a decomposition of this input raises."""
        return TOLERANCE[self.writes.dtype]

    def position(self, position: int) -> int:
        """Return `position` counted from the start.

        Raises `UsageError` if the input does not have it.

        >>> frozen.position(-1)
        3
        """
        return checked_position(position, self.n_token)

    def logits_at(self, position: int) -> Float[Tensor, " d_vocab"]:
        """Return the model's own logits at one position.

        Positions other than the last need one more run of the model the first time.

        >>> frozen.logits_at(-1).shape, frozen.logits_at(1).argmax().item()
        (torch.Size([64]), 45)
        """
        position = self.position(position)
        if position not in self.known:
            self.known[position] = ending(self.model, self.tokens[None], position)[0][0]
        return self.known[position]

    @property
    def logits(self) -> Float[Tensor, "n_token d_vocab"]:
        """Logits at every position, as the model computes them.

        One more run each time; n_token · d_vocab numbers.
        """
        return self.model(self.tokens)[0]

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """Each block's parameters as stored: views, made once."""
        weights = self.model.weights
        return tuple(weights.raw(layer) for layer in range(weights.spec.n_layer))

    @property
    def pull(self) -> FrozenPull:
        """The transposes of every component."""
        return FrozenPull(self)

    def linear(self, target: Targets) -> Linear:
        """Return the target as a linear function of the stream it reads.

        >>> linear = frozen.linear(attribution.logit(model, " Paris"))
        >>> round(float(frozen.residual[-1] @ linear.covector + linear.constant), 3), round(linear.value, 3)
        (0.596, 0.596)
        """
        if isinstance(target, Sequence):
            raise UsageError(f"A frozen input is one prompt: give one target, not {len(target)}.")
        return resolve(self, target)

    def score_pairs(self, layer: int, head: int, query: int, key: int) -> tuple[Tensor, float, float]:
        """Split an attention score over all pairs of writers.

        Args:
            layer: the layer of the head.
            head: the head.
            query: the position that attends.
            key: the position attended to.

        Returns:
            (part of the score for each pair of writers, the score, the least scale of its error).

        >>> pairs, value, scale = frozen.score_pairs(1, 0, query=3, key=1)
        >>> round(pairs.sum().item(), 3), round(value, 3)
        (4.715, 4.715)
        """
        return score_pairs(self, layer, head, query, key)

    def score_writers(self, layer: int, query: int, key: int) -> tuple[str, ...]:  # noqa: ARG002
        """Return the names of the components that write before a layer's scores.

        Args:
            layer: the layer of the scores.
            query: the position that attends.
            key: the position attended to.

        Returns:
            The names, in the order of the pairs of `score_pairs`, without its last entry, the bias.

        >>> frozen.score_writers(1, query=3, key=1)[:3]
        ('embed', 'L0H0', 'L0H1')
        """
        return self.layout.names[: self.layout.start(layer)]

    @property
    def base(self) -> Frozen:
        """Itself: it has no dictionaries."""
        return self

    def expander(self, nodes: NodeKind, linear: Linear) -> Expander:
        """Return the object that carries the nodes of a path tree back.

        >>> expander = frozen.expander("component", frozen.linear(attribution.logit(model, " Paris")))
        >>> type(expander).__name__
        'ByComponent'
        """
        return ByPosition(self, linear) if nodes == "position" else ByComponent(self, linear)


def bytes_needed(model: Model, n_token: int) -> int:
    """Return the memory of a frozen input.

    n_component·T·d_model + n_layer·T·(2·n_head·T + d_mlp) + 2·d_vocab numbers.

    Every expert is a component, and each of those that run at a position has its d_mlp. Each position whose logits
    are asked for later adds d_vocab. SmolLM2 in float32: 0.9 MB a token and 2 kB a pair of tokens,
    so 0.03 GB at 32 tokens, 0.4 GB at 256, 3 GB at 1,024.
    """
    spec, layout = model.spec, Layout(model.spec)
    written = len(layout.components) * n_token * spec.d_model
    traced = spec.n_layer * n_token * (2 * spec.n_head * n_token + max(1, spec.n_expert_used) * spec.d_mlp)
    return (written + traced + 2 * spec.d_vocab) * model.parts.W_U.element_size()


@torch.no_grad()
def freeze(model: Model, tokens: Int[Tensor, "1 n_token"], *, max_gigabytes: float = 8.0) -> Frozen:
    """Make a model exactly linear at one input.

    Its logits are then linear in embeddings and biases; attention patterns, norm scales and gates are constant.

    Runs the model once and the written-out forward pass once. Needs `bytes_needed(model, n_token)`.

    An edited model is frozen as it runs, its edits being part of the map: attributions sum to the edited run's value.
    What an edit removes from the stream after a block is counted with that block's MLP, what it adds with the biases.

    Args:
        model: in float32 or float64, unedited or with edits that are affine: zero, mean, replace, add and project_out
            at attn.hook_z, hook_attn_out, hook_mlp_out and the streams before and after a block.
        tokens: one prompt, (1, n_token) or (n_token,).
        max_gigabytes: refuse, before computing anything, an input that needs more memory than this.

    Returns:
        The frozen model: the input of every attribution.

    Raises:
        UsageError: more than one prompt, another dtype, an edit that is not affine, or more memory than allowed.
        CheckFailedError: the frozen map misses the model's logits by more than 1e-4 (float32) or 1e-9 (float64),
            relative to the largest, or there is a NaN.

    >>> frozen = freeze(model, model.to_tokens("the tower is in"))
    >>> frozen.writes.shape, frozen.error < 1e-5  # (n_component, n_token, d_model)
    (torch.Size([22, 4, 24]), True)
    """
    tokens = _one_prompt(model, tokens, max_gigabytes)
    theirs, stream = ending(model, tokens, -1)
    if model.spec.n_expert:
        refuse_edits(model, "Freezing a mixture of experts")
    edits, weights = affine_edits(model, tokens.shape[1]), model.weights.cached()
    layout = edited_layout(model, edits)
    writes = theirs.new_empty(len(layout.components), tokens.shape[1], model.spec.d_model)
    _write_embeddings(weights, tokens, writes, edits)
    blocks, residual = [], embedded(weights, tokens, edits)
    for block in edited_blocks(weights, tokens, edits):
        _write_block(weights, layout, block, writes)
        edit_writes(layout, block, edits, writes)
        blocks.append(_frozen_block(block))
        residual = block.resid_post
    ours, _ = forward.unembed(weights, residual[:, -1:], folded=False)
    return Frozen(
        model=model,
        tokens=tokens[0],
        labels=model.labels(tokens[0]),
        layout=layout,
        blocks=tuple(blocks),
        writes=writes,
        residual=residual[0],
        final_scale=norm_scale(residual, model.spec.norm, model.spec.norm_eps)[0, :, 0],
        error=_error((ours[0, 0], theirs[0]), (residual[0], stream[0]), writes),
        edits=edits,
        known={tokens.shape[1] - 1: theirs[0]},
    )


def _error(logits: tuple[Tensor, Tensor], streams: tuple[Tensor, Tensor], writes: Tensor) -> float:
    """Check logits, streams and writes against the model's; return the error."""
    (ours, theirs), (residual, stream) = logits, streams
    tolerance = TOLERANCE[theirs.dtype]
    error = max_or_nan((ours - theirs).abs().max() / theirs.abs().max(), off(residual, stream))
    if not error <= tolerance:
        raise CheckFailedError(
            f"The frozen input does not reproduce the model's logits: relative error {error:.2e}, tolerance "
            f"{tolerance:.0e}. Is there a NaN in the weights, or a hook on model.bridge?"
        )
    missed = float(off(writes.sum(0), residual))
    if not missed <= tolerance:
        raise CheckFailedError(f"The components' writes miss the residual stream by {missed:.2e} of its length.")
    return error


def off(ours: Float[Tensor, "... d"], theirs: Float[Tensor, "... d"]) -> Tensor:
    """Return the largest norm of a vector difference, relative to the second."""
    return ((ours - theirs).norm(dim=-1) / theirs.norm(dim=-1)).max()


def max_or_nan(*errors: Tensor) -> float:
    """Return the largest of some numbers; NaN if one is NaN."""
    return float(torch.stack(errors).max())


def _one_prompt(model: Model, tokens: Tensor, max_gigabytes: float) -> Tensor:
    require(model, Model, "model")
    require(max_gigabytes, Real, "max_gigabytes")
    tokens = model.check_tokens(tokens)
    if tokens.shape[0] != 1:
        raise UsageError(f"Freeze one prompt at a time: the tokens have {tokens.shape[0]} rows.")
    if model.dtype not in TOLERANCE:
        raise UsageError(f"A decomposition in {model.dtype} would mean nothing: load the model in float32 or float64.")
    needed = bytes_needed(model, tokens.shape[1]) / 1e9
    if needed > max_gigabytes:
        raise UsageError(
            f"Freezing {tokens.shape[1]} tokens needs {needed:.1f} GB, more than max_gigabytes={max_gigabytes:g}: "
            "shorten the prompt or pass a larger max_gigabytes to freeze."
        )
    return tokens


def _write_embeddings(weights: Weights, tokens: Tensor, writes: Tensor, edits: Edits) -> None:
    writes[0] = weights.embed(tokens[0])
    if weights.W_pos is not None:
        writes[1] = weights.W_pos[: tokens.shape[1]]
    if (before := edits.get((-1, "hook_resid_post"))) is not None:
        n_embed = 1 if weights.W_pos is None else 2
        writes[:n_embed] = before.linear(writes[:n_embed])
        writes[0] += before.constant


def _write_block(weights: Weights, layout: Layout, block: forward.BlockTrace, writes: Tensor) -> None:
    """Write what each component of one block adds.

    Post-norm gains and scales are included.
    """
    attention = weights.attention(block.layer, False)
    index = layout.start(block.layer)
    n_head = weights.spec.n_head
    attn_gain = _write_gain(attention.post_gain, block.attention.write_scale)
    writes[index : index + n_head] = (block.attention.z[0] @ attention.W_O) * attn_gain
    if layout.spec.output_bias:
        writes[index + n_head] = attention.b_O * attn_gain
    if block.mlp.routing is not None:
        _write_experts(weights, layout, block, block.mlp.routing, writes)
        return
    index, mlp = layout.mlp(block.layer), weights.mlp(block.layer, False)
    writes[index] = block.mlp.write[0]
    if layout.spec.mlp_bias:
        writes[index + 1] = mlp.b_out * _write_gain(mlp.post_gain, block.mlp.write_scale)
        writes[index] -= writes[index + 1]


def _write_experts(
    weights: Weights,
    layout: Layout,
    block: forward.BlockTrace,
    routing: Routing,
    writes: Float[Tensor, "n_component n d"],
) -> None:
    """Write what each expert adds where it ran.

    Their output biases, by their shares, are one component.
    """
    raw, first = weights.raw(block.layer), layout.mlp(block.layer)
    gain = _write_gain(None if raw.mlp_post is None else raw.mlp_post.gain.detach(), block.mlp.write_scale)
    writes[first : first + layout.n_mlp] = 0
    if raw.b_out is not None:
        biases = raw.b_out.detach()[routing.chosen]
        writes[layout.bias("mlp", block.layer)] = replace(routing, outputs=biases).write[0] * gain
        routing = replace(routing, outputs=routing.outputs - biases)
    for expert in routing.chosen.unique().tolist():
        writes[first + expert] = routing.of_expert(expert)[0] * gain


def _write_gain(gain: Tensor | None, scale: Tensor | None) -> Tensor | float:
    return 1.0 if gain is None or scale is None else gain / scale[0]


def _frozen_block(block: forward.BlockTrace) -> FrozenBlock:
    attention, mlp, routing = block.attention, block.mlp, block.mlp.routing
    return FrozenBlock(
        scores=attention.scores[0],
        pattern=attention.pattern[0],
        attn_scale=attention.scale[0, :, 0],
        attn_write_scale=_or_one(attention.write_scale, attention.scale),
        query_scale=None if attention.query_scale is None else attention.query_scale[0, :, :, 0],
        key_scale=None if attention.key_scale is None else attention.key_scale[0, :, :, 0],
        mlp_scale=mlp.scale[0, :, 0],
        mlp_write_scale=_or_one(mlp.write_scale, mlp.scale),
        multiplier=mlp.multiplier[0],
        chosen=None if routing is None else routing.chosen[0],
        shares=None if routing is None else routing.shares[0],
    )


def _or_one(scale: Tensor | None, like: Tensor) -> Tensor:
    return (torch.ones_like(like) if scale is None else scale)[0, :, 0]
