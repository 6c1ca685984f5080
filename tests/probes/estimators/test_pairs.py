"""CCS, CRC and TTPD: planted pairs, signs, normalisers, degenerate ends, errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.utils.estimator_checks import (
    check_get_params_invariance,
    check_no_attributes_set_in_init,
    check_parameters_default_constructible,
    check_set_params,
)

import probes
from interp.errors import UsageError
from probes.estimators.pairs import Normaliser
from tests.probes.planted import cosine, planted_pairs

PAIRED = [probes.CCS(), probes.CRC()]
names = pytest.mark.parametrize("probe", PAIRED, ids=str)


@pytest.mark.parametrize("probe", [*PAIRED, probes.TTPD(), probes.AttentionPooled()], ids=str)
@pytest.mark.parametrize(
    "check",
    [
        check_parameters_default_constructible,
        check_no_attributes_set_in_init,
        check_get_params_invariance,
        check_set_params,
    ],
    ids=lambda check: check.__name__,
)
def test_scikit_learn_checks_of_construction(probe: Any, check: Any) -> None:
    check(type(probe).__name__, probe)


@names
def test_planted_direction_is_recovered_with_its_sign(probe: Any) -> None:
    X, y, pairs, polarity, direction = planted_pairs(n=800)
    fitted = clone(probe).fit(X, y, pairs=pairs, polarity=polarity)
    assert fitted.sign_ == "labelled"
    assert cosine(fitted.direction_, direction) > 0.95
    X, y, _, polarity, _ = planted_pairs(n=800)
    assert ((fitted.decision_function(X, polarity=polarity) > 0) == y).mean() > 0.95


@names
def test_without_pairs_of_opposite_truth_nothing_is_recovered(probe: Any) -> None:
    X, y, pairs, polarity, direction = planted_pairs(gap=0.0)
    fitted = clone(probe).fit(X, y, pairs=pairs, polarity=polarity)
    assert abs(cosine(fitted.direction_, direction)) < 4 / np.sqrt(X.shape[1])
    X, y, _, polarity, _ = planted_pairs(gap=0.0, seed=1)
    accuracy = ((fitted.decision_function(X, polarity=polarity) > 0) == y).mean()
    assert abs(accuracy - 0.5) < 4 * 0.5 / np.sqrt(len(y))


@names
def test_sign_comes_from_labels_or_is_free(probe: Any) -> None:
    X, y, pairs, polarity, direction = planted_pairs(n=800)
    free = clone(probe).fit(X, pairs=pairs, polarity=polarity)
    assert free.sign_ == "free"
    assert abs(cosine(free.direction_, direction)) > 0.95
    turned = clone(probe).fit(X, 1 - y, pairs=pairs, polarity=polarity)
    assert cosine(turned.direction_, direction) < -0.95
    few = np.where(np.isin(pairs, ["pair 0", "pair 1", "pair 2"]), y, -1)  # six labelled rows are enough
    assert cosine(clone(probe).fit(X, few, pairs=pairs, polarity=polarity).direction_, direction) > 0.95


@names
def test_each_side_has_its_own_normaliser(probe: Any) -> None:
    """A test set of one class only: normalised by its own mean, half of it would be called false."""
    X, y, pairs, polarity, _ = planted_pairs()
    fitted = clone(probe).fit(X, y, pairs=pairs, polarity=polarity)
    X, y, _, polarity, _ = planted_pairs(seed=0)
    true = y == 1
    assert (fitted.decision_function(X[true], polarity=polarity[true]) > 0).mean() > 0.95
    sides = [X[polarity == side].mean(0) @ fitted.direction_ for side in (1, -1)]
    assert fitted.biases_[0] - fitted.biases_[1] == pytest.approx(sides[1] - sides[0], abs=1e-6)
    assert fitted.bias_ == pytest.approx(fitted.biases_.mean())


def test_normaliser() -> None:
    rng = np.random.default_rng(0)
    above, below = rng.normal(size=(2, 50, 4)) * [1, 10, 100, 0] + [[[5.0] * 4], [[-3.0] * 4]]
    result = Normaliser.fit(above, below)
    rows = result.apply(above, below)
    np.testing.assert_allclose(rows[:50].mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(rows[50:].mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(rows[:, :3].std(0), 1, rtol=1e-12)
    np.testing.assert_array_equal(rows[:, 3], 0)
    direction, bias, _ = result.raw(np.arange(4.0), 0.5)
    np.testing.assert_allclose(above @ direction + bias, rows[:50] @ np.arange(4.0) + 0.5, atol=1e-10)


def test_ccs_reports_every_restart() -> None:
    X, y, pairs, polarity, _ = planted_pairs()
    probe = probes.CCS(restarts=6).fit(X, y, pairs=pairs, polarity=polarity)
    assert probe.losses_.shape == probe.accuracies_.shape == probe.degenerate_.shape == (6,)
    assert probe.losses_[probe.chosen_] == probe.losses_.min()
    assert not probe.degenerate_[probe.chosen_]
    accuracy = ((probe.decision_function(X, polarity=polarity) > 0) == y).mean()
    assert probe.accuracies_[probe.chosen_] == pytest.approx(accuracy)
    assert np.isnan(probes.CCS().fit(X, pairs=pairs, polarity=polarity).accuracies_).all()


def test_ccs_flags_degenerate_ends() -> None:
    """Pairs that do not differ, or a penalty that holds w at 0, leave one answer for all: p = 2/5, loss 1/5."""
    X, y, pairs, polarity, _ = planted_pairs()
    penalised = probes.CCS(weight_decay=10.0).fit(X, y, pairs=pairs, polarity=polarity)
    assert penalised.degenerate_.all()
    np.testing.assert_allclose(penalised.losses_, 0.2, atol=0.01)
    same = np.concatenate([X[:200], X[:200]])
    assert probes.CCS().fit(same, y, pairs=pairs, polarity=polarity).degenerate_.all()
    assert not probes.CCS().fit(X, y, pairs=pairs, polarity=polarity).degenerate_.all()


def test_ccs_is_seeded() -> None:
    X, y, pairs, polarity, _ = planted_pairs()
    first, again, other = (probes.CCS(seed=s, steps=20).fit(X, y, pairs=pairs, polarity=polarity) for s in (0, 0, 1))
    np.testing.assert_array_equal(first.direction_, again.direction_)
    assert not np.array_equal(first.direction_, other.direction_)


def test_crc_finds_differences_that_all_pairs_share_the_sign_of() -> None:
    """Truth always on the affirmative side: the mean difference is truth and marker at once, and is taken away."""
    X, y, pairs, polarity, direction = planted_pairs()
    probe = probes.CRC().fit(X, y, pairs=pairs, polarity=polarity)
    assert 0.2 < probe.explained_ < 1
    scores = probe.decision_function(X, polarity=polarity)
    assert scores.std() == pytest.approx(1) and scores.mean() == pytest.approx(0, abs=1e-9)
    one_sided = X.copy()
    one_sided[polarity > 0] += 50 * direction  # a shift that every pair shares changes nothing
    np.testing.assert_allclose(
        probes.CRC().fit(one_sided, y, pairs=pairs, polarity=polarity).direction_, probe.direction_, atol=1e-9
    )


@names
def test_pairs_are_matched_by_name(probe: Any) -> None:
    X, y, pairs, polarity, _ = planted_pairs()
    order = np.random.default_rng(0).permutation(len(X))
    one = clone(probe).fit(X, y, pairs=pairs, polarity=polarity)
    # Rows that stand alone (an empty name) are left out.
    X2, y2 = np.concatenate([X[order], 1e3 + X[:3]]), np.concatenate([y[order], [0, 0, 0]])
    pairs2, polarity2 = np.concatenate([pairs[order], ["", "", ""]]), np.concatenate([polarity[order], [1, 1, -1]])
    two = clone(probe).fit(X2, y2, pairs=pairs2, polarity=polarity2)
    assert cosine(one.direction_, two.direction_) > 0.999  # descent in float32 sums its rows in another order


@names
def test_pairs_that_cannot_be_used(probe: Any) -> None:
    X, y, pairs, polarity, _ = planted_pairs(n=20)
    for arguments, message in [
        ({}, "needs polarity="),
        ({"polarity": polarity}, "give pairs="),
        ({"polarity": polarity * 2, "pairs": pairs}, "must be .1 .affirmative. or -1"),
        ({"polarity": polarity, "pairs": pairs[:-1]}, "one entry per row, 40 entries"),
        ({"polarity": np.ones(40), "pairs": pairs}, "of 40 affirmative and 0 negated rows, 0 pairs match"),
        ({"polarity": polarity, "pairs": np.where(np.arange(40) == 39, "x", pairs)}, "19 pairs match"),
        ({"polarity": polarity, "pairs": np.where(np.isin(pairs, ["pair 3"]), pairs, "")}, "There is 1 pair"),
    ]:
        with pytest.raises(UsageError, match=message):
            clone(probe).fit(X, y, **arguments)
    with pytest.raises(UsageError, match=r"0 \(false\), 1 \(true\) or -1"):
        clone(probe).fit(X, y + 1, pairs=pairs, polarity=polarity)


def test_ttpd_separates_truth_from_polarity() -> None:
    """The published form: activations = t t_G + t p t_P + p q; the probe reads t_G alone, one threshold for both."""
    rng = np.random.default_rng(0)
    d, n = 20, 2000
    general, polar, marker = np.linalg.qr(rng.normal(size=(d, 3)))[0].T
    t, p = rng.choice([-1, 1], (2, n))
    X = 2 * t[:, None] * general + 3 * (t * p)[:, None] * polar + 4 * p[:, None] * marker + rng.normal(size=(n, d)) + 7
    y = (t > 0).astype(int)
    probe = probes.TTPD().fit(X, y, polarity=p)
    assert cosine(probe.t_G_, general) > 0.99 and cosine(probe.t_P_, polar) > 0.99
    assert np.linalg.norm(probe.t_G_) == pytest.approx(2, rel=0.05)
    assert cosine(probe.polarity_direction_, marker) > 0.9
    for side in (1, -1):
        assert probe.score(X[p == side], y[p == side]) > 0.95
    # What mass-mean learns from affirmed statements turns round on denied ones.
    naive = probes.MassMean().fit(X[p > 0], y[p > 0])
    assert naive.score(X[p < 0], y[p < 0]) < 0.5


def test_ttpd_centres_within_topics() -> None:
    """Topics of unequal balance: without centring, differences between topics would be read as truth."""
    rng = np.random.default_rng(1)
    n, d = 2000, 10
    general, topic_axis = np.linalg.qr(rng.normal(size=(d, 2)))[0].T
    topic, p = rng.integers(0, 2, n), rng.choice([-1, 1], n)
    y = (rng.random(n) < np.where(topic, 0.8, 0.2)).astype(int)
    X = (2 * y - 1)[:, None] * general + 10 * topic[:, None] * topic_axis + 0.5 * rng.normal(size=(n, d))
    with_topics = probes.TTPD().fit(X, y, polarity=p, topics=topic)
    without = probes.TTPD().fit(X, y, polarity=p)
    assert abs(cosine(with_topics.t_G_, topic_axis)) < 0.1
    assert abs(cosine(without.t_G_, topic_axis)) > 0.5


def test_ttpd_needs_both_polarities() -> None:
    X, y, _, polarity, _ = planted_pairs(n=20)
    with pytest.raises(UsageError, match="needs polarity="):
        probes.TTPD().fit(X, y)
    with pytest.raises(UsageError, match="all have the same polarity"):
        probes.TTPD().fit(X, y, polarity=np.ones(40))
    with pytest.raises(UsageError, match="topics must have one entry per row"):
        probes.TTPD().fit(X, y, polarity=polarity, topics=["a"])
