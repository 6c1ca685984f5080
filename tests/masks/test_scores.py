"""Scores: what they are to first order, SynFlow's conservation law, and that no instance sees another."""

import torch

from interp import masks
from interp.toy.networks import flow
from tests.masks import networks


def test_snip_is_the_first_order_change_of_the_loss():
    weights = {name: w.double() for name, w in networks.network().items()}

    def loss(w):
        x = networks.batch(0).double()
        return networks.run_perceptron(w, x, activation="relu").square().mean((1, 2))

    scores = masks.snip(weights, loss)
    shrunk = {name: w.clone() for name, w in weights.items()}
    shrunk["1.weight"][0, 3, 4] *= 1 - 1e-6
    change = (loss(weights) - loss(shrunk))[0] / 1e-6
    # A finite difference of step 1e-6 in float64 has a relative error near 1e-6.
    assert torch.isclose(change.abs(), scores["1.weight"][0, 3, 4], rtol=1e-4)


def test_grasp_is_the_first_order_loss_of_gradient_norm():
    weights = {name: w.double() for name, w in networks.network(seeds=(3,)).items()}

    def loss(w):
        x = networks.batch(0).double()
        return (networks.run_perceptron(w, x, activation="silu") - networks.planted(x)).square().mean((1, 2))

    def norm(w):
        return sum(slope.square().sum() for slope in masks.gradients(w, loss).values())

    scores = masks.grasp(weights, loss)
    shrunk = {name: w.clone() for name, w in weights.items()}
    shrunk["0.weight"][0, 2, 1] *= 1 - 1e-6
    change = (norm(weights) - norm(shrunk)) / 1e-6
    assert torch.isclose(change, 2 * scores["0.weight"][0, 2, 1], rtol=1e-3)


def test_synflow_conserves_flow_over_layers_and_through_neurons_and_snip_does_not():
    weights = networks.network(seeds=(0, 1, 2))
    total = flow({name: w.abs().double() for name, w in weights.items()})
    scores = masks.synflow(weights, flow)
    for passed in masks.flow_by_tensor(scores).values():
        # Float64, sums of a few hundred products.
        assert torch.allclose(passed, total, rtol=1e-12)
    assert torch.allclose(scores["0.weight"].sum(2), scores["1.weight"].sum(1), rtol=1e-12)
    other = list(masks.flow_by_tensor(masks.snip(weights, networks.loss)).values())
    assert not torch.allclose(other[0], other[1], rtol=0.1)


def test_an_instance_has_the_same_scores_alone_and_among_others():
    weights = networks.network(seeds=(0, 1, 2))
    alone = {name: w[1:2] for name, w in weights.items()}
    for score in (
        masks.magnitude,
        lambda w: masks.snip(w, networks.loss),
        lambda w: masks.grasp(w, networks.loss),
        lambda w: masks.synflow(w, flow),
    ):
        for name, both in score(weights).items():
            assert torch.allclose(both[1:2], score(alone)[name], rtol=1e-4, atol=1e-7)


def test_random_scores_are_repeatable_and_differ_by_seed():
    weights = networks.network()
    first, again, other = (masks.random(weights, seed=seed)["0.weight"] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
