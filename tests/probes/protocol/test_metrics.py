"""Metrics against scikit-learn and by their definitions; intervals by how often they hold the truth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import balanced_accuracy_score

from interp.errors import UsageError
from interp.statistics import auc
from probes.protocol import metrics
from probes.protocol.intervals import measured, resampled


@pytest.fixture
def drawn():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 200)
    return rng.normal(size=200) + labels, labels


def test_auc_of_constant_scores_is_a_half_and_a_reversed_score_is_not_turned_round(drawn):
    scores, labels = drawn
    assert auc(np.ones(200), labels)[0] == 0.5
    assert auc(-scores, labels)[0] == pytest.approx(1 - auc(scores, labels)[0])
    assert auc(-scores, labels)[0] < 0.3
    assert metrics.accuracy(-scores, labels)[0] < 0.5


def test_accuracies_are_scikit_learns(drawn):
    scores, labels = drawn
    assert metrics.accuracy(scores, labels)[0] == ((scores > 0) == labels).mean()
    assert metrics.balanced_accuracy(scores, labels) == pytest.approx(balanced_accuracy_score(labels, scores > 0))


def test_a_calibrated_probe_has_little_error_and_an_overconfident_one_much():
    rng = np.random.default_rng(0)
    log_odds = rng.normal(size=20_000)
    labels = (rng.random(20_000) < metrics.sigmoid(log_odds)).astype(int)
    # sqrt(10 bins / 20,000) / 3 = 0.007 by chance.
    assert metrics.expected_calibration_error(metrics.sigmoid(log_odds), labels) < 0.015
    assert metrics.expected_calibration_error(metrics.sigmoid(5 * log_odds), labels) > 0.15
    slope, offset = metrics.rescaling(5 * log_odds, labels)
    assert slope == pytest.approx(0.2, abs=0.02)
    assert offset == pytest.approx(0, abs=0.05)


def test_rescaling_does_not_correct_the_sign():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 500)
    assert metrics.rescaling(-labels + rng.normal(size=500), labels)[0] < 0


def test_recall_is_at_most_the_given_rate_of_false_positives(drawn):
    scores, labels = drawn
    false = np.sort(scores[labels == 0])[::-1]
    at = int(0.05 * len(false))
    expected = (scores[labels == 1] > false[at]).mean()
    assert metrics.recall_at(scores, labels, 0.05) == expected
    assert (false > false[at]).mean() <= 0.05


def test_scores_that_are_not_numbers_are_refused(drawn):
    with pytest.raises(UsageError, match="returned NaN or infinite scores"):
        metrics.accuracy(np.full(200, np.nan), drawn[1])


def simulate(rng: np.random.Generator, n_group: int, rows: int) -> tuple[np.ndarray, np.ndarray, list[tuple[str]]]:
    """Scores with an effect shared by the rows of a group: all rows of a group are right or all are wrong."""
    labels = np.tile(np.arange(rows) % 2, n_group)
    shared = np.repeat(rng.normal(size=n_group), rows) * (2 * labels - 1)
    scores = 2 * labels - 1 + shared + 0.5 * rng.normal(size=n_group * rows)
    return scores, labels, [(f"g{i // rows}",) for i in range(n_group * rows)]


def test_intervals_cover_at_the_stated_rate_where_row_intervals_do_not():
    rng = np.random.default_rng(0)
    truth = norm.cdf(1 / np.sqrt(1 + 0.5**2))  # P(1 + shared + noise > 0), the same for both labels
    covered = {"groups": 0, "rows": 0}
    for draw in range(200):
        scores, labels, groups = simulate(rng, 40, 6)
        result = measured(scores, labels, groups, seed=draw, draws=200).accuracy
        alone = measured(scores, labels, [(str(i),) for i in range(240)], seed=draw, draws=200).accuracy
        covered["groups"] += result[1] <= truth <= result[2]
        covered["rows"] += alone[1] <= truth <= alone[2]
    # 95 %, less what percentiles of 40 groups lose (about 1 %), less three standard errors of 200 draws (1.6 % each).
    assert covered["groups"] / 200 > 0.89
    assert covered["rows"] / 200 < 0.80


def test_nothing_to_resample_gives_the_exact_bound():
    labels = np.tile([0, 1], 20)
    result = measured(2.0 * labels - 1, labels, [(f"g{i // 2}",) for i in range(40)], seed=0)
    np.testing.assert_allclose(result.accuracy, [1, 0.025 ** (1 / 20), 1])
    np.testing.assert_allclose(result.auc, [1, 0.025 ** (1 / 20), 1])


def test_weights_follow_entities():
    groups = [("a",), ("a",), ("b",), ("a", "b")]
    (weights,) = resampled(groups, seed=0, draws=50)
    np.testing.assert_array_equal(weights[:, 0], weights[:, 1])
    np.testing.assert_array_equal(weights[:, 3], weights[:, 0] * weights[:, 2])
    np.testing.assert_array_equal(weights[:, 0] + weights[:, 2], 2)  # as many entities as there are
