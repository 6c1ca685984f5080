"""Frozen run of an edited model, with affine edits at each position.

Zero, mean, replace, add and project_out change a value x at a hook to x A + c, with A and c of their own at every
position. Where they act decides whose they are, so that the components stay those of the model and sum to the edited
run's logits:

    attn.hook_z           the head's values: A before W_O, c a constant of the head
    hook_attn_out         every head's write: A; c is the block's entry "L5.b_O"
    hook_mlp_out          the MLP's write: A; c is "MLP5.b_out"
    hook_resid_post       what it changes of the whole stream, x (A − 1), is written by the block's MLP, which reads
                          that stream too; the stream itself passes by unchanged; c is "MLP5.b_out"
    hook_resid_pre        the same of the block before; of block 0, the embedding's own write

An edit of the stream in the middle of a block may only add. Everything else (queries, keys, values, scores, patterns,
neurons, latents, functions) is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from interp.attribution.components import Layout
from interp.errors import UsageError
from interp.model import Model, trace as forward
from interp.model.edits import Bound, Step
from interp.model.weights import Weights

LINEAR_HOOKS = ("attn.hook_z", "hook_attn_out", "hook_resid_mid", "hook_mlp_out", "hook_resid_post")


@dataclass(frozen=True)
class Affine:
    """Affine map x ↦ x A + c at each position.

    For a value with heads, one of each head.

    `matrix` (n_token or 1, *head, d, d) or None for the identity, `constant` (n_token, *head, d).
    """

    matrix: Tensor | None
    constant: Tensor

    def __call__(self, x: Float[Tensor, "*batch n_token *head d"]) -> Float[Tensor, "*batch n_token *head d"]:
        """Return the edited value."""
        return self.linear(x) + self.constant

    def linear(self, x: Float[Tensor, "*batch n_token *head d"]) -> Float[Tensor, "*batch n_token *head d"]:
        """Return what becomes of a part of the value, without the constant."""
        return x if self.matrix is None else torch.einsum("...i,...ij->...j", x, self.matrix)

    def back(
        self, covectors: Float[Tensor, "*batch n *head d"], at: Tensor | slice = slice(None)
    ) -> Float[Tensor, "*batch n *head d"]:
        """Carry covectors on the edited value back to the value.

        `at` are their positions.
        """
        if self.matrix is None:
            return covectors
        matrix = self.matrix if len(self.matrix) == 1 else self.matrix[at]
        return torch.einsum("...j,...ij->...i", covectors, matrix)


Edits = dict[tuple[int, str], Affine]
"""Affine edits by block and the hook's name in it; the stream before the first block is (-1, "hook_resid_post")."""


def affine_edits(model: Model, n_token: int) -> Edits:
    """Return the model's edits as matrices, for one prompt.

    Needs T · d_model² numbers for an edit of a stream that is not the same at every position.

    Raises `UsageError` for an edit that is not affine, or at a hook where the frozen map cannot hold it.
    """
    by_place: dict[tuple[int, str], list[Bound]] = {}
    for bound in model.edits:
        by_place.setdefault(_place(model, bound), []).append(bound)
    maps = {place: _affine(model, bounds, n_token) for place, bounds in by_place.items()}
    for (layer, hook), affine in maps.items():
        whole_stream = hook == "hook_resid_mid" or (hook == "hook_resid_post" and model.spec.parallel and layer >= 0)
        if whole_stream and affine.matrix is not None:
            raise UsageError(
                f"{by_place[layer, hook][0]} cannot be frozen: at this place of a {model.spec.family} block an edit "
                "may only add. Edit hook_resid_post, or the outputs of attention and MLP."
            )
    return maps


def edited_layout(model: Model, edits: Edits) -> Layout:
    """Return the layout of an edited model.

    Every block has an entry for constants, which edits may add.
    """
    spec = replace(model.spec, output_bias=True, mlp_bias=True) if edits else model.spec
    return Layout(spec)


def embedded(weights: Weights, tokens: Tensor, edits: Edits) -> Float[Tensor, "1 n_token d_model"]:
    """Return the stream before the first block, edited."""
    x = forward.embed(weights, tokens)
    return edits[-1, "hook_resid_post"](x) if (-1, "hook_resid_post") in edits else x


