"""Shared statistics agree with other libraries, cover what they claim to cover, and find nothing where nothing is."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from sklearn.metrics import roc_auc_score

from interp.errors import UsageError
from interp.statistics import (
    DRAWS,
    Bootstrap,
    auc,
    bootstrap,
    cluster_draws,
    jackknife,
    mean_interval,
    p_value,
    percentile_interval,
    permutation_null,
    rank_correlation,
    rank_correlation_null,
    row_draws,
    weighted_mean,
)


def sample(n: int = 200) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores with many ties, labels, and five sets of weights."""
    rng = np.random.default_rng(3)
    return rng.integers(0, 9, n).astype(float), rng.random(n) < 0.4, rng.integers(0, 4, (5, n)).astype(float)


def test_weighted_auc_agrees_with_scikit_learn():
    scores, labels, weights = sample()
    expected = [roc_auc_score(labels, scores, sample_weight=w) for w in weights]
    np.testing.assert_allclose(auc(scores, labels, weights), expected, rtol=1e-12)
    np.testing.assert_allclose(auc(scores, labels), roc_auc_score(labels, scores), rtol=1e-12)
    np.testing.assert_array_equal(auc(scores, labels.astype(int), weights), auc(scores, labels, weights))


def test_auc_without_one_class_is_nan_and_of_nan_is_refused():
    scores, labels, weights = sample()
    weights[0, labels] = 0
    result = auc(scores, labels, weights)
    assert np.isnan(result[0])
    assert np.isfinite(result[1:]).all()
    with pytest.raises(UsageError, match="NaN or an infinity"):
        auc(np.where(labels, np.nan, scores), labels)
    with pytest.raises(UsageError, match="200 scores were given for 199 labels"):
        auc(scores, labels[1:])


def test_weighted_mean_agrees_with_numpy():
    scores, _, weights = sample()
    matrix = np.stack([scores, scores**2], 1)
    expected = [np.average(matrix, axis=0, weights=w) for w in weights]
    np.testing.assert_allclose(weighted_mean(matrix, weights), expected, rtol=1e-12)
    assert np.isnan(weighted_mean(scores, np.zeros((1, 200)))).all()


def test_draws_do_not_depend_on_portions(monkeypatch):
    whole = np.concatenate(list(cluster_draws(7, seed=1, draws=50)))
    rows = np.array([0, 0, 1, 2, 3, 4, 5, 6, 6])
    spread = np.concatenate(list(row_draws(rows, seed=1, draws=50)))
    monkeypatch.setattr("interp.statistics.CELLS", 20)
    parts = list(cluster_draws(7, seed=1, draws=50))
    assert len(parts) > 1
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    np.testing.assert_array_equal(whole[:, rows], spread)
    assert (whole.sum(1) == 7).all()


def test_a_row_of_two_clusters_counts_as_the_product_of_their_draws():
    pairs = np.array([[0, 1], [1, -1], [2, 0]])
    counts = np.concatenate(list(cluster_draws(3, seed=0, draws=20)))
    weights = np.concatenate(list(row_draws(pairs, seed=0, draws=20)))
    expected = np.stack([counts[:, 0] * counts[:, 1], counts[:, 1], counts[:, 2] * counts[:, 0]], 1)
    np.testing.assert_array_equal(weights, expected)


def test_bootstrap_of_a_mean_is_as_wide_as_theory_says():
    """Percentiles of 1,000 draws lie within a few per cent of mean ± 1.96 standard errors of 400 normal values."""
    x = np.random.default_rng(0).standard_normal(400)
    value, low, high = bootstrap(lambda weights: weighted_mean(x, weights), np.arange(400), seed=0)
    error = x.std() / 20
    assert value == pytest.approx(x.mean())
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.1)
    mean, below, above = mean_interval(x, seed=0)
    assert (mean, below, above) == (pytest.approx(value), pytest.approx(low), pytest.approx(high))


