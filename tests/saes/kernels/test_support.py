"""Sparse products against dense ones, and the choice of latents against torch's own."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from interp.errors import NotFiniteError
from saes.kernels import select, support as products
from saes.kernels.encode import Scratch, half_is_quicker, preactivations
from saes.kernels.select import (
    above,
    above_reference,
    rows_of,
    top_batch,
    top_batch_reference,
    top_rows,
    top_rows_reference,
)
from saes.kernels.support import Dense, Sparse

N, D, WIDTH = 30, 7, 48


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def uneven() -> tuple[Sparse, Tensor]:
    """A support with rows of every length, some empty, and the mask of the same pairs."""
    mask = torch.rand(N, WIDTH, generator=torch.Generator().manual_seed(1)) < torch.linspace(0, 0.6, N)[:, None]
    mask[5] = False
    return above_reference(mask.double(), 0.5)[0], mask


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_sparse_products_are_the_dense_ones_on_their_pairs(dtype: torch.dtype) -> None:
    support, mask = uneven()
    dense = Dense(N, WIDTH)
    x, weight, values = (
        normal(N, D, dtype=dtype),
        normal(WIDTH, D, seed=2, dtype=dtype),
        normal(N, WIDTH, seed=3, dtype=dtype),
    )
    masked, pairs = values * mask, values[mask]
    assert torch.equal(support.of_pairs(values), pairs)  # the order of pairs is that of a mask: rows, then columns
    for result, expected in (
        (support.at(x, weight), dense.at(x, weight)[mask]),
        (support.combine(pairs, weight), dense.combine(masked, weight)),
        (support.spread(pairs, x), dense.spread(masked, x)),
        (support.sum_inputs(pairs), dense.sum_inputs(masked)),
        (support.of_latents(x[:, 0].repeat(2)[:WIDTH]), x[:, 0].repeat(2)[:WIDTH].expand(N, -1)[mask]),
    ):
        torch.testing.assert_close(result, expected)  # the default tolerance of the number format


def test_products_of_some_pairs_are_those_of_a_masked_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also with embedding bags of a few latents at a time, which many pairs are spread with."""
    pairs, mask = uneven()
    few = mask & (normal(N, WIDTH, seed=4) > 0)
    x, values = normal(N, D), normal(N, WIDTH)
    chosen = pairs.some(few[mask])
    some = pairs.where(chosen)
    assert torch.equal(pairs.pick(values[mask], chosen), values[few])
    assert torch.equal(some.starts.diff(), few.sum(1)) and torch.equal(some.columns, few.nonzero()[:, 1])
    dense = Dense(N, WIDTH)
    expected = dense.where(dense.some(few)).spread(dense.pick(values, few), x)
    torch.testing.assert_close(some.spread(values[few], x), expected)
    monkeypatch.setattr(products, "MANY", 0)
    monkeypatch.setattr(products, "BAGS", 5)
    torch.testing.assert_close(some.spread(values[few], x), expected)


def test_spread_writes_every_row_of_the_buffer_it_is_given() -> None:
    """Latents that never fire get a gradient of zero, whatever was in the buffer."""
    support, mask = uneven()
    x, values = normal(N, D), normal(N, WIDTH)
    silent = ~mask.any(0)
    assert support.width == WIDTH
    for kind, given in ((support, values[mask]), (Dense(N, WIDTH), values * mask)):
        buffer = torch.full((WIDTH, D), torch.nan, dtype=x.dtype)
        result = kind.spread(given, x, out=buffer)
        assert result.data_ptr() == buffer.data_ptr()
        assert torch.isfinite(result).all() and not result[silent].any()


def test_an_empty_support_gives_zeros() -> None:
    support, values = above(torch.zeros(N, WIDTH), 0.0)
    assert len(support.columns) == len(values) == 0 and support.n == N
    nothing = torch.zeros(0)
    assert not support.combine(nothing, torch.ones(WIDTH, D)).any()
    assert not support.spread(nothing, torch.ones(N, D)).any()
    assert support.at(torch.ones(N, D), torch.ones(WIDTH, D)).shape == (0,)


WIDTHS = [WIDTH, 100, 97, 31, 1024, 9216]  # grouped by 8 and by 4, prime, odd, grouped by 8 once and twice


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("k", [1, 5, 20, 31])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_top_rows_selects_the_values_torch_does(width: int, k: int, dtype: torch.dtype) -> None:
    pre = normal(N, width, dtype=dtype)
    support, values = top_rows(pre, k)
    assert support.starts.tolist() == list(range(0, N * k + 1, k))
    columns = support.columns.view(N, k)
    assert (columns.diff() > 0).all() and values.dtype == dtype  # no latent twice, in order
    assert torch.equal(values, support.of_pairs(pre))
    expected = top_rows_reference(pre, k)[1].view(N, k)
    assert torch.equal(values.view(N, k).sort(1).values, expected.sort(1).values)


