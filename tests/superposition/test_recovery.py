"""Recovery metrics on planted dictionaries."""

import numpy as np
import pytest

from analyses.superposition.recovery import METRICS, judge, match

RNG = np.random.default_rng(0)
TRUE = RNG.normal(size=(6, 4))
ACTIVE = (RNG.random((200, 6)) < 0.3) * (0.5 + RNG.random((200, 6)))


def scores(found, codes):
    return dict(zip(METRICS, judge(TRUE, ACTIVE, found, codes, 0.0), strict=True))


def test_a_permuted_rescaled_dictionary_is_perfect():
    order = RNG.permutation(6)
    told = scores(-3 * TRUE[order], ACTIVE[:, order])
    assert told["matched cosine"] == pytest.approx(1)
    assert told["found above 0.9"] == 1
    assert told["firing F1"] == pytest.approx(1)
    assert told["L0"] == pytest.approx((ACTIVE != 0).sum(1).mean())


def test_half_a_dictionary_finds_half():
    told = scores(TRUE[:3], ACTIVE[:, :3])
    assert told["matched cosine"] == pytest.approx(0.5)
    assert told["firing F1"] == pytest.approx(0.5)


def test_copies_of_one_atom_find_one_feature():
    told = scores(np.repeat(TRUE[:1], 6, axis=0), np.repeat(ACTIVE[:, :1], 6, axis=1))
    assert told["found above 0.9"] == pytest.approx(1 / 6)


def test_a_merged_pair_has_the_cosine_of_a_diagonal():
    true = np.eye(2)
    _, _, cosine = match(true, np.array([[1.0, 1.0]]))
    assert cosine == pytest.approx([2**-0.5])


def test_silent_codes_have_no_firing_score():
    assert scores(TRUE, np.zeros((200, 6)))["firing F1"] == 0
