"""Composition: which heads read what which heads write (Q, K and V).

Elhage et al. 2021.

With a writer W_V W_O and a reader M that takes the residual stream on its left,

    score = ‖W_V W_O M‖ / (‖W_V W_O‖ ‖M‖)       M = W_Q R W_Kᵀ for Q, its transpose for K, W_V W_O for V.

A squared norm of a product is the inner product of two Gram matrices, ‖X M‖² = ⟨XᵀX, M Mᵀ⟩, and each of those is known
by a (d_model, d_head) factor and a (d_head, d_head) core. So all pairs together are one matrix product over the
d_model² entries, taken a block of rows at a time, in float64 because a score near zero is the root of a difference.

Two maps may share much by their spectra alone, so the null keeps them: the writer's output space is turned by a random
rotation U (uniform over O(d), d = d_model). With A = XᵀX, B = M Mᵀ and p = ‖·‖² / tr(·)² of each (the inverse of how
many directions it fills), the squared score ⟨U A Uᵀ, B⟩ / (tr A tr B) then has, in closed form,

    mean 1/d,    variance 2 (p_A − 1/d) (p_B − 1/d) / ((d − 1)(d + 2)),

because A − (tr A / d) I lies in an irreducible representation of dimension (d − 1)(d + 2)/2 (Schur's lemma).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interp.circuits.factors import LowRank
from interp.circuits.output_value import ov
from interp.circuits.query_key import qk, require_positions
from interp.circuits.results import Composition
from interp.errors import UsageError, nearest, whole
from interp.model import Model, Rotary
from interp.model.arithmetic import pairs

KINDS = ("Q", "K", "V")


def composition(
    model: Model,
    kind: str,
    *,
    offset: int | Literal["average"] = 0,
) -> Composition:
    """Compute the composition scores of all pairs of heads, and their null.

    A score is ‖writer · reader‖ / (‖writer‖ ‖reader‖), with the null of random rotations.

    Args:
        model: the model.
        kind: "Q" (the writer moves the reader's query), "K" (its key) or "V" (its value).
        offset: how many tokens before the query the key stands, for Q and K of rotary models. 0, the default, leaves
            the rotation out; "average" is the root mean square over all offsets, each pair of coordinates turning
            independently (exact, in closed form).

    Returns:
        Scores (writer heads, reader heads).

    Raises:
        UsageError: an unknown kind or offset.
        UnsupportedModelError: positions that no formula here covers.

    >>> scores = circuits.composition(model, "K")
    >>> scores.array.shape, scores.top(1)
    ((12, 12), (('L0H1', 'L1H3', 0.252),))
    """
    return compositions(model, (kind,), offset=offset)[0]


def compositions(
    model: Model, kinds: Sequence[str] = KINDS, *, offset: int | Literal["average"] = 0
) -> tuple[Composition, ...]:
    """Compute the composition scores of several kinds, one after the other.

    What the writers write is computed once for all of them; see `composition`.

    Args:
        model: the model.
        kinds: some of "Q", "K" and "V".
        offset: as in `composition`.

    Returns:
        One result for each kind.

    Raises:
        UsageError: an unknown kind or offset.
        UnsupportedModelError: positions that no formula here covers.

    >>> [(each.kind, each.top(1)) for each in compositions(model)]
    [('Q', (('L0H3', 'L1H0', 0.242),)), ('K', (('L0H1', 'L1H3', 0.252),)), ('V', (('L0H1', 'L1H2', 0.271),))]
    """
    for kind in kinds:
        if kind not in KINDS:
            raise UsageError(f'There is no "{kind}"-composition{nearest(str(kind), KINDS)}; kinds are Q, K and V.')
    if isinstance(offset, str) and offset != "average":
        raise UsageError(f'offset is a number of tokens or "average", not "{offset}".')
    offset = offset if isinstance(offset, str) else whole(offset, "offset")
    require_positions(model.spec)
    writers, *readers = _maps(model.with_cached_weights(), kinds, offset)
    moments = [_moments(gram) for gram in (writers, *readers)]
    rotates = [kind != "V" and model.spec.rotary is not None for kind in kinds]
    return tuple(
        Composition(
            kind=kind,
            offset=_offset_name(rotating, offset),
            array=_scores(total, moments[0], moment).cpu().numpy(),
            n_head=model.spec.n_head,
            d_model=model.spec.d_model,
            spread=_spread(moments[0], moment, model.spec.d_model).cpu().numpy(),
        )
        for kind, rotating, total, moment in zip(kinds, rotates, _inner(writers, readers), moments[1:], strict=True)
    )


@dataclass(frozen=True)
class _Gram:
    """Positive semidefinite matrices outer · core · outerᵀ, one for each head."""

    outer: Float[Tensor, "n d_model rank"]
    core: Float[Tensor, "n rank rank"]


def _maps(model: Model, kinds: Sequence[str], offset: int | str) -> list[_Gram]:
    """Return XᵀX of what every head writes, then M Mᵀ of what it reads for each kind."""
    heads = list(np.ndindex(model.spec.n_layer, model.spec.n_head))
    reads, written = _sides([ov(model, *at).factors for at in heads])
    grams = {"V": reads}
    if {"Q", "K"} & {*kinds}:
        turned = 0 if isinstance(offset, str) or model.spec.rotary is None else offset
        by_query, by_key = _sides([qk(model, *at).factors(turned) for at in heads])
        if offset == "average":
            rotaries = [model.spec.rotaries[layer] for layer, _ in heads]
            by_query, by_key = _averaged(by_query, rotaries), _averaged(by_key, rotaries)
        grams |= {"Q": by_query, "K": by_key}
    return [written, *(grams[kind] for kind in kinds)]


def _sides(maps: Sequence[LowRank]) -> tuple[_Gram, _Gram]:
    """Return M Mᵀ and MᵀM of maps M = left · rightᵀ."""
    left, right = torch.stack([each.left for each in maps]), torch.stack([each.right for each in maps])
    left, right = left.double(), right.double()
    return _Gram(left, right.mT @ right), _Gram(right, left.mT @ left)


def _averaged(gram: _Gram, rotaries: Sequence[Rotary | None]) -> _Gram:
    """Return the matrices with the mean of every core over the rotations of its head."""
    cores = [_mean_core(core, rotary) for core, rotary in zip(gram.core, rotaries, strict=True)]
    return _Gram(gram.outer, torch.stack(cores))


def _mean_core(core: Float[Tensor, "d_head d_head"], rotary: Rotary | None) -> Float[Tensor, "d_head d_head"]:
    """Compute the mean of R G Rᵀ over rotations of every pair of coordinates that turns.

    Of a pair only (G₁₁ + G₂₂)/2 on the diagonal is left, of the coordinates that do not rotate all of G.
    """
    if rotary is None:
        return core
    first, second = pairs(core.diagonal(), rotary)
    mean = (first + second) / 2
    energy = mean.repeat_interleave(2) if rotary.adjacent else mean.repeat(2)
    return torch.block_diag(torch.diag(energy), core[rotary.dim :, rotary.dim :])


def _inner(writers: _Gram, readers: Sequence[_Gram], block: int = 32) -> list[Float[Tensor, "writer reader"]]:
    """Return the inner products ⟨writer, reader⟩ of all pairs, for each of several kinds of readers."""
    n_writer, d_model = writers.outer.shape[:2]
    totals = [writers.outer.new_zeros(n_writer, len(gram.outer)) for gram in readers]
    for start in range(0, d_model, block):
        # Both are symmetric: what stands right of the block on the diagonal counts for its mirror image too.
        written = _rows(writers, start, block)
        written[..., block:] *= 2
        for total, gram in zip(totals, readers, strict=True):
            total.addmm_(written.flatten(1), _rows(gram, start, block).flatten(1).T)
    return totals


def _rows(gram: _Gram, start: int, block: int) -> Float[Tensor, "n row column"]:
    """Return `block` rows of every matrix, from the diagonal on."""
    return gram.outer[:, start : start + block] @ gram.core @ gram.outer[:, start:].mT


def _moments(gram: _Gram) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
    """Return the traces of every matrix and of its square."""
    inner = gram.outer.mT @ gram.outer @ gram.core  # tr (outer core outerᵀ)ᵏ = tr inner ᵏ
    return inner.diagonal(dim1=1, dim2=2).sum(-1), (inner * inner.mT).sum((1, 2))


def _scores(
    total: Float[Tensor, "writer reader"], writers: tuple[Tensor, Tensor], readers: tuple[Tensor, Tensor]
) -> Float[Tensor, "writer reader"]:
    """Compute the composition scores, sqrt(⟨writer, reader⟩ / (tr writer · tr reader)), 0 for a zero map."""
    size = writers[0][:, None] * readers[0]
    return (total.clamp_min(0) / size.masked_fill(size == 0, 1.0)).sqrt()


def _spread(writers: tuple[Tensor, Tensor], readers: tuple[Tensor, Tensor], d: int) -> Float[Tensor, "writer reader"]:
    """Return the standard deviation of squared scores over random rotations."""
    concentration = [
        (square / trace.square().masked_fill(trace == 0, 1.0) - 1 / d).clamp_min(0)
        for trace, square in (writers, readers)
    ]
    return (2 * concentration[0][:, None] * concentration[1] / ((d - 1) * (d + 2))).sqrt()


def _offset_name(rotates: bool, offset: int | str) -> str:
    if not rotates:
        return "no rotation"
    if offset == "average":
        return "root mean square over all offsets"
    return "rotation left out" if offset == 0 else f"keys {offset} tokens before queries"
