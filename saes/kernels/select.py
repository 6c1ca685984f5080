"""Selection of firing latents.

They are the k largest of each row, the largest of a batch, or all above a threshold.

All three compare values with a bound and list the pairs above it, a tile of rows at a time, so that a tile stays in the
processor's cache between its passes. On a CPU, NumPy compares and partitions: it uses vector instructions where PyTorch
has plain loops. The `*_reference` functions are the plain forms, which select the same values. Among equal values at
the last place the first latents are selected.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp.errors import NotFiniteError
from saes.kernels.support import Sparse, Values

SIZES = (32, 16, 8, 4, 2)
"""Group sizes of `_lower_bound`; the first that divides the width into at least 8 k groups is used."""
TILE = 2**20
"""Values of a tile on a CPU."""


def above(pre: Float[Tensor, "n width"], threshold: float | Tensor) -> tuple[Sparse, Values]:
    """Return the pairs with pre > threshold, with the values.

    Args:
        pre: (n, width) values.
        threshold: a number, or a tensor that broadcasts: (width,) one of each latent.

    Example:
        >>> support, values = above(torch.tensor([[0.0, 3.0], [1.0, 2.0]]), 0.5)
        >>> support.columns.tolist(), values.tolist()
        ([1, 0, 1], [3.0, 1.0, 2.0])
    """
    return _exceeding_pairs(pre, lambda _: threshold)


def above_reference(pre: Float[Tensor, "n width"], threshold: float | Tensor) -> tuple[Sparse, Values]:
    """Return the result of `above` with torch.nonzero.

    >>> above_reference(torch.tensor([[0.0, 3.0], [1.0, 2.0]]), 0.5)[0].columns.tolist()
    [1, 0, 1]
    """
    support = compressed((pre > threshold).reshape(-1).nonzero().view(-1), *pre.shape)
    return support, support.of_pairs(pre)


def top_rows(pre: Float[Tensor, "n width"], k: int) -> tuple[Sparse, Values]:
    """Return the pairs of each row's k largest values, with the values.

    The result is exact: all values above a lower bound of the k-th largest are candidates.

    >>> support, values = top_rows(torch.tensor([[0.0, 3.0, 1.0, 2.0]]), 2)
    >>> support.columns.tolist(), values.tolist()
    ([1, 3], [3.0, 2.0])
    """
    n, width = pre.shape
    if k >= width:
        every = torch.arange(n * width, device=pre.device)
        return Sparse.of_places(every, n, width), pre.reshape(-1)
    candidates, values = _exceeding_pairs(pre, lambda tile: _lower_bound(tile, k)[:, None], inclusive=True)
    chosen = _largest(values, candidates, k)
    return candidates.where(chosen), values[chosen]


def top_rows_reference(pre: Float[Tensor, "n width"], k: int) -> tuple[Sparse, Values]:
    """Return the result of `top_rows` with torch.topk.

    >>> top_rows_reference(torch.tensor([[0.0, 3.0, 1.0, 2.0]]), 1)[0].columns.tolist()
    [1]
    """
    support = rows_of(pre.topk(k, dim=1, sorted=False).indices, pre.shape[1])
    return support, support.of_pairs(pre)


def top_batch(pre: Float[Tensor, "n width"], count: int, guess: float | None = None) -> tuple[Sparse, Values]:
    """Return the pairs of the `count` largest positive values, and these values.

    The values are those of the whole batch. There are fewer pairs if fewer values are positive.

    Args:
        pre: (n, width) values.
        count: number of pairs.
        guess: a value that about `count` values exceed, such as the smallest one selected in the last step. It saves
            time but does not change the result.

    Example:
        >>> top_batch(torch.tensor([[0.0, 3.0], [1.0, 2.0]]), 2)[0].columns.tolist()
        [1, 1]
    """
    low = max(guess if guess is not None else first_guess(pre, count), 0.0)
    pairs, values = above(pre, low)
    while len(values) < count and low > 0:
        low = low * 0.9 if low > 1e-6 else 0.0
        pairs, values = above(pre, low)
    if len(values) <= count:
        return pairs, values
    row = Sparse(torch.tensor([0, len(values)], device=values.device), pairs.columns, pairs.width)
    chosen = _largest(values, row, count)
    return pairs.where(chosen), values[chosen]


def top_batch_reference(pre: Float[Tensor, "n width"], count: int) -> Sparse:
    """Return the pairs of `top_batch` with torch.topk.

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
    return float(_kth_largest(some.reshape(1, -1), wanted))