@pytest.mark.parametrize("rows", [1, 3, 8])
def test_tiles_do_not_change_the_selection(monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    pre, bound = normal(N, WIDTH, dtype=torch.float32), normal(WIDTH, seed=5, dtype=torch.float32)
    whole = above(pre, bound), top_rows(pre, 4)
    monkeypatch.setattr(select, "TILE", rows * WIDTH)
    for tiled, at_once in zip((above(pre, bound), top_rows(pre, 4)), whole, strict=True):
        same(tiled[0], at_once[0])
        assert torch.equal(tiled[1], at_once[1])


def test_top_rows_with_all_the_largest_values_in_one_group() -> None:
    """The maximum of that group alone would miss three of them."""
    width, k = 64, 4
    pre = torch.zeros(1, width)
    pre[0, torch.arange(3, width, width // 4)[:k]] = torch.tensor([9.0, 8.0, 7.0, 6.0])
    assert top_rows(pre, k)[0].columns.tolist() == [3, 19, 35, 51]


def test_the_first_of_equal_values_are_selected() -> None:
    """bfloat16 has many equal values at the k-th place; and a row of one value alone is the extreme."""
    pre = torch.tensor([[1.0, 2.0, 1.0, 1.0], [0.0, 0.0, 0.0, 0.0], [-1.0, -2.0, -1.0, -torch.inf]])
    assert top_rows(pre, 2)[0].columns.view(3, 2).tolist() == [[0, 1], [0, 1], [0, 2]]
    support, values = top_batch(pre, 3)
    assert (support.rows.tolist(), support.columns.tolist(), values.tolist()) == ([0] * 3, [0, 1, 2], [1.0, 2.0, 1.0])


def test_nan_is_refused() -> None:
    pre = normal(N, WIDTH, dtype=torch.float32)
    pre[2] = torch.nan
    with pytest.raises(NotFiniteError, match="NaN"):
        top_rows(pre, 4)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("threshold", [-9.0, 0.0, 1.5, 9.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_pairs_above_a_threshold_are_those_of_nonzero(width: int, threshold: float, dtype: torch.dtype) -> None:
    pre = normal(N, width, dtype=dtype)
    for bound in (threshold, threshold + normal(width, seed=3, dtype=dtype)):
        (support, values), (expected, expected_values) = above(pre, bound), above_reference(pre, bound)
        same(support, expected)
        assert torch.equal(values, expected_values)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("guess", [None, 1e-9, 0.3, 50.0])
def test_the_largest_of_a_batch_do_not_depend_on_the_guess(width: int, guess: float | None) -> None:
    pre = normal(N, width, dtype=torch.float32)
    count = N * 5
    result, values = top_batch(pre, count, guess)
    same(result, top_batch_reference(pre, count))
    assert torch.equal(values, result.of_pairs(pre))
    assert len(result.columns) == count and len(set(result.starts.diff().tolist())) > 1  # rows differ in length


def test_only_positive_values_are_chosen() -> None:
    pre = -normal(N, WIDTH, dtype=torch.float32).abs()
    pre[3, 4] = 1.0
    result, _ = top_batch(pre, 100)
    assert (result.rows.tolist(), result.columns.tolist()) == ([3], [4])


def same(result: Sparse, expected: Sparse) -> None:
    assert torch.equal(result.starts, expected.starts) and torch.equal(result.columns, expected.columns)


def test_rows_of_is_the_support_of_fixed_k() -> None:
    columns = torch.tensor([[3, 1], [0, 2]])
    support = rows_of(columns, 5)
    assert support.starts.tolist() == [0, 2, 4] and support.columns.tolist() == [1, 3, 0, 2]
    assert support.rows.tolist() == [0, 0, 1, 1]


def test_preactivations_reuse_their_buffer() -> None:
    x, weight, bias = normal(N, D, dtype=torch.float32), normal(WIDTH, D, dtype=torch.float32), torch.ones(WIDTH)
    scratch = Scratch()
    first = preactivations(x, weight, bias, scratch)
    torch.testing.assert_close(first, x @ weight.T + 1)
    assert preactivations(2 * x, weight, bias, scratch).data_ptr() == first.data_ptr()
    assert preactivations(x[:5], weight, bias, scratch).shape == (5, WIDTH)  # a batch of another size


def test_half_precision_only_ranks() -> None:
    """bfloat16 has 8 bits: its product is within 1 % of the exact one, whose scale is sqrt(D)."""
    x, weight, bias = normal(N, D, dtype=torch.float32), normal(WIDTH, D, dtype=torch.float32), torch.zeros(WIDTH)
    rough = preactivations(x, weight, bias, Scratch(), half=True)
    assert rough.dtype == torch.bfloat16
    error = (rough.float() - x @ weight.T).abs().max()
    assert 0 < error < 0.01 * D**0.5 * x.abs().max() * weight.abs().max()


@pytest.mark.parametrize(("asked", "expected"), [("float32", False), ("bfloat16", True)])
def test_precision_is_as_asked(asked: str, expected: bool) -> None:
    assert half_is_quicker(asked, torch.device("cpu")) is expected


def test_auto_precision_follows_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(value: bool) -> Callable[[], bool]:
        return lambda: value

    for native in (True, False):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", answer(native), raising=False)
        assert half_is_quicker("auto", torch.device("cpu")) is native
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported", raising=False)
    assert not half_is_quicker("auto", torch.device("cpu"))
