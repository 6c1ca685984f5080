"""Recovery metrics on planted dictionaries. numpy only."""

import numpy as np
import pytest

from saes.evaluation.recovery import METRICS, Firing, Match, absorption, by_decile, chance, judge, match

RNG = np.random.default_rng(0)
TRUE = RNG.normal(size=(6, 4))
ACTIVE = (RNG.random((200, 6)) < 0.3) * (0.5 + RNG.random((200, 6)))


def scores(result, codes):
    return dict(zip(METRICS, judge(TRUE, ACTIVE, result, codes, 0.0), strict=True))


def test_a_permuted_rescaled_dictionary_is_perfect():
    order = RNG.permutation(6)
    reported = scores(-3 * TRUE[order], ACTIVE[:, order])
    assert reported["matched cosine"] == pytest.approx(1)
    assert reported["recovered above 0.9"] == 1
    assert reported["firing F1"] == pytest.approx(1)
    assert reported["L0"] == pytest.approx((ACTIVE != 0).sum(1).mean())


def test_half_a_dictionary_finds_half():
    reported = scores(TRUE[:3], ACTIVE[:, :3])
    assert reported["matched cosine"] == pytest.approx(0.5)
    assert reported["firing F1"] == pytest.approx(0.5)


def test_copies_of_one_atom_find_one_feature():
    reported = scores(np.repeat(TRUE[:1], 6, axis=0), np.repeat(ACTIVE[:, :1], 6, axis=1))
    assert reported["recovered above 0.9"] == pytest.approx(1 / 6)


def test_a_merged_pair_has_the_cosine_of_a_diagonal():
    true = np.eye(2)
    _, _, cosine = match(true, np.array([[1.0, 1.0]]))
    assert cosine == pytest.approx([2**-0.5])


def test_silent_codes_have_no_firing_score():
    assert scores(TRUE, np.zeros((200, 6)))["firing F1"] == 0


@pytest.mark.parametrize("sign", [1, -1])
def test_a_match_of_itself_is_one_in_every_way(sign):
    order = RNG.permutation(6)
    reported = Match.of(TRUE, sign * TRUE[order])
    np.testing.assert_allclose([reported.per_feature, reported.per_atom, reported.matched], 1, atol=1e-12)
    assert reported.coverage == reported.uniqueness == 1
    assert (order[reported.atom] == np.arange(6)).all()
    assert (reported.nearest == order).all()


def test_coverage_and_uniqueness():
    half = Match.of(TRUE, TRUE[:3])
    assert (half.coverage, half.uniqueness) == (0.5, 1)
    assert (half.matched[3:] == 0).all()
    assert (half.atom[3:] == -1).all()
    copies = Match.of(TRUE, np.repeat(TRUE[:1], 6, axis=0))
    assert (copies.coverage, copies.uniqueness) == (1, pytest.approx(1 / 6))
    twice = Match.of(TRUE, np.concatenate([TRUE, -TRUE]))  # twice as wide and perfect: no fault of its own
    assert (twice.coverage, twice.uniqueness) == (1, 1)
    assert Match.of(TRUE, np.zeros((2, 4))).per_feature == pytest.approx(np.zeros(6))


def test_firing_is_counted_by_hand():
    active = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 0]], dtype=bool)
    fired = np.array([[1, 1, 0], [0, 1, 0], [0, 1, 0], [1, 0, 0]], dtype=bool)
    reported = Firing.of(active, fired)
    np.testing.assert_allclose(reported.precision, [1 / 2, 2 / 3, np.nan])
    np.testing.assert_allclose(reported.recall, [1 / 2, 1, np.nan])
    np.testing.assert_allclose(reported.f1, [1 / 2, 4 / 5, np.nan])
    np.testing.assert_allclose(reported.chance[:2], [2 * 0.25 / 1, 2 * 0.5 * 0.75 / 1.25])


def test_chance_of_firing_is_what_independent_latents_get():
    p, q, n = 0.2, 0.05, 200_000
    reported = Firing.of(RNG.random((n, 1)) < p, RNG.random((n, 1)) < q)
    # 2,000 coincidences expected: a relative error of 1/sqrt(2000) = 2 %; four of those.
    assert reported.f1[0] == pytest.approx(2 * p * q / (p + q), rel=0.09)
    assert reported.chance[0] == pytest.approx(reported.f1[0], rel=0.09)


def test_deciles_go_from_rare_to_common_and_leave_nothing_out():
    frequency = RNG.random(37)
    reported = by_decile(frequency, frequency * 2)
    assert reported.shape == (10, 3)
    assert (np.diff(reported[:, 0]) > 0).all()
    np.testing.assert_allclose(reported[:, 1], 2 * reported[:, 0])
    assert reported[:, 2].sum() == 37
    assert by_decile(frequency, np.where(frequency < 0.5, np.nan, 1.0))[:, 2].sum() == (frequency >= 0.5).sum()


def test_absorption_is_one_where_planted_and_zero_where_not():
    parent = RNG.random(500) < 0.5
    child = parent & (RNG.random(500) < 0.4)
    active = np.stack([parent, child], 1)
    clean = absorption(((0, 1),), active, active)[0]
    assert clean.gap == 0
    assert clean.alone == (parent & ~child).sum()
    assert clean.both == child.sum()
    absorbed = np.stack([parent & ~child, child], 1)  # the child's latent has taken over the parent
    assert absorption(((0, 1),), active, absorbed)[0].gap == 1
    never = absorption(((0, 1),), np.stack([parent, parent], 1), active)[0]
    assert never.gap is None  # the parent is never alone
    assert never.alone == 0


def test_chance_is_not_zero_and_does_not_depend_on_how_the_truth_was_drawn():
    """Known values: mean largest |cos| 0.44 for 64 features, 64 atoms in 32 dimensions; 0.48 for 128 atoms."""
    true = np.random.default_rng(0).standard_normal((64, 32))  # drawn with the very seed that chance is given
    same, wider = chance(true, 64, seed=0), chance(true, 128, seed=0)
    # the mean over 64 features and 3 draws has a standard error of about 0.06 / sqrt(64 · 3) = 0.005
    assert same["per feature"][0] == pytest.approx(0.438, abs=0.02)
    assert wider["per feature"][0] == pytest.approx(0.484, abs=0.02)
    assert same["one to one"][0] < same["per feature"][0]
