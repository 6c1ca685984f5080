"""Training: instances do not see each other, gradients are right, histories and results survive saving."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from interp import results, toy
from interp.errors import CheckFailedError, UsageError
from interp.toy.models import ARCHITECTURES, Weights, forward, gradient, initialise, layout, parameters, target

SMALL = toy.Config(features=5, hidden=2, density=(0.5, 0.2, 0.05), starts=4, steps=60, batch_size=64)


def alone(config, cell, start):
    """The configuration of one instance of a grid by itself."""
    density, importance = config.cells()
    return replace(
        config,
        density=(tuple(density[cell]),),
        importance=(tuple(importance[cell]),),
        starts=1,
        first_start=start,
    )


@pytest.mark.parametrize(
    "config",
    [
        SMALL,
        replace(SMALL, features=6, density=(0.3, 0.1), data="correlated", batch_size=80),
        replace(SMALL, features=6, density=(0.3, 0.1), data="anticorrelated"),
        replace(SMALL, features=6, density=(0.3, 0.1), data="hierarchical", group=3, values="exponential"),
        replace(SMALL, model="linear", values="normal"),
        replace(SMALL, model="relu_hidden"),
        replace(SMALL, features=3, hidden=6, model="absolute", values="signed", batch_size=48),
        replace(SMALL, features=20, hidden=7, density=(0.5, 0.1), importance=(1.0, tuple(0.9**i for i in range(20)))),
    ],
    ids=lambda c: f"{c.model}-{c.data}-{c.features}-{c.batch_size}",
)
def test_an_instance_trained_alone_is_the_same_bit_for_bit(config):
    grid = toy.train(config)
    cells, starts = grid.loss.shape
    for cell, start in [(0, 0), (cells - 1, starts - 1), (cells // 2, 1)]:
        single = toy.train(alone(config, cell, start))
        assert np.array_equal(single.features_in[0, 0], grid.features_in[cell, start])
        assert np.array_equal(single.features_out[0, 0], grid.features_out[cell, start])
        assert np.array_equal(single.bias[0, 0], grid.bias[cell, start])


def test_the_same_alone_among_three_hundred():
    config = replace(SMALL, density=tuple(np.linspace(0.05, 1, 15)), starts=20)
    grid, single = toy.train(config), toy.train(alone(config, 7, 13))
    assert np.array_equal(single.features_in[0, 0], grid.features_in[7, 13])


def test_other_seeds_and_starts_give_other_instances():
    first = toy.train(SMALL)
    assert not np.array_equal(first.features_in[:, 0], first.features_in[:, 1])
    assert not np.array_equal(first.features_in, toy.train(replace(SMALL, seed=1)).features_in)
    assert np.array_equal(first.features_in, toy.train(SMALL).features_in)


def test_the_number_of_threads_changes_nothing_and_is_left_as_it_was():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        first = toy.train(SMALL)
        assert torch.get_num_threads() == 2
        torch.set_num_threads(1)
        assert np.array_equal(first.features_in, toy.train(SMALL).features_in)
    finally:
        torch.set_num_threads(before)


def test_initial_scale_does_not_depend_on_the_number_of_instances():
    flat = initialise(ARCHITECTURES["relu"], 40, 10, starts=range(50), seed=0)
    weights = layout(flat, 40, 10, tied=True)
    # 20 000 normal numbers: a standard error of 0.5 % of the deviation; five of them.
    assert float(weights.encoder.std()) == pytest.approx((2 / 50) ** 0.5, rel=0.025)
    assert (weights.bias == 0).all()


@pytest.mark.parametrize("model", list(ARCHITECTURES))
def test_the_written_gradient_is_autograds(model):
    architecture, generator = ARCHITECTURES[model], torch.Generator().manual_seed(0)
    size = parameters(6, 4, tied=architecture.tied)
    flat = torch.randn(3, size, generator=generator, dtype=torch.float64)
    x = torch.rand(3, 6, 50, generator=generator, dtype=torch.float64) - 0.3
    weight = torch.rand(3, 6, 1, generator=generator, dtype=torch.float64)
    leaf = flat.clone().requires_grad_()
    weights = layout(leaf, 6, 4, tied=architecture.tied)
    h = torch.bmm(weights.encoder, x)
    h = h.relu() if architecture.hidden_relu else h
    y = torch.bmm(weights.decoder, h) + weights.bias
    y = y.relu() if architecture.output_relu else y
    ((y - target(architecture, x)).square() * weight / 2).sum().backward()
    into = layout(torch.zeros_like(flat), 6, 4, tied=architecture.tied)
    gradient(architecture, layout(flat, 6, 4, tied=architecture.tied), into, x, weight)
    # Sums of 50 products in float64.
    assert torch.allclose(into.flat, leaf.grad, atol=1e-12)


def test_rotating_the_hidden_space_does_not_change_outputs():
    generator = torch.Generator().manual_seed(0)
    w = torch.randn(1, 2, 5, generator=generator, dtype=torch.float64)
    bias, x = torch.randn(1, 5, 1, generator=generator, dtype=torch.float64), torch.rand(1, 5, 9, dtype=torch.float64)
    turn = torch.linalg.qr(torch.randn(1, 2, 2, generator=generator, dtype=torch.float64)).Q
    outputs = [forward(ARCHITECTURES["relu"], Weights(e, e, e.transpose(1, 2), bias), x)[1] for e in (w, turn @ w)]
    assert torch.allclose(*outputs, atol=1e-12)


def test_history_begins_at_the_start_and_its_loss_falls():
    trained = toy.train(replace(SMALL, steps=400, record=100, density=(0.5,)))
    assert trained.steps.tolist() == [0, 100, 200, 300]
    assert trained.history.shape == (4, 1, 4, 5, 2)
    untrained = initialise(ARCHITECTURES["relu"], 5, 2, starts=range(4), seed=0)
    start = layout(untrained, 5, 2, tied=True).encoder.transpose(1, 2).numpy()
    assert np.array_equal(trained.history[0, 0], start)
    assert (trained.history_loss[-1] < trained.history_loss[0]).all()


def test_results_load_equal_and_need_no_torch_to_be_read(tmp_path):
    trained = toy.train(replace(SMALL, record=20))
    assert results.load(trained.save(tmp_path)) == trained
    assert trained.configuration() == replace(SMALL, record=20)
    assert toy.Trained.load(tmp_path).best().features.shape == (3, 5, 2)


def test_one_cell_of_a_grid_is_a_grid():
    trained = toy.train(replace(SMALL, importance=((1.0, 0.9, 0.8, 0.7, 0.6),)))
    one = trained.cell(1)
    assert np.array_equal(one.best().features[0], trained.best().features[1])
    assert np.allclose(toy.exact_loss(one), trained.loss[1:2])
    with pytest.raises(UsageError, match="0 to 2"):
        trained.cell(3)


def test_a_diverging_run_is_an_error():
    with pytest.raises(CheckFailedError, match="diverged"):
        toy.train(replace(SMALL, lr=1e38, steps=20, model="linear"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"density": (0.0,)}, "sparsity 1.*nothing to learn"),
        ({"density": (1.5,)}, "above 0 and at most 1"),
        ({"density": (float("nan"),)}, "above 0 and at most 1"),
        ({"density": ((0.1, 0.2),)}, "2 numbers for 5 features"),
        ({"density": 0.5}, "density must be a sequence"),
        ({"density": (0.5, 0.5, 0.5), "importance": (1.0, 2.0)}, "3 cells and importance 2"),
        ({"importance": (0.0,)}, "above 0 for one"),
        ({"importance": (-1.0,)}, "0 or more"),
        ({"hidden": 6}, "hidden <= 5"),
        ({"hidden": 0}, "1 or more"),
        ({"batch_size": 100}, "multiple of 16"),
        ({"starts": 1.5}, "whole number"),
        ({"lr": 0.0}, "above 0"),
        ({"model": "rleu"}, 'the nearest is "relu"'),
        ({"data": "corelated"}, 'the nearest is "correlated"'),
        ({"data": "correlated"}, "divide the 5 features"),
    ],
)
def test_what_cannot_be_trained_is_refused_in_one_sentence(change, message):
    with pytest.raises(UsageError, match=message):
        replace(SMALL, **change)
