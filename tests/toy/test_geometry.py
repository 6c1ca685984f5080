"""Geometry: exact values on known polytopes, a theorem on random matrices, invariance under rotation."""

import math

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from interp import toy
from interp.errors import UsageError
from interp.toy.geometry import cosines, features_per_neuron, polytope


def polygon(n):
    angle = 2 * math.pi * np.arange(n) / n
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def antiprism(height):
    """Two squares of radius 1, turned by 45 degrees, at plus and minus half of `height`; directions of length 1."""
    turn = math.pi / 4 * np.arange(8)
    points = np.stack([np.cos(turn), np.sin(turn), height * np.where(np.arange(8) % 2, 1, -1)], axis=1)
    return points / np.linalg.norm(points, axis=1, keepdims=True)


def rotation(size, rng):
    return np.linalg.qr(rng.normal(size=(size, size)))[0]


TETRAHEDRON = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / math.sqrt(3)
OCTAHEDRON = np.concatenate([np.eye(3), -np.eye(3)])
BIPYRAMID = np.concatenate([np.pad(polygon(3), ((0, 0), (0, 1))), [[0, 0, 1], [0, 0, -1]]])


@pytest.mark.parametrize(
    ("w", "expected"),
    [
        (np.array([[1.0], [-1.0]]), 1 / 2),
        (polygon(3), 2 / 3),
        (TETRAHEDRON, 3 / 4),
        (polygon(5), 2 / 5),
        (polygon(7), 2 / 7),
        (OCTAHEDRON, 1 / 2),
        (antiprism(1 / math.sqrt(2)), 3 / 8),
        (np.eye(4), 1),
    ],
)
def test_dimensionality_of_polytopes_is_exact(w, expected):
    assert toy.dimensionality(w) == pytest.approx(np.full(len(w), expected), abs=1e-12)


def test_the_antiprism_has_three_eighths_only_at_its_tight_height():
    # At the height of the Thomson problem's solution, four points on each of two circles, it is not a tight frame.
    assert toy.dimensionality(antiprism(0.5945))[0] == pytest.approx(0.366, abs=1e-3)


@settings(max_examples=300, deadline=None)
@given(
    features=st.integers(1, 12),
    hidden=st.integers(1, 6),
    rank=st.integers(1, 6),
    seed=st.integers(0, 2**32 - 1),
    spread=st.floats(0, 3),
)
def test_dimensionalities_never_sum_to_more_than_the_rank(features, hidden, rank, seed, spread):
    rng = np.random.default_rng(seed)
    # Ten matrices an example: 3000 in all, of lengths over three orders of magnitude and of any rank.
    w = rng.normal(size=(10, features, rank)) @ rng.normal(size=(10, rank, hidden))
    w *= np.exp(spread * rng.normal(size=(10, features, 1)))
    bound = np.minimum(np.minimum(features, hidden), rank)
    d = toy.dimensionality(w)
    # Rounding of a projector of condition up to about 1e4.
    assert (d.sum(-1) <= bound + 1e-5).all()
    assert ((d >= 0) & (d <= 1 + 1e-9)).all()


def test_the_bound_is_reached_by_tight_frames_and_missed_by_others():
    assert toy.dimensionality(polygon(5)).sum() == pytest.approx(2)
    loose = np.array([[1, 0], [0, 1], [1, 0.5]])
    assert toy.dimensionality(loose).sum() < 1.9


def test_dead_features_have_no_dimension_and_break_nothing():
    w = np.concatenate([polygon(5), np.zeros((2, 2))])
    assert toy.dimensionality(w)[5:] == pytest.approx([0, 0])
    assert np.isfinite(toy.interference(w)).all()
    assert toy.represented(w) == 5
    assert len(toy.gaps(w)) == 5


def test_counts_and_interference():
    w = 1.1 * polygon(5)
    assert toy.frobenius(w) == pytest.approx(5 * 1.21)
    # Two neighbours at 72 degrees and two at 144.
    expected = 1.21 * 2 * (math.cos(math.radians(72)) ** 2 + math.cos(math.radians(144)) ** 2)
    assert toy.interference(w) == pytest.approx(np.full(5, expected))
    assert toy.interference(np.eye(3)) == pytest.approx(np.zeros(3))


@pytest.mark.parametrize("seed", range(5))
def test_everything_is_invariant_under_rotation(seed):
    rng = np.random.default_rng(seed)
    w = rng.normal(size=(7, 4))
    w[2], w[5] = 0, 2 * w[0]  # a dead and a dependent feature
    turned = w @ rotation(4, rng)
    for measure in (toy.dimensionality, toy.frobenius, toy.represented, toy.interference, cosines, toy.canonical):
        assert measure(w) == pytest.approx(measure(turned), abs=1e-9)
    assert toy.canonical(w) @ toy.canonical(w).T == pytest.approx(w @ w.T, abs=1e-9)


def test_gaps_sum_to_the_circle():
    assert toy.gaps(polygon(5)) == pytest.approx(np.full(5, 72))
    assert toy.gaps(np.random.default_rng(0).normal(size=(6, 2)) * 9).sum() == pytest.approx(360)
    with pytest.raises(UsageError, match=r"\(features, 2\)"):
        toy.gaps(np.eye(3))


def test_tegum_factors_of_known_polytopes():
    rng = np.random.default_rng(0)
    named = [factor.name for factor in toy.tegum_factors(OCTAHEDRON @ rotation(3, rng))]
    assert named == ["digon", "digon", "digon"]
    factors = toy.tegum_factors(BIPYRAMID @ rotation(3, rng))
    assert [(f.features, f.rank, f.name) for f in factors] == [((0, 1, 2), 2, "triangle"), ((3, 4), 1, "digon")]
    assert toy.dimensionality(BIPYRAMID) == pytest.approx([2 / 3] * 3 + [1 / 2] * 2)
    assert [f.dimensions for f in factors] == pytest.approx([2 / 3, 1 / 2])
    assert [f.name for f in toy.tegum_factors(np.eye(2))] == ["alone", "alone"]
    assert toy.tegum_factors(np.zeros((3, 2))) == ()


def test_names():
    assert [polytope(*size) for size in [(1, 1), (2, 1), (3, 2), (4, 3), (5, 2), (8, 3), (6, 5), (9, 4)]] == [
        "alone",
        "digon",
        "triangle",
        "tetrahedron",
        "pentagon",
        "square antiprism",
        "5-simplex",
        "9 in 4",
    ]


def test_monosemantic_neurons_are_distinguished_from_mixed_ones():
    w = np.array([[1.0, 0, 3, 0], [0.1, 5, 3, 0], [0, 0, 0, 0]])  # (features, neurons): two single, one mixed, one dead
    assert features_per_neuron(w).tolist() == [1, 1, 2, 0]
    assert toy.monosemantic_fraction(w) == pytest.approx(2 / 3)
    assert toy.monosemantic_fraction(w * [7, 1, 0.1, 1]) == pytest.approx(2 / 3)
    assert math.isnan(toy.monosemantic_fraction(np.zeros((2, 2))))