def test_clusters_widen_the_interval_and_one_cluster_has_none():
    """Ten equal rows in a cluster carry as much as one row: the interval over rows is too narrow by sqrt(10)."""
    each = np.random.default_rng(1).standard_normal(60)
    x, cluster = np.repeat(each, 10), np.repeat(np.arange(60), 10)
    by_cluster, by_row = (
        bootstrap(lambda weights: weighted_mean(x, weights), index, seed=0) for index in (cluster, np.arange(600))
    )
    assert (by_cluster[2] - by_cluster[1]) / (by_row[2] - by_row[1]) == pytest.approx(np.sqrt(10), rel=0.15)
    assert np.isnan(bootstrap(lambda weights: weighted_mean(x, weights), np.zeros(600, int), seed=0)[1:]).all()
    assert np.isnan(mean_interval(each[:1], seed=0)[1])


def test_intervals_cover_the_truth_as_often_as_they_say():
    """Of 200 samples of 60 normal values, 95 % intervals should hold the mean in about 190; 175 is 3 deviations off."""
    rng = np.random.default_rng(2)
    covers = 0
    for seed in range(200):
        _, low, high = mean_interval(rng.standard_normal(60), seed=seed, draws=300)
        covers += int(low <= 0 <= high)
    assert 175 <= covers < 200


def test_ratio_of_sums():
    rng = np.random.default_rng(0)
    bottom = rng.random(50) + 1
    value, low, high = Bootstrap.of(50, seed=0).ratio(bottom / 4, bottom)
    assert (value, low, high) == (pytest.approx(0.25),) * 3
    assert Bootstrap.of(1, seed=0).ratio(bottom[:1], bottom[:1])[1:] == (None, None)
    assert Bootstrap.of(3, seed=0).weights.shape == (DRAWS, 3)
    with pytest.raises(ZeroDivisionError):
        Bootstrap.of(50, seed=0).ratio(bottom, 0 * bottom)


def test_jackknife_of_a_mean_is_its_standard_error():
    x = np.random.default_rng(0).random(40)
    low, high = jackknife(x.mean(), (x.sum() - x) / 39)
    assert high is not None
    assert high - low == pytest.approx(2 * 1.96 * x.std(ddof=1) / np.sqrt(40))
    assert jackknife(0.5, x[:1]) == (None, None)


def test_percentiles():
    low, high = percentile_interval(np.arange(101.0), level=0.9)
    assert (low, high) == (pytest.approx(5), pytest.approx(95))


def test_rank_correlation_agrees_with_scipy_and_ties_do_not_agree_by_themselves():
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 5, 50), rng.integers(0, 5, 50)
    assert rank_correlation(x, y) == pytest.approx(scipy.stats.spearmanr(x, y)[0])
    assert rank_correlation(np.arange(5), np.arange(5) ** 3) == pytest.approx(1)
    assert np.isnan(rank_correlation(np.zeros(3), np.arange(3)))
    assert np.isnan(rank_correlation(np.zeros(1), np.zeros(1)))
    assert np.isnan(rank_correlation(np.array([1.0, np.nan, 3.0]), np.arange(3)))


def test_the_null_of_rank_correlation_is_that_of_permuted_values():
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 5, 30).astype(float), rng.integers(0, 9, 30).astype(float)
    slow = permutation_null(lambda shuffled: rank_correlation(x, shuffled), y, seed=3, draws=50)
    np.testing.assert_allclose(rank_correlation_null(x, y, seed=3, draws=50), slow, atol=1e-14)  # sums of 30 products
    assert not np.allclose(rank_correlation_null(x, y, seed=4, draws=50), slow)
    assert np.isnan(rank_correlation_null(x, np.ones(30), seed=3, draws=50)).all()


def test_a_permutation_null_is_chance_and_a_planted_relation_lies_beyond_it():
    rng = np.random.default_rng(0)
    x = rng.standard_normal(40)
    related, unrelated = x + rng.standard_normal(40), rng.standard_normal(40)
    for y, small in ((related, True), (unrelated, False)):
        null = permutation_null(lambda shuffled: rank_correlation(x, shuffled), y, seed=0, draws=400)
        assert abs(null.mean()) < 0.03  # a correlation of 40 has deviation 0.16, a mean of 400 of them 0.008
        assert (p_value(rank_correlation(x, y), null) < 0.01) == small
    assert p_value(2.0, null) == 1 / 401
