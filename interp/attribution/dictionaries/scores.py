"""Attention scores over pairs of features: what at the query and what at the key makes a head look there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from jaxtyping import Float
from torch import Tensor

from interp.attribution import bilinear
from interp.attribution.contrast import Contrast
from interp.attribution.secant_targets import ROUNDINGS, changes

if TYPE_CHECKING:
    from interp.attribution.dictionaries.features import Features

Rows = dict[str, Tensor]
"""What each writer puts into a rotated query or key, by its name; last, under "", the head's own bias."""


def score_writers(features: Features, layer: int, query: int, key: int) -> tuple[str, ...]:
    """Return the names of writers of an attention score.

    These are active at the query or the key before the layer.
    """
    layouts = [features.layout, *(end.layout for end in features.ends)]
    seen = {c.name for each in layouts for at in (query, key) for c in each.listed(each.start(layer), at)[1]}
    return tuple(name for name in dict.fromkeys(c.name for each in layouts for c in each.named) if name in seen)


def score_pairs(
    features: Features, layer: int, head: int, query: int, key: int
) -> tuple[Float[Tensor, "n_writer n_writer"], float, float]:
    """Split an attention score over all pairs of writers.

    Returns (part of the score for each pair, score or its change, scale of its error).
    """
    writers = (*score_writers(features, layer, query, key), "")
    at: tuple[tuple[bilinear.Side, int], ...] = (("query", query), ("key", key))
    if not isinstance(features.base, Contrast):
        first, second = (
            _table(_rows(features, _written(features, layer, head, t, side), layer, t), writers) for side, t in at
        )
        pairs = first @ second.T
        pairs = pairs * bilinear.score_scale(cast(Any, features), layer, pairs.sum())
        return pairs, float(features.blocks[layer].scores[head, query, key]), 0.0
    block, sides = features.blocks[layer], []
    for side, t in at:
        moved = changes(cast(Any, features), layer, head, t, side)
        change = _table(_rows(features, moved, layer, t), writers)
        ends = [_table(_rows(end, _written(end, layer, head, t, side), layer, t), writers) for end in features.ends]
        sides.append((change, (ends[0] + ends[1]) / 2))
    (d_query, query_mean), (d_key, key_mean) = sides
    slope = block.slope[head, query, key].double()
    pairs = slope * (d_query @ key_mean.T + query_mean @ d_key.T)
    size = float(slope * (query_mean.sum(0).abs() @ key_mean.sum(0).abs()))
    scale = ROUNDINGS * torch.finfo(features.writes.dtype).eps / features.tolerance * size
    return pairs, float(block.delta_scores[head, query, key]), scale


def _written(features: Features, layer: int, head: int, at: int, side: bilinear.Side) -> Tensor:
    """Return what each component contributes to a query or key."""
    return bilinear.written(cast(Any, features), layer, head, at, side)


def _rows(features: Features, rows: Float[Tensor, "n_component d_head"], layer: int, at: int) -> Rows:
    """Return the rows of visible components by name.

    The last row is the bias.
    """
    index, components = features.layout.listed(features.layout.start(layer), at)
    named = {component.name: rows[i] for i, component in zip(index, components, strict=True)}
    return named | {"": rows[-1]}


def _table(rows: Rows, writers: tuple[str, ...]) -> Float[Tensor, "n_writer d_head"]:
    nothing = torch.zeros_like(rows[""])
    return torch.stack([rows.get(name, nothing) for name in writers])
