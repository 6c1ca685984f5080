"""Definiteness of heads' query-key maps, compared with random weights."""

from __future__ import annotations

import numpy as np
import torch

from interp.circuits.factors import LowRank, positive_share, signature
from interp.circuits.query_key import qk, require_positions
from interp.circuits.results import Definiteness
from interp.errors import require, whole
from interp.model import Model
from interp.threads import on_a_thread_each


def definiteness(model: Model, *, draws: int = 50, seed: int = 0) -> Definiteness:
    """Compute signature, symmetric fraction and positive share of every W_Q W_Kᵀ.

    Random weights of the same shape are the null.

    The symmetric part of a generic matrix of rank d_head has signature (d_head, d_head) while 2·d_head ≤ d_model, so a
    head is never semidefinite but by construction; how far the two shares lie from a half is what tells heads apart.
    Rotation is left out and gains are folded.

    Args:
        model: the model.
        draws: random weights of the null.
        seed: of the null.

    Returns:
        Measures of every head, with those of random weights.

    >>> result = circuits.definiteness(model, draws=5)
    >>> result.symmetric_fraction.round(3), result.null_fraction
    (array([[0.544, 0.556, 0.53 , 0.614],
           [0.595, 0.492, 0.505, 0.529],
           [0.551, 0.466, 0.518, 0.529]], dtype=float32), (0.511, 0.044))
    """
    require(model, Model, "model")
    draws, seed = whole(draws, "draws", 2), whole(seed, "seed", 0)
    require_positions(model.spec)
    model = model.with_cached_weights()
    shape = (model.spec.n_layer, model.spec.n_head)
    generator = torch.Generator().manual_seed(seed)
    heads = [qk(model, *at).factors() for at in np.ndindex(shape)]
    measured = on_a_thread_each(_measure, [*heads, *(_random(model, generator) for _ in range(draws))])
    counts, shares = (np.array(part).T.reshape(2, *shape) for part in zip(*measured[: len(heads)], strict=True))
    nulls = measured[len(heads) :]
    fraction, share = (np.array([null[1][i] for null in nulls]) for i in range(2))
    return Definiteness(
        positive=counts[0],
        negative=counts[1],
        symmetric_fraction=shares[0].astype(np.float32),
        positive_share=shares[1].astype(np.float32),
        null_fraction=(float(fraction.mean()), float(fraction.std(ddof=1))),
        null_share=(float(share.mean()), float(share.std(ddof=1))),
        null_signature=nulls[0][0],
        draws=draws,
        seed=seed,
    )


def _measure(factors: LowRank) -> tuple[tuple[int, int], tuple[float, float]]:
    """Return (signature, (symmetric fraction, positive share)) of a map."""
    values = factors.symmetric_eigenvalues()
    return signature(values), (factors.symmetric_fraction(), positive_share(values))


def _random(model: Model, generator: torch.Generator) -> LowRank:
    shape = (model.spec.d_model, model.spec.d_head)
    left, right = (torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2))
    return LowRank(left, right)
