"""Regression in context: sequences hold their answer, transformers learn from it, and a price shortens their wires."""

import torch

from interp.toy import modular
from interp.toy.modular.regression import draw


def test_the_answer_follows_from_the_pairs_before_it():
    sequence, answer = draw(50, 6, 2, torch.Generator().manual_seed(0))
    x, y = sequence[0, :, :, :2], sequence[0, :, :, 2]
    w = torch.linalg.lstsq(x[:, :-1], y[:, :-1, None]).solution
    # Without noise least squares is exact; float32, and a few of fifty random systems are ill-conditioned.
    assert torch.allclose((x[:, -1] @ w).diagonal(dim1=0, dim2=1)[0], answer, atol=1e-3)
    assert (y[:, -1] == 0).all()


def test_a_transformer_learns_in_context_with_and_without_a_price_which_shortens_its_wires():
    price = modular.Price(torch.tensor([0.3, 0.0]), torch.tensor([4.0, 0.0]), torch.tensor([True, False]))
    result = modular.learn_in_context(price, [0, 0], steps=400)
    # 1 is what a network has that answers 0.
    assert (result.error < 0.1).all()
    # The answer comes from the pairs: with those of another w, of the same variance, the error is near 2.
    assert ((result.foreign > 1.5) & (result.foreign < 2.5)).all()
    assert (result.wires[0] < result.wires[1]).all()
    assert result.cost[0] < 0.8 * result.cost[1]
    for layer, places in result.places.items():
        even = (torch.arange(places.shape[1]) + 0.5) / places.shape[1]
        assert torch.allclose(places.sort(1).values[0], even), layer
        assert torch.allclose(places[1], even)
