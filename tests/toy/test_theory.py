"""Closed forms: which arrangement wins where, and that loss curves cross with different slopes."""

import numpy as np
import pytest

from interp import toy
from interp.toy.theory import arrangement_loss, linear_loss, read_arrangement

ONE = np.ones(2)
PAIR, DROP_SECOND, DROP_FIRST = (((0, 1),), ()), ((), (1,)), ((), (0,))


def test_two_features_in_one_dimension_have_three_arrangements():
    assert set(toy.candidates(2, 1)) == {PAIR, DROP_SECOND, DROP_FIRST}


def test_three_features_in_two_dimensions():
    known = set(toy.candidates(3, 2))
    assert {((), (0,)), ((), (1,)), ((), (2,)), (((0, 1),), ()), (((0, 2),), ()), (((1, 2),), ())} == known


@pytest.mark.parametrize("ratio", [0.1, 0.5, 1.0, 2.0, 10.0])
def test_the_boundary_is_where_the_losses_cross(ratio):
    importance, p = np.array([1.0, ratio]), float(toy.boundary(np.array(ratio)))
    for density, best in [(p * 0.99, PAIR), (p * 1.01, DROP_SECOND if ratio <= 1 else DROP_FIRST)]:
        assert best in toy.theory_loss(np.full(2, density), importance, 1)[1]
    losses = [arrangement_loss(PAIR, np.full(2, p), importance)]
    losses.append(min(arrangement_loss(one, np.full(2, p), importance) for one in (DROP_FIRST, DROP_SECOND)))
    assert losses[0] == pytest.approx(losses[1], rel=1e-12)


def test_at_equal_importance_the_boundary_is_four_sevenths_and_the_change_is_of_first_order():
    assert toy.boundary(np.array(1.0)) == pytest.approx(4 / 7)
    step, p = 1e-6, 4 / 7

    def slope(at):
        return (toy.theory_loss(ONE * (at + step), ONE, 1)[0] - toy.theory_loss(ONE * at, ONE, 1)[0]) / step

    # d/dp of p²/3 below, of p/3 − p²/4 above.
    assert slope(p - 2 * step) == pytest.approx(2 * p / 3, abs=1e-4)
    assert slope(p + step) == pytest.approx(1 / 3 - p / 2, abs=1e-4)


def test_arrangements_are_read_from_weights():
    w = np.array([[1.0, 0], [0, 1.02], [0, -0.98], [0.1, 0.1]])
    assert read_arrangement(w) == (((1, 2),), (3,))
    assert read_arrangement(np.eye(2)) == ((), ())


def test_the_linear_model_reaches_principal_components_and_no_less():
    importance = tuple(0.8**i for i in range(6))
    config = toy.Config(
        6, 3, density=(1.0, 0.2), importance=(importance,), model="linear", starts=2, steps=3000, lr=1e-2
    )
    trained = toy.train(config)
    for cell in range(2):
        expected = linear_loss(trained.density[cell], trained.importance[cell], 3)
        # Minibatches leave the weights about 1e-3 from the optimum, where the loss is flat, and Sobol points
        # integrate the squares to a few 1e-5.
        assert trained.best().loss[cell] == pytest.approx(expected, rel=2e-4)
        assert trained.best().loss[cell] > expected * (1 - 2e-4)
        assert toy.dimensionality(trained.best().features[cell]) == pytest.approx([1, 1, 1, 0, 0, 0], abs=0.02)
