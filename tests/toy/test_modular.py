"""Wiring cost and the arrangement of neurons; the parts of a graph; networks that split under the cost alone."""

import numpy as np
import pytest
import torch

from interp import results
from interp.errors import UsageError
from interp.toy import modular
from interp.toy.modular.tasks import MOONS
from interp.toy.networks import perceptron, run_perceptron

WIRES = modular.perceptron_wires(3)


def network(seeds=(0, 1), sizes=(4, 7, 7, 2)):
    return perceptron(sizes, seeds)


def cost(weights, places, locality=2.0):
    return modular.wiring_cost(weights, modular.lengths(places, WIRES, locality))


def test_the_cost_of_one_wire_is_its_weight_times_its_length():
    weights = {name: torch.zeros_like(w) for name, w in network().items()}
    weights["1.weight"][:, 2, 5] = -3.0
    places = modular.even_places(weights, WIRES)
    # Of seven neurons at (k + 1/2) / 7, from number 5 to number 2: 3/7 along the layer, and the gap of 1/2.
    assert torch.allclose(cost(weights, places), torch.full((2,), 3.0 * (2 * 3 / 7 + 0.5) / 49))
    # Without locality the cost is an L1 norm: half the mean magnitude of every matrix.
    some = network()
    norm = sum(some[wire.name].abs().mean((1, 2)) for wire in WIRES) / 2
    assert torch.allclose(cost(some, places, 0.0), norm)


def test_rearranging_never_costs_more_moves_places_within_layers_only_and_undoes_a_shuffle():
    weights, generator = network(seeds=range(6)), torch.Generator().manual_seed(0)
    places = modular.even_places(weights, WIRES)
    better = modular.rearrange(weights, places, WIRES)
    assert (cost(weights, better) <= cost(weights, places) + 1e-7).all()
    assert (cost(weights, better) < cost(weights, places) - 1e-3).any()
    for layer, place in places.items():
        assert torch.equal(better[layer].sort(1).values, place)
    # A chain of neurons straight above each other, its inputs shuffled.
    chain = {wire.name: torch.eye(7).repeat(1, 1, 1) for wire in WIRES}
    straight = modular.even_places(chain, WIRES)
    shuffled = {**straight, "0": straight["0"][:, torch.randperm(7, generator=generator)]}
    assert torch.allclose(cost(chain, modular.rearrange(chain, shuffled, WIRES)), cost(chain, straight))
    again = modular.rearrange(chain, straight, WIRES)
    assert all(torch.equal(again[layer], straight[layer]) for layer in straight)


def test_the_best_exchange_of_all_is_made():
    from itertools import permutations

    weights = {"0.weight": torch.randn(1, 4, 3, generator=torch.Generator().manual_seed(1))}
    wires = modular.perceptron_wires(1)
    places = modular.even_places(weights, wires)

    def price(of):
        return float(modular.wiring_cost(weights, modular.lengths(of, wires, 2.0)))

    better = modular.rearrange(weights, places, wires)
    every = [price({**better, "1": better["1"][:, list(order)]}) for order in permutations(range(4))]
    assert price(better) == pytest.approx(min(every), rel=1e-6)


def two_blocks(cross=0.0):
    first = np.array([[1.0, 0, 1, 0], [0, 1, 0, 1], [0, 0, 0, 0]])
    first[2, 0] = 5.0
    second = np.array([[1.0, cross, 0], [0, 1, 0]])
    return [first, second]


def test_parts_are_counted_without_dead_wires_and_joined_by_one_wire():
    expected = (((0, 2), (0,)), ((1, 3), (1,)))
    assert modular.parts(two_blocks()) == expected
    assert modular.splits(two_blocks(), expected)
    assert not modular.splits(two_blocks(cross=0.1), expected)
    assert modular.parts(two_blocks(cross=0.1)) == (((0, 1, 2, 3), (0, 1)),)
    # The third hidden neuron reaches no output: its wire, the heaviest, is not live.
    assert modular.live(two_blocks())[0][2].sum() == 0
    # An input that reaches nothing is not a part, and an output without one is missing from those expected.
    lost = [two_blocks()[0], np.array([[1.0, 0, 0], [0, 0, 0]])]
    assert not modular.splits(lost, expected)


