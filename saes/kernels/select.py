"""Selection of firing latents.

They are the k largest of each row, the largest of a batch, or all above a threshold.

Latent j belongs to group j mod (width / size). The largest value of each group is computed in one vectorised pass, and
only groups that can contain a selected value are searched. The `*_reference` functions are the plain forms, which
select the same values (which of two equal values is selected is not specified).
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from saes.kernels.support import Sparse

SIZES = (8, 4, 2)
"""Group sizes; the first that divides the width is used. 8 was the fastest of 8, 16 and 32 at 0.2 to 2 % active."""


def topk_rows(pre: Float[Tensor, "n width"], k: int) -> Int[Tensor, "n k"]:
    """Return the indices of the k largest values of each row.

    The indices are in no particular order. The result is exact: a value among the k largest is in a group whose maximum
    is among the k largest maxima.

    >>> topk_rows(torch.tensor([[0.0, 3.0, 1.0, 2.0]]), 2).sort().values.tolist()
    [[1, 3]]
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
    """Return the result of `topk_rows` with torch.topk.

    >>> topk_rows_reference(torch.tensor([[0.0, 3.0, 1.0, 2.0]]), 1).tolist()
    [[1]]
    """
    return pre.topk(k, dim=1, sorted=False).indices


def above(pre: Float[Tensor, "n width"], threshold: float) -> Sparse:
    """Return the pairs with pre > threshold, ordered by row and column.

    >>> above(torch.tensor([[0.0, 3.0], [1.0, 2.0]]), 0.5).columns.tolist()
    [1, 0, 1]
    """
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
    """Return the result of `above` with torch.nonzero.

    >>> above_reference(torch.tensor([[0.0, 3.0], [1.0, 2.0]]), 0.5).columns.tolist()
    [1, 0, 1]
    """
    return compressed((pre.reshape(-1) > threshold).nonzero().view(-1), *pre.shape)


def top_batch(pre: Float[Tensor, "n width"], count: int, guess: float | None = None) -> Sparse:
    """Return the pairs of the `count` largest positive values.

    The values are those of the whole batch. There are fewer pairs if fewer values are positive.

    Args:
        pre: (n, width) values.
        count: number of pairs.
        guess: a value that about `count` values exceed, such as the smallest one selected in the last step. It saves
            time but does not change the result.

    Example:
        >>> top_batch(torch.tensor([[0.0, 3.0], [1.0, 2.0]]), 2).columns.tolist()
        [1, 1]
    """
    low = guess if guess is not None else first_guess(pre, count)
    pairs = above(pre, max(low, 0.0))
    while len(pairs.columns) < count and low > 0:
        low = low * 0.9 if low > 1e-6 else 0.0
        pairs = above(pre, max(low, 0.0))
    if len(pairs.columns) <= count:
        return pairs
    largest = pairs.of_pairs(pre).topk(count, sorted=False).indices
    return compressed(pairs.rows[largest] * pairs.width + pairs.columns[largest], *pre.shape)


def top_batch_reference(pre: Float[Tensor, "n width"], count: int) -> Sparse:
    """Return the result of `top_batch` with torch.topk.

    >>> top_batch_reference(torch.tensor([[0.0, 3.0], [1.0, 2.0]]), 2).columns.tolist()
    [1, 1]
    """
    values, flat = pre.reshape(-1).topk(count, sorted=False)
    return compressed(flat[values > 0], *pre.shape)


def rows_of(columns: Int[Tensor, "n k"], width: int) -> Sparse:
    """Return the support with the given latents.

    Every row has the same number of latents.

    >>> rows_of(torch.tensor([[1, 0], [2, 1]]), width=3).starts.tolist()
    [0, 2, 4]
    """
    n, k = columns.shape
    starts = torch.arange(0, n * k + 1, k, device=columns.device)
    return Sparse(starts, columns.sort(1).values.reshape(-1), width)


def first_guess(pre: Float[Tensor, "n width"], count: int) -> float:
    """Estimate a value that slightly more than `count` values exceed.

    The estimate uses every 16th row.

    >>> first_guess(torch.arange(10.0)[None], 2)
    7.0
    """
    some = pre[::16]
    wanted = min(int(1.2 * count * len(some) / len(pre)) + 1, some.numel())
    return float(some.float().reshape(-1).topk(wanted, sorted=False).values.min())


def compressed(flat: Int[Tensor, " pairs"], n: int, width: int) -> Sparse:
    """Return the support of flat indices in any order.

    >>> compressed(torch.tensor([3, 1]), n=2, width=2).columns.tolist()
    [1, 1]
    """
    flat = flat.sort().values
    row = torch.div(flat, width, rounding_mode="floor")
    starts = torch.zeros(n + 1, dtype=torch.long, device=flat.device)
    torch.cumsum(torch.bincount(row, minlength=n), 0, out=starts[1:])
    return Sparse(starts, flat - row * width, width)
