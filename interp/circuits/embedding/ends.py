"""`compare`: is the vector that stands for a token on the way in the one that stands for it on the way out?"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from interp.circuits.embedding.results import Comparison
from interp.circuits.embedding.streams import Streams, streams
from interp.circuits.factors import working
from interp.coding import nearest
from interp.errors import UsageError, whole
from interp.model import Model


@torch.no_grad()
def compare(
    model: Model,
    tokens: Tensor | Streams | None = None,
    *,
    neighbours: int = 10,
    n_token: int = 1000,
    seed: int = 0,
) -> Comparison:
    """Compare the embedding with the unembedding, by token and as spaces.

    It also gives the layer where the stream turns from the token read to the token predicted.

    Args:
        model: the model; its two ends are compared as stored, the final norm left out.
        tokens: (batch, n_token) texts for the layers, or the `streams` of some; prose by default, random tokens without
            a tokenizer.
        neighbours: nearest tokens (by cosine) whose overlap is measured.
        n_token: random tokens the overlap is measured for.
        seed: of the random tokens.

    Returns:
        The comparison.

    Raises:
        UsageError: fewer than two tokens for every neighbour asked for, or texts the model cannot read.

    >>> result = compare(model, tokens, neighbours=3)
    >>> result.cosine, result.overlap, result.chance
    (-0.034, 0.021, 0.048)
    """
    ends = model.weights.W_E, model.weights.unfolded_unembedding[0].T
    W_E = normalize(working(ends[0]), dim=-1)
    W_U = W_E if torch.equal(*ends) else normalize(working(ends[1]), dim=-1)
    neighbours = whole(neighbours, "neighbours")
    if not 1 <= neighbours < len(W_E):
        raise UsageError(f"neighbours={neighbours}: the vocabulary has {len(W_E)} tokens.")
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randperm(len(W_E), generator=generator)[:n_token].to(W_E.device)
    near = nearest(W_E[ids], W_E, neighbours, own=ids).index
    other = near if W_U is W_E else nearest(W_U[ids], W_U, neighbours, own=ids).index
    shared = (near[:, :, None] == other[:, None, :]).any(-1).double().mean()
    run = streams(model, tokens)
    identity, prediction = _turn(model, run, W_E)
    return Comparison(
        tied=model.spec.tied,
        cosine=float((W_E * W_U).sum(-1).mean()),
        aligned_cosine=_aligned(W_E, W_U),
        overlap=float(shared),
        neighbours=neighbours,
        chance=neighbours / (len(W_E) - 1),
        identity=identity.cpu().numpy(),
        prediction=prediction.cpu().numpy(),
        n_position=len(run.predicted),
    )


def _aligned(one: Float[Tensor, "n d"], other: Float[Tensor, "n d"]) -> float:
    """Compute the mean cosine of rows after the best orthogonal map.

    The sum of singular values of oneᵀ other, over n.
    """
    return float(torch.linalg.svdvals((one.T @ other).double()).sum()) / len(one)


def _turn(model: Model, run: Streams, W_E: Tensor) -> tuple[Tensor, Tensor]:
    """Compute the stream's mean cosines with tokens read and predicted.

    After each layer.

    The prediction is read by the final norm's gain too, as the model reads it.
    """
    stream = normalize(run.vectors, dim=-1)
    reader = normalize(working(model.weights.unembed(run.predicted)[0]).T, dim=-1)
    identity, prediction = ((stream * rows).sum(-1).mean(-1) for rows in (W_E[run.tokens.flatten()], reader))
    return identity, prediction
