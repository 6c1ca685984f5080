"""Learned and moved masks find the inputs that matter; tickets keep their start."""

import torch

from interp import masks
from interp.masks import learned
from tests.masks import networks


def test_open_probability_is_how_often_a_gate_is_above_zero():
    log_odds = torch.tensor([-2.0, -0.5, 0.0, 1.5]).repeat(20000, 1)
    gates = learned.sample(log_odds, torch.Generator().manual_seed(0))
    share = (gates > 0).double().mean(0)
    # 20,000 draws: a deviation of at most 0.0036.
    assert torch.allclose(share, learned.open_probability(log_odds[0]).double(), atol=0.015)
    rounded = learned.sample(log_odds, torch.Generator().manual_seed(0), straight_through=True)
    assert set(rounded.unique().tolist()) == {0.0, 1.0}


def test_gates_on_inputs_stay_open_where_they_matter_and_a_free_gate_never_closes():
    trained = masks.train(networks.network(seeds=(0, 1)), networks.loss, steps=300, lr=0.01)

    def loss(gates, step):
        return networks.loss({**trained, "0.weight": trained["0.weight"] * gates["inputs"].unsqueeze(1)}, step)

    shapes = {"inputs": torch.ones(2, 6)}
    result = masks.learn(shapes, loss, price=0.3, steps=200, lr=0.1)
    assert result.masks["inputs"].tolist() == [[1, 1, 0, 0, 0, 0]] * 2
    assert (
        networks.loss({**trained, "0.weight": trained["0.weight"] * result.masks["inputs"].unsqueeze(1)}).max() < 0.05
    )
    free = masks.learn(shapes, lambda gates, step: 0 * gates["inputs"].sum(1), price=0.0, steps=20)
    assert (free.masks["inputs"] == 1).all()


def test_rounded_gates_find_the_terms_of_a_linear_function():
    size = torch.tensor([1.0, 0.5, 0.01, 0.0])

    def loss(gates, step):
        x = torch.randn(64, 4, generator=torch.Generator().manual_seed(step))
        return (((gates["terms"] - 1) * size) @ x.T).square().mean(1)

    result = masks.learn({"terms": torch.ones(2, 4)}, loss, price=0.2, steps=200, lr=0.1, straight_through=True)
    assert result.masks["terms"].tolist() == [[1, 1, 0, 0]] * 2


def test_a_higher_price_closes_more_gates_and_each_network_may_have_its_own():
    trained = masks.train(networks.network(seeds=(0, 0)), networks.loss, steps=300, lr=0.01)
    result = masks.learn(
        trained,
        lambda gates, step: networks.loss(masks.apply(trained, gates), step),
        price=torch.tensor([0.01, 3.0]),
        steps=150,
        lr=0.1,
    )
    few, many = masks.density_of(result.masks)[[1, 0]]
    assert few < many


def test_movement_reaches_its_density_and_retains_weights_that_grow_from_zero():
    """A weight that must grow remains and a large one that must shrink does not; initial magnitude would choose it."""
    weights = {"w": torch.tensor([[[1.0, 0.01]]])}

    def loss(w, step):
        return (w["w"][:, 0, 0] ** 2 + (w["w"][:, 0, 1] - 1) ** 2).abs()

    trained, mask = masks.movement(weights, loss, density=0.5, steps=100, lr=0.05)
    assert mask["w"].flatten().tolist() == [0, 1]
    assert masks.keep(masks.magnitude(weights), 0.5)["w"].flatten().tolist() == [1, 0]
    assert trained["w"][0, 0, 1] > 0.5


def test_a_ticket_starts_where_the_network_started_and_shrinks_by_the_schedule():
    weights = networks.network()
    tickets = masks.lottery(weights, networks.loss, density=0.25, rounds=2, steps=40, lr=0.01)
    for ticket, density in zip(tickets[1:], (0.5, 0.25), strict=True):
        # Rounded up to a whole number in each tensor, the smallest of which has 32 weights.
        assert torch.allclose(masks.density_of(ticket.masks), torch.tensor(density, dtype=torch.float64), atol=1 / 32)
    assert all((tickets[2].masks[n] <= tickets[1].masks[n]).all() for n in tickets[2].masks)
    assert all(torch.equal(tickets[2].start[name], weights[name]) for name in weights)
    late = masks.lottery(weights, networks.loss, density=0.25, rounds=1, steps=40, lr=0.01, rewind=10)
    assert not torch.equal(late[1].start["0.weight"], weights["0.weight"])
    early = masks.train(weights, networks.loss, steps=40, lr=0.01)
    assert torch.equal(late[0].trained["0.weight"], early["0.weight"])