def edited_blocks(weights: Weights, tokens: Tensor, edits: Edits) -> Iterator[forward.BlockTrace]:
    """Run the written-out forward pass with the edits, block by block.

    `z` is what W_O reads, `write` and the streams what follows.
    """
    parallel = weights.spec.parallel
    x = embedded(weights, tokens, edits)
    for layer in range(weights.spec.n_layer):
        attention = forward.run_attention(weights, layer, x, folded=False)
        if (layer, "attn.hook_z") in edits:
            z = edits[layer, "attn.hook_z"](attention.z.transpose(1, 2)).transpose(1, 2)
            write, scale = forward.attention_write(weights, layer, z)
            attention = replace(attention, z=z, write=write, write_scale=scale)
        attended = _edited(edits, layer, "hook_attn_out", attention.write)
        middle = x if parallel else _edited(edits, layer, "hook_resid_mid", x + attended)
        mlp = forward.run_mlp(weights, layer, middle, folded=False)
        written = _edited(edits, layer, "hook_mlp_out", mlp.write)
        after = _edited(edits, layer, "hook_resid_post", (x + attended if parallel else middle) + written)
        yield forward.BlockTrace(layer, x, attention, mlp, after)
        x = after


def edit_writes(layout: Layout, block: forward.BlockTrace, edits: Edits, writes: Tensor) -> None:
    """Change one block's writes to what the edits leave of them.

    They are given as the unedited components make them.
    """
    layer, first, mlp = block.layer, layout.start(block.layer), layout.mlp(block.layer)
    if (out := edits.get((layer, "hook_attn_out"))) is not None:
        writes[first:mlp] = out.linear(writes[first:mlp])
        writes[mlp - 1] += out.constant
    if (middle := edits.get((layer, "hook_resid_mid"))) is not None:
        writes[mlp - 1] += middle.constant
    if (out := edits.get((layer, "hook_mlp_out"))) is not None:
        writes[mlp : mlp + 2] = out.linear(writes[mlp : mlp + 2])
        writes[mlp + 1] += out.constant
    if (after := edits.get((layer, "hook_resid_post"))) is not None:
        stream = writes[:mlp].sum(0)
        writes[mlp : mlp + 2] = after.linear(writes[mlp : mlp + 2])
        writes[mlp] += after.linear(stream) - stream
        writes[mlp + 1] += after.constant


def _edited(edits: Edits, layer: int, hook: str, value: Tensor) -> Tensor:
    return edits[layer, hook](value) if (layer, hook) in edits else value


def _place(model: Model, bound: Bound) -> tuple[int, str]:
    """Return the block and hook of an edit.

    What enters a block is what left the one before.
    """
    layer, hook = bound.place.layer, bound.edit.hook
    name = hook.removeprefix(f"blocks.{layer}.")
    if name in ("hook_embed", "hook_resid_pre") and (layer >= 0 or model.weights.W_pos is None):
        layer, name = layer - 1 if layer >= 0 else -1, "hook_resid_post"
    if not bound.edit.affine or name not in LINEAR_HOOKS:
        raise UsageError(
            f"{bound.edit} cannot be frozen: an attribution is exact for zero, mean, replace, add and project_out at "
            f"{', '.join(LINEAR_HOOKS)} and hook_resid_pre."
        )
    return layer, name


def _affine(model: Model, bounds: Sequence[Bound], n_token: int) -> Affine:
    """Compose the edits at one hook into one affine map.

    It is read off what they make of zero and of every unit vector.
    """
    axes = [axis for axis in bounds[0].place.axes if isinstance(axis, int)]
    step = Step(n_token, n_token)
    constant = _changed(bounds, torch.zeros(1, n_token, *axes, dtype=model.dtype, device=model.device), step)
    units = torch.eye(axes[-1], dtype=model.dtype, device=model.device)
    matrix = units.new_empty(n_token, *axes[:-1], axes[-1], axes[-1])
    for i, unit in enumerate(units):
        matrix[..., i, :] = (_changed(bounds, unit.expand(1, n_token, *axes), step) - constant)[0]
    if torch.equal(matrix, units.expand_as(matrix)):
        return Affine(None, constant[0])
    same = torch.equal(matrix, matrix[:1].expand_as(matrix))
    return Affine(matrix[:1].clone() if same else matrix, constant[0])


def _changed(bounds: Sequence[Bound], value: Tensor, step: Step) -> Tensor:
    for bound in bounds:
        value = bound.change(value, step)
    return value


def refuse_edits(model: Model, what: str) -> None:
    """Raise `UsageError` for an edited model."""
    if model.edits:
        edits = ", ".join(bound.edit.text for bound in model.edits)
        raise UsageError(f"{what} needs a model without edits, but this one has {edits}.")
