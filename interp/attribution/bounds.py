"""Bounds of the paths that are not yet in the tree.

The root of the sum of squares of all paths below a node bounds each of them.

A path's write is a vector v: what its last component adds to the residual stream because of that path alone. With u the
covector on that write the path's value is v · u, and so, over all paths that end in one component at one position,

    max |v · u|² ≤ Σ (v · u)² = uᵀ P u,      P = Σ v vᵀ,

which is not larger than the largest value by more than the square root of the number of paths that matter. P needs no
list of paths: components are linear, hence with Q(s) the sum of v vᵀ over everything written at position s so far,

    head at t:    P = W_Oᵀ [Σ_s pattern[t, s]² / s_norm(s)² · W_Vᵀ Q(s) W_V + b_V b_Vᵀ] W_O
    MLP at t:     P = Jᵀ Q(t) J + b bᵀ,      J = W_in (multiplier ⊙ W_out) / s_norm(t)
    embeddings and output biases:    P = e eᵀ

and one forward pass over the layers fills in all of them. The bound is sound up to rounding, which `MARGIN` covers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.attribution.edited_run import refuse_edits
from interp.attribution.expand import Children
from interp.attribution.frozen import Frozen
from interp.errors import UsageError
from interp.model import Model
from interp.model.weights import Attention, Mlp

MARGIN = 1.01
"""Bounds are multiplied by this. In float32, rounding moves those of SmolLM2 by less than half of it."""


def bytes_needed(model: Model, n_token: int) -> int:
    """Return the memory of the second moments.

    n_token · n_layer · (2 · d_model² + n_head · d_head²) numbers.
    """
    spec = model.spec
    numbers = n_token * spec.n_layer * (2 * spec.d_model**2 + spec.n_head * spec.d_head**2)
    return numbers * model.parts.W_U.element_size()


@dataclass(frozen=True)
class PathBounds:
    """Second moments of all paths of one frozen input, from `path_bounds`.

    `streams[s, l]` belongs to everything written at position s before block l, `mlps[s, l]` to the MLP's write there,
    and `heads[s, l, h]` to what head h computes before its output weights `out[l, h]`.
    """

    frozen: Frozen
    streams: Float[Tensor, "n_token n_layer d_model d_model"]
    mlps: Float[Tensor, "n_token n_layer d_model d_model"]
    heads: Float[Tensor, "n_token n_layer n_head d_head d_head"]
    out: Float[Tensor, "n_layer n_head d_head d_model"]

    def children(
        self, children: Children, seen: Int[np.ndarray, " n"], least: float
    ) -> tuple[Int[np.ndarray, "3 m"], Float[np.ndarray, " m"]]:
        """Find the children below which a path of sufficient size is possible.

        The path's absolute value must be `least` or more.

        Args:
            children: of some nodes; their values are not read.
            seen: how many components each parent sees, in the order of `Layout`.
            least: an absolute value, in the target's unit.

        Returns:
            (place, parent, component) of each such child that computes its write, and the bound of the paths below it.
        """
        candidates: list[np.ndarray] = []
        bounds: list[np.ndarray] = []
        for position in np.unique(children.positions):
            for place, reading in _at_position(children, position):
                vectors = children.vectors[reading] * children.factors[place, reading, None]
                possible = self._screened(vectors, seen[reading], position, len(children.positions), least)
                rows, vectors = reading[possible], vectors[torch.from_numpy(possible)]
                if not len(rows):
                    continue
                values = MARGIN * self._each(vectors, seen[rows], position).sqrt().double().cpu().numpy()
                row, component = np.nonzero((values >= least) & (values > 0))
                candidates.append(np.stack([np.full(len(row), place), rows[row], component]))
                bounds.append(values[row, component])
        if not candidates:
            return np.empty((3, 0), np.int64), np.empty(0)
        return np.concatenate(candidates, axis=1), np.concatenate(bounds)

    def _screened(self, vectors: Tensor, seen: np.ndarray, position: int, n_place: int, least: float) -> np.ndarray:
        """Return numbers of parents whose children could have such a path.

        Such a path in sum, and children here.

        All of them where there is one place.
        """
        if n_place == 1:
            return np.arange(len(seen))
        layers = (seen - self.frozen.layout.n_embed) // self.frozen.layout.per_block
        total = vectors.new_empty(len(seen))
        for layer in np.unique(layers):
            rows = torch.from_numpy(np.flatnonzero(layers == layer))
            total[rows] = _squares(vectors[rows], self.streams[position, layer])
        return np.flatnonzero((MARGIN * total.sqrt() >= least).cpu().numpy())

    def _each(self, vectors: Tensor, seen: np.ndarray, position: int) -> Float[Tensor, "n n_component"]:
        """Compute the bound uᵀ P u for each component here.

        0 for those that do not read, or that the parent does not see.
        """
        layout, spec, last = self.frozen.layout, self.frozen.model.spec, int(seen.max())
        squares = vectors.new_zeros(len(vectors), last)
        n_heads = sum(layout.start(layer) < last for layer in range(spec.n_layer))
        n_mlps = sum(layout.mlp(layer) < last for layer in range(spec.n_layer))
        z = torch.einsum("lhkd,nd->lhnk", self.out[:n_heads], vectors)
        heads = ((z @ self.heads[position, :n_heads]) * z).sum(-1)
        mlps = ((vectors @ self.mlps[position, :n_mlps]) * vectors).sum(-1)
        for layer in range(n_heads):
            squares[:, layout.start(layer) : layout.start(layer) + spec.n_head] = heads[layer].T
        for layer in range(n_mlps):
            squares[:, layout.mlp(layer)] = mlps[layer]
        hidden = torch.arange(last)[None] >= torch.from_numpy(seen)[:, None]
        return squares.masked_fill_(hidden.to(squares.device), 0).clamp_(min=0)


@torch.no_grad()
def path_bounds(frozen: Frozen, max_gigabytes: float) -> PathBounds:
    """Compute the second moments of all paths, layer by layer.

    In the model's dtype.

    Raises `UsageError` for a mixture of experts, and for an input that needs more than `max_gigabytes`.
    """
    model, layout = frozen.model, frozen.layout
    refuse_edits(model, "Certifying the largest paths")
    if model.spec.n_expert:
        raise UsageError("The largest paths of a mixture of experts cannot be certified: leave out top.")
    needed = bytes_needed(model, frozen.n_token) / 1e9
    if needed > max_gigabytes:
        raise UsageError(
            f"Bounds on the paths of {frozen.n_token} tokens need {needed:.1f} GB, more than "
            f"max_gigabytes={max_gigabytes:g}: shorten the prompt, pass a larger max_gigabytes, or leave out top."
        )
    spec, n = model.spec, frozen.n_token
    square = n, spec.n_layer, spec.d_model, spec.d_model
    streams, mlps = frozen.writes.new_empty(square), frozen.writes.new_empty(square)
    heads = frozen.writes.new_empty(n, spec.n_layer, spec.n_head, spec.d_head, spec.d_head)
    outs = frozen.writes.new_empty(spec.n_layer, spec.n_head, spec.d_head, spec.d_model)
    stream = _outer(frozen.writes[: layout.n_embed]).sum(0)
    for layer in range(spec.n_layer):
        attention, mlp = model.weights.attention(layer), model.weights.mlp(layer)
        streams[:, layer] = stream
        outs[layer] = _gained(attention.W_O, attention.post_gain)
        heads[:, layer] = _heads(frozen, layer, attention, stream)
        after = stream + outs[layer].flatten(0, 1).T @ (heads[:, layer] @ outs[layer]).flatten(1, 2)
        if spec.output_bias:
            after += _outer(frozen.writes[layout.mlp(layer) - 1])
        mlps[:, layer] = _mlp(frozen, layer, mlp, stream if spec.parallel else after)
        stream = after + mlps[:, layer]
        if spec.mlp_bias:
            stream += _outer(frozen.writes[layout.mlp(layer) + 1])
    return PathBounds(frozen, streams, mlps, heads, outs)


def _heads(frozen: Frozen, layer: int, attention: Attention, stream: Tensor) -> Float[Tensor, "n_token n_head k k"]:
    """Return the second moment of what each head computes at each position.

    Before its output weights.
    """
    block, group = frozen.blocks[layer], frozen.model.spec.kv_group
    values = attention.W_V.mT @ (stream[:, None] @ attention.W_V)
    values = (values / block.attn_scale[:, None, None, None].square()).repeat_interleave(group, dim=1)
    moments = torch.einsum("hts,shij->thij", block.pattern.square(), values)
    whole = block.pattern.sum(-1).T[..., None, None].square()
    moments = moments + whole * _outer(attention.b_V).repeat_interleave(group, dim=0)
    return moments / block.attn_write_scale[:, None, None, None].square()


def _mlp(frozen: Frozen, layer: int, mlp: Mlp, stream: Tensor) -> Float[Tensor, "n_token d_model d_model"]:
    """Return the second moment of the MLP's write at each position.

    Without bias.
    """
    block, out = frozen.blocks[layer], _gained(mlp.W_out, mlp.post_gain)
    moments = torch.empty_like(stream)
    for t, multiplier in enumerate(block.multiplier / block.mlp_write_scale[:, None]):
        through = (mlp.W_in * (multiplier / block.mlp_scale[t])) @ out
        moments[t] = through.T @ (stream[t] @ through) + _outer((mlp.b_in * multiplier) @ out)
    return moments


def _gained(weight: Tensor, gain: Tensor | None) -> Tensor:
    return weight if gain is None else weight * gain


def _outer(vectors: Float[Tensor, "*n d"]) -> Float[Tensor, "*n d d"]:
    return vectors[..., :, None] * vectors[..., None, :]


def _squares(vectors: Float[Tensor, "n d"], moment: Float[Tensor, "d d"]) -> Float[Tensor, " n"]:
    return ((vectors @ moment) * vectors).sum(-1).clamp(min=0)


def _at_position(children: Children, position: int) -> list[tuple[int, np.ndarray]]:
    """Yield (place, parents) of the children at a position that parents read."""
    here = (children.positions == position) & (children.factors != 0).cpu().numpy()
    return [(int(place), np.flatnonzero(here[place])) for place in np.flatnonzero(here.any(1))]