def test_modularity_of_two_equal_blocks_is_one_half_and_of_a_full_graph_almost_none():
    assert modular.modularity(two_blocks()) == pytest.approx(0.5)
    assert modular.modularity([np.ones((8, 4)), np.ones((2, 8))]) < 0.15
    assert modular.modularity([np.zeros((3, 2)), np.zeros((1, 3))]) == 0


def test_modularity_agrees_with_its_definition_on_a_given_partition():
    """Two triangles joined by an edge, as matrices cannot give them: the merge is checked on the graph of a ladder."""
    matrices = [np.array([[2.0, 1, 0, 0], [1, 2, 0, 0], [0, 0.5, 2, 1], [0, 0, 1, 2]]), np.eye(4)]
    graph = modular.adjacency(matrices)
    label = np.array([0, 0, 1, 1] * 3)
    same = label[:, None] == label[None]
    degree, total = graph.sum(0), graph.sum()
    by_hand = ((graph / total - np.outer(degree, degree) / total**2) * same).sum()
    assert modular.modularity(matrices) >= by_hand - 1e-12


def test_targets_are_those_of_the_formulas_with_unit_variance():
    task = modular.task("shared", points=500, seed=3)
    raw = np.cumsum(task.x**2, axis=1)
    # An affine map of the formula, one for all samples; means and deviations of 500 points scatter by a few percent.
    assert np.abs(np.corrcoef(task.y[:, 2], raw[:, 2])[0, 1] - 1) < 1e-9
    assert np.allclose(task.y.mean(0), 0, atol=0.15)
    assert np.allclose(task.y.std(0), 1, atol=0.1)
    assert np.allclose(modular.task(MOONS).y ** 2, 1)
    with pytest.raises(UsageError, match='no task "share"; the nearest is "shared"'):
        modular.task("share")


SMALL = {"width": 12, "seeds": 3, "steps": 1500, "points": 128, "lr": 0.01, "strength": 0.03, "allowed": 0.05}


@pytest.fixture(scope="module")
def trained():
    return modular.train(modular.Config(settings=("wiring", "none"), **SMALL))


def test_networks_split_with_the_wiring_cost_and_not_without(trained):
    assert (trained.pruned_error <= trained.config.allowed).all()
    assert trained.split()[0].sum() >= 2
    assert not trained.split()[1].any()
    assert (trained.modularity()[0] > trained.modularity()[1]).all()
    assert (trained.cost[0] < trained.cost[1]).all()
    assert (trained.wires()[0] < trained.wires()[1]).all()


def test_the_result_stores_what_was_computed(trained, tmp_path):
    trained.save(tmp_path)
    assert results.load(tmp_path) == trained
    setting, seed = 0, 1
    weights = {f"{k}.weight": torch.from_numpy(w[setting, seed : seed + 1]) for k, w in enumerate(trained.matrices)}
    assert run_perceptron(weights, torch.zeros(1, 2, 4)).shape == (1, 2, 2)
    for places in trained.places:
        assert np.allclose(np.sort(places, -1), (np.arange(places.shape[-1]) + 0.5) / places.shape[-1])
    # Without the method nothing moves.
    assert all(np.allclose(places[1], np.sort(places[1], -1)) for places in trained.places)


def test_a_network_is_the_same_alone_and_among_others():
    few = {**SMALL, "steps": 60, "settings": ("wiring",)}
    one = modular.train(modular.Config(**{**few, "seeds": 1}))
    three = modular.train(modular.Config(**few))
    # Batched products may sum in another order.
    assert np.allclose(one.matrices[0][0, 0], three.matrices[0][0, 0], atol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": "indep"}, 'nearest is "independent"'),
        ({"settings": ("wires",)}, 'nearest is "wiring"'),
        ({"seeds": 0}, "seeds is 0"),
        ({"strength": -1.0}, "strength is -1"),
    ],
)
def test_what_cannot_be_trained_is_one_sentence(change, message):
    with pytest.raises(UsageError, match=message):
        modular.Config(**change)


def test_wires_that_are_not_there_are_named():
    price = modular.Price(torch.ones(2), torch.ones(2), torch.ones(2, dtype=torch.bool))
    with pytest.raises(UsageError, match=r"3\.weight"):
        modular.train_wired(
            network(), modular.perceptron_wires(4), lambda w, step: torch.zeros(2), price, steps=1, lr=0.1
        )
