"""The nearest of many vectors agree with one product of all, whatever the blocks."""

from __future__ import annotations

import pytest
import torch

from interp.coding import nearest, neighbours


@pytest.mark.parametrize("absolute", (False, True))
def test_blocks_change_nothing_and_a_row_is_never_its_own_neighbour(monkeypatch, absolute):
    rows = torch.nn.functional.normalize(torch.randn(37, 5, generator=torch.Generator().manual_seed(0)), dim=1)
    product = rows @ rows.T
    size = product.abs() if absolute else product.clone()
    size.fill_diagonal_(-1)
    expected = size.topk(3, 1).indices
    for numbers in (2**24, 37 * 5):
        monkeypatch.setattr(neighbours, "NUMBERS", numbers)
        result = nearest(rows, rows, 3, absolute=absolute)
        assert torch.equal(result.index, expected)
        torch.testing.assert_close(result.value, product.gather(1, expected))
    own = torch.tensor([4, 36])
    assert torch.equal(nearest(rows[own], rows, 3, own=own, absolute=absolute).index, expected[own])
    assert (nearest(rows[own], rows, 1).index[:, 0] == own).any()  # with another row left out it finds itself


def test_a_single_row_has_no_neighbour_but_a_product_of_zero():
    assert nearest(torch.ones(1, 2), torch.ones(1, 2), 1, absolute=True).value.item() == 0
