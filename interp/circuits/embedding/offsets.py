"""`analogy`: is there one direction that leads from each first word of a list of pairs to its second?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from interp.circuits.embedding.results import Analogy
from interp.circuits.factors import working
from interp.errors import UsageError, require
from interp.model import Model


@torch.no_grad()
def analogy(
    model: Model, pairs: Sequence[tuple[str | int, str | int]], *, n_controls: int = 200, seed: int = 0
) -> Analogy:
    """Test an analogy by the offsets between word pairs' embeddings.

    It measures how parallel the offsets are, and the rank of each answer (3CosAdd, Mikolov et al. 2013). The answer of
    a pair is searched near a + mean offset of the other pairs, by cosine. Both numbers are compared with those of the
    same words with the second of each pair shuffled, so that no word keeps its partner's place by design.

    Args:
        model: the model.
        pairs: at least three pairs of words of one token each, or token ids; no word twice.
        n_controls: shuffles of the second words.
        seed: of the shuffles.

    Returns:
        Parallelism and ranks, with their nulls.

    Raises:
        UsageError: fewer than three pairs, a word that is not one token, or a word used twice.

    >>> result = analogy(model, [(1, 11), (2, 12), (3, 13)], n_controls=20)
    >>> result.parallelism, result.ranks
    (0.087, (55, 9, 1))
    """
    require(model, Model, "model")
    require(pairs, (list, tuple), "pairs")
    for pair in pairs:
        require(pair, (list, tuple), "pairs (each of them)")
        if len(pair) != 2:
            raise UsageError(f"A pair of an analogy has two words; {pair!r} has {len(pair)}.")
    ids = torch.tensor([[model.token_id(word) for word in pair] for pair in pairs])
    if len(ids) < 3 or len(ids.unique()) < ids.numel():
        raise UsageError(f"An analogy needs at least three pairs of different words, not {len(ids)} with repetitions.")
    rows = normalize(working(model.weights.W_E), dim=-1)
    generator = torch.Generator().manual_seed(seed)
    shuffles = [_derangement(len(ids), generator) for _ in range(n_controls)]
    shuffled = [torch.stack([ids[:, 0], ids[order, 1]], dim=1) for order in shuffles]
    return Analogy(
        pairs=tuple((a, b) for a, b in map(model.labels, ids)),
        parallelism=_parallelism(rows, ids),
        ranks=tuple(_ranks(rows, ids).tolist()),
        null_parallelism=np.array([_parallelism(rows, one) for one in shuffled]),
        null_median_rank=np.array([float(_ranks(rows, one).double().median()) for one in shuffled[:20]]),
        seed=seed,
    )


def _offsets(rows: Tensor, ids: Tensor) -> Float[Tensor, "pair d_model"]:
    return rows[ids[:, 1]] - rows[ids[:, 0]]


def _parallelism(rows: Tensor, ids: Tensor) -> float:
    """Compute the mean cosine between offsets of different pairs."""
    unit = normalize(_offsets(rows, ids), dim=-1)
    n = len(unit)
    return float((unit.sum(0).square().sum() - n) / (n * (n - 1)))


def _ranks(rows: Tensor, ids: Tensor) -> Tensor:
    """Rank each pair's answer by its distance from a + mean offset.

    How many tokens lie nearer to a + mean offset of the other pairs than b does; words of the pairs do not count.
    """
    offsets = _offsets(rows, ids)
    others = (offsets.sum(0) - offsets) / (len(ids) - 1)
    cosines = normalize(rows[ids[:, 0]] + others, dim=-1) @ rows.T
    answer = cosines[torch.arange(len(ids)), ids[:, 1]]
    cosines[:, ids.flatten()] = -torch.inf
    return (cosines > answer[:, None]).sum(-1)


def _derangement(n: int, generator: torch.Generator) -> Tensor:
    """Draw a shuffle that leaves nothing in its place."""
    while True:
        order = torch.randperm(n, generator=generator)
        if bool((order != torch.arange(n)).all()):
            return order
