"""Data: the documented frequencies, dependence and values, and the exact loss over them."""

import math

import numpy as np
import pytest
import torch

from interp import toy
from interp.errors import UsageError
from interp.toy.data import magnitudes, patterns
from interp.toy.theory import arrangement_loss

COUNT = 40_000


def draw(kind, density, **options):
    density = torch.tensor(density).reshape(1, -1)
    return toy.sample(kind, density, COUNT, torch.Generator().manual_seed(0), **options)[0]


def close(frequency, p):
    """Within five standard errors of a binomial proportion."""
    return abs(frequency - p) < 5 * math.sqrt(max(p * (1 - p), 1e-12) / COUNT)


@pytest.mark.parametrize("kind", ["independent", "correlated", "anticorrelated", "hierarchical"])
def test_frequencies_of_every_pattern(kind):
    density = [0.3, 0.3, 0.5, 0.2, 0.3, 0.6]
    active = (draw(kind, density, group=3, values="constant") > 0).numpy().T
    known, chance = patterns(kind, np.array([density]), 3)
    assert chance.sum() == pytest.approx(1, abs=1e-12)
    for pattern, p in zip(known, chance[0], strict=True):
        assert close((active == pattern).all(axis=1).mean(), p)
    possible = {tuple(p) for p in known}
    assert {tuple(row) for row in active} <= possible


def test_dependence_is_what_its_name_says():
    a, b = draw("correlated", [0.2, 0.9]) > 0
    assert (a == b).all()
    assert close(a.double().mean(), 0.2)
    a, b = draw("anticorrelated", [0.4, 0.4]) > 0
    assert not (a & b).any()
    assert close((a | b).double().mean(), 0.4)
    parent, child = draw("hierarchical", [0.5, 0.4]) > 0
    assert not (child & ~parent).any()
    assert close(child[parent].double().mean(), 0.4) or abs(child[parent].double().mean() - 0.4) < 0.02
    a, b = draw("independent", [0.5, 0.4]) > 0
    assert close((a & b).double().mean(), 0.2)


@pytest.mark.parametrize(
    ("values", "mean", "variance"),
    [
        ("uniform", 0.5, 1 / 12),
        ("signed", 0, 1 / 3),
        ("exponential", 1, 1),
        ("normal", math.sqrt(2 / math.pi), 1 - 2 / math.pi),
        ("constant", 1, 0),
    ],
)
def test_values_have_their_moments(values, mean, variance):
    x = magnitudes(values, (torch.arange(20_000, dtype=torch.float64) + 0.5) / 20_000)
    # The midpoint rule over the inverse distribution function; its tails cost a few thousandths.
    assert float(x.mean()) == pytest.approx(mean, abs=2e-3)
    assert float(x.var()) == pytest.approx(variance, abs=1e-2)
    assert torch.isfinite(magnitudes(values, torch.rand(1000))).all()


def test_zipf_densities():
    density = toy.zipf(100, 0.05)
    assert density.mean() == pytest.approx(0.05)
    assert density[0] / density[9] == pytest.approx(10)
    assert np.allclose(toy.zipf(7, 0.2, exponent=0.0), 0.2)
    with pytest.raises(UsageError, match="lower the mean"):
        toy.zipf(100, 0.5)


def planted(w, p, importance):
    """A grid of one untrained instance with weights `w` and biases of zero."""
    config = toy.Config(len(w), w.shape[1], density=(p,), importance=(tuple(importance),), steps=1)
    trained = toy.train(config)
    trained.features_in[0, 0], trained.features_out[0, 0], trained.bias[:] = w, w, 0
    return trained


def test_the_exact_loss_is_the_closed_form_of_an_antipodal_pair():
    for p in (1.0, 0.3, 0.01):
        trained = planted(np.array([[1.0], [-1.0]]), p, (1.0, 3.0))
        density, importance = trained.density[0], trained.importance[0]
        expected = arrangement_loss((((0, 1),), ()), density, importance)
        # 4096 Sobol points integrate this piecewise quadratic to about 1e-5 of its value.
        assert toy.exact_loss(trained, points=4096)[0, 0] == pytest.approx(expected, rel=1e-4)


def test_the_exact_loss_is_the_closed_form_of_a_feature_left_out():
    trained = planted(np.array([[1.0], [0.0]]), 0.2, (1.0, 2.0))
    trained.bias[0, 0, 1] = 0.1  # the mean of the left-out feature
    expected = arrangement_loss(((), (1,)), trained.density[0], trained.importance[0])
    assert toy.exact_loss(trained, points=4096)[0, 0] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("data", ["independent", "correlated", "anticorrelated", "hierarchical"])
def test_the_exact_and_the_sampled_loss_agree(data):
    trained = toy.train(toy.Config(4, 2, density=(0.5, 0.3), data=data, steps=30, batch_size=64, starts=3))
    exact, sampled = toy.exact_loss(trained), toy.sampled_loss(trained, count=2**17)
    # 131 072 inputs: standard errors of about half a percent.
    assert np.allclose(exact, sampled, rtol=0.03)


def test_too_many_features_to_enumerate_are_refused():
    trained = toy.train(toy.Config(12, 3, steps=2, batch_size=16, density=(0.1,)))
    assert trained.loss_is_exact is False
    with pytest.raises(UsageError, match="sampled_loss"):
        toy.exact_loss(trained)