def compressed(flat: Int[Tensor, " pairs"], n: int, width: int) -> Sparse:
    """Return the support of flat indices in any order.

    >>> compressed(torch.tensor([3, 1]), n=2, width=2).columns.tolist()
    [1, 1]
    """
    return Sparse.of_places(flat.sort().values, n, width)


def _exceeding_pairs(
    pre: Float[Tensor, "n width"], bound: Callable[[Tensor], float | Tensor], inclusive: bool = False
) -> tuple[Sparse, Values]:
    """Return the pairs above the bound of their tile, with the values, read while the tile is in the cache."""
    n, width = pre.shape
    places, values = [pre.new_zeros(0, dtype=torch.long)], [pre.new_zeros(0)]
    for start, tile, mask in _tiles(pre):
        flat = _exceeding(tile, bound(tile), mask, inclusive)
        values.append(tile.reshape(-1)[flat])
        places.append(flat.add_(start * width))
    return Sparse.of_places(torch.cat(places), n, width), torch.cat(values)


def _tiles(pre: Float[Tensor, "n width"]) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Yield the first row and the values of each tile, and a mask of its shape to write in.

    On other devices than CPUs there is one tile.
    """
    n, width = pre.shape
    rows = min(max(TILE // width, 1), n) if pre.device.type == "cpu" else n
    mask = torch.empty(rows, width, dtype=torch.bool, device=pre.device)  # new memory pages cost more than comparing
    for start in range(0, n, max(rows, 1)):
        tile = pre[start : start + rows]
        yield start, tile, mask[: len(tile)]


def _exceeding(
    tile: Float[Tensor, "n width"], bound: float | Tensor, mask: Bool[Tensor, "n width"], inclusive: bool = False
) -> Int[Tensor, " pairs"]:
    """Return the flat indices of the values above a bound, or equal to it if `inclusive`. Overwrites the mask."""
    if tile.device.type != "cpu":
        compare = torch.ge if inclusive else torch.gt
        return compare(tile, bound, out=mask).view(-1).nonzero().view(-1)
    limit = _array(bound) if isinstance(bound, Tensor) else bound
    compare = np.greater_equal if inclusive else np.greater
    return torch.from_numpy(np.flatnonzero(compare(_array(tile), limit, out=mask.numpy())))


def _lower_bound(tile: Float[Tensor, "n width"], k: int) -> Float[Tensor, " n"]:
    """Return a lower bound of the k-th largest value of each row.

    Latent j belongs to group j mod (width / size). k groups have a maximum of at least the k-th largest maximum, so
    that k values of the row are as large.
    """
    n, width = tile.shape
    size = next((s for s in SIZES if width % s == 0 and width // s >= 8 * k), 1)
    return _kth_largest(tile.view(n, size, width // size).amax(1) if size > 1 else tile, k)


def _kth_largest(values: Float[Tensor, "n m"], k: int) -> Float[Tensor, " n"]:
    """Return the k-th largest value of each row."""
    if values.device.type != "cpu":
        return values.topk(k, dim=1, sorted=False).values.amin(1)
    place = values.shape[1] - k
    return torch.from_numpy(np.partition(_array(values), place, axis=1)[:, place].copy()).to(values.dtype)


def _largest(values: Values, rows: Sparse, k: int) -> Int[Tensor, " chosen"]:
    """Return the places of the k largest values of each row, which has at least k."""
    counts, row = rows.starts.diff(), rows.rows
    if rows.n and int(counts.min()) < k:  # comparisons with NaN are false
        raise NotFiniteError("The pre-activations are not all numbers (NaN): lower the learning rate.")
    place = torch.arange(len(values), device=values.device) - rows.starts[row]
    padded = values.new_full((rows.n, int(counts.max()) if rows.n else k), -torch.inf)
    padded[row, place] = values
    edge = _kth_largest(padded, k)[row]
    chosen = values >= edge
    if int(chosen.sum()) > k * rows.n:  # equal values at the last place: the first ones are selected
        inside, ties = values > edge, values == edge
        vacant = k - torch.zeros_like(counts).index_add_(0, row, inside.long())
        number = ties.cumsum(0)
        before = torch.cat([number.new_zeros(1), number])[rows.starts[:-1]]
        chosen = inside | (ties & (number - before[row] <= vacant[row]))
    return rows.some(chosen)


def _array(values: Tensor) -> np.ndarray:
    """Return the values for NumPy, which has no bfloat16."""
    values = values.detach()
    return (values.float() if values.dtype in (torch.bfloat16, torch.float16) else values).numpy()
