"""Which latents fire: the largest k a row, the largest of a whole batch, or all above zero.

Each looks at groups first. A latent j belongs to group j mod (width / size); the largest value of each group is found
in one vectorised pass, and only groups that can hold an answer are looked into. `*_reference` are the plain forms:
they choose the same values (which of two equal values is chosen is not specified).
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saes.kernels.support import Sparse

SIZES = (8, 4, 2)
"""Group sizes; the first that divides the width is taken. 8 was the quickest of 8, 16 and 32 at 0.2 to 2 % active."""


def topk_rows(pre: Float[Tensor, "n width"], k: int) -> Int[Tensor, "n k"]:
    """Indices of the k largest values of each row, in no order.

    Exact: a value among the k largest lies in a group whose maximum is among the k largest maxima.
    """
    n, width = pre.shape
    size = next((s for s in SIZES if width % s == 0 and width // s >= 2 * k), 1)
    if size == 1:
        return topk_rows_reference(pre, k)
    count = width // size
    choose = topk_rows if count > 1024 else topk_rows_reference
    groups = choose(pre.view(n, size, count).amax(1), k)
    members = torch.arange(0, width, count, device=pre.device).view(1, size, 1)
    candidates = (groups[:, None, :] + members).view(n, size * k)
    best = pre.gather(1, candidates).topk(k, dim=1, sorted=False).indices
    return candidates.gather(1, best)


def topk_rows_reference(pre: Float[Tensor, "n width"], k: int) -> Int[Tensor, "n k"]:
    """`topk_rows` by torch.topk."""
    return pre.topk(k, dim=1, sorted=False).indices


def above(pre: Float[Tensor, "n width"], threshold: float) -> Sparse:
    """The pairs with pre > threshold, ordered by row and column."""
    n, width = pre.shape
    size = next((s for s in SIZES if width % s == 0), 1)
    if size == 1:
        return above_reference(pre, threshold)
    count = width // size
    row, group = (pre.view(n, size, count).amax(1) > threshold).nonzero(as_tuple=True)
    members = torch.arange(0, width, count, device=pre.device)
    candidates = (row * width + group)[:, None] + members
    flat = candidates[pre.view(-1)[candidates] > threshold]
    return compressed(flat, n, width)


def above_reference(pre: Float[Tensor, "n width"], threshold: float) -> Sparse:
    """`above` by torch.nonzero."""
    return compressed((pre.reshape(-1) > threshold).nonzero().view(-1), *pre.shape)


def top_batch(pre: Float[Tensor, "n width"], count: int, guess: float | None = None) -> Sparse:
    """The pairs of the `count` largest positive values of the whole batch (fewer if fewer are positive).

    Args:
        pre: values.
        count: how many.
        guess: a value that about `count` values exceed: last step's smallest chosen one. It saves time, never
            changes the answer.
    """
    low = guess if guess is not None else first_guess(pre, count)
    found = above(pre, max(low, 0.0))
    while len(found.columns) < count and low > 0:
        low = low * 0.9 if low > 1e-6 else 0.0
        found = above(pre, max(low, 0.0))
    if len(found.columns) <= count:
        return found
    kept = found.of_pairs(pre).topk(count, sorted=False).indices
    return compressed(found.rows[kept] * found.width + found.columns[kept], *pre.shape)


def top_batch_reference(pre: Float[Tensor, "n width"], count: int) -> Sparse:
    """`top_batch` by torch.topk."""
    values, flat = pre.reshape(-1).topk(count, sorted=False)
    return compressed(flat[values > 0], *pre.shape)


def rows_of(columns: Int[Tensor, "n k"], width: int) -> Sparse:
    """The support with the same number of latents in every row."""
    n, k = columns.shape
    starts = torch.arange(0, n * k + 1, k, device=columns.device)
    return Sparse(starts, columns.sort(1).values.reshape(-1), width)


def first_guess(pre: Float[Tensor, "n width"], count: int) -> float:
    """A value that a little more than `count` values should exceed, from every 16th row."""
    some = pre[::16]
    wanted = min(int(1.2 * count * len(some) / len(pre)) + 1, some.numel())
    return float(some.float().reshape(-1).topk(wanted, sorted=False).values.min())


def compressed(flat: Int[Tensor, " pairs"], n: int, width: int) -> Sparse:
    """Compressed rows of flat indices in any order."""
    flat = flat.sort().values
    row = torch.div(flat, width, rounding_mode="floor")
    starts = torch.zeros(n + 1, dtype=torch.long, device=flat.device)
    torch.cumsum(torch.bincount(row, minlength=n), 0, out=starts[1:])
    return Sparse(starts, flat - row * width, width)
