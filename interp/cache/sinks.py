"""Attention sinks: the few rows of very large norm, which dominate sums of squares.

A transformer parks enormous vectors at position 0, and in packed text at some later positions too (Sun et al. 2024,
arXiv 2402.17762). Seven such rows of 59,436 contained 83 % of the variance behind block 12 of SmolLM2.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

TIMES = 10.0
"""A row is a sink if its norm is more than this many times the median norm."""


def norms(rows: Float[Tensor, "n ..."]) -> Float[Tensor, " n"]:
    """Return the length of every row, over all its axes, in float32."""
    return torch.linalg.vector_norm(rows.flatten(1).float(), dim=1)


def limit(rows: Float[Tensor, "n ..."], times: float = TIMES) -> float:
    """Return the norm above which a row is a sink.

    It is `times` the median norm.

    Infinity where half of all rows are zero.
    """
    median = float(norms(rows).median())
    return times * median if median > 0 else math.inf


def usual(rows: Float[Tensor, "n ..."], most: float | Tensor) -> Bool[Tensor, " n"]:
    """Return which rows have a norm of at most `most`."""
    return norms(rows) <= most
