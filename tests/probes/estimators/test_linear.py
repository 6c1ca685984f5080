"""The linear probes: planted structure, nulls, scikit-learn's solutions, invariances, errors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import probes
from interp.errors import UsageError
from tests.probes.planted import cosine, planted

LINEAR = [
    probes.LogisticRegression(),
    probes.MassMean(),
    probes.MassMean(covariance="shrunk"),
    probes.LDA(),
    probes.LDA(shrinkage="oas"),
    probes.Ridge(),
]
SHAPES = [(300, 40), (60, 100)]  # more rows than dimensions, and fewer: the kernel forms
names = pytest.mark.parametrize("probe", LINEAR, ids=str)
shapes = pytest.mark.parametrize(("n", "d"), SHAPES)


@names
def test_planted_direction_is_recovered(probe: Any) -> None:
    X, y, direction = planted(n=2000)
    fitted = clone(probe).fit(X, y)
    assert cosine(fitted.direction_, direction) > 0.95
    X_test, y_test, _ = planted(n=2000)
    assert fitted.score(X_test, y_test) > 0.9


@names
def test_without_a_planted_direction_nothing_is_recovered(probe: Any) -> None:
    """On fresh rows AUC is within four standard errors of 1/2 (Mann-Whitney: sqrt((2 n + 1) / (12 n²)), n a class)."""
    X, y, direction = planted(n=800, gap=0.0)
    fitted = clone(probe).fit(X[:400], y[:400])
    error = np.sqrt((2 * 200 + 1) / (12 * 200**2))
    assert abs(roc_auc_score(y[400:], fitted.decision_function(X[400:])) - 0.5) < 4 * error
    assert abs(cosine(fitted.direction_, direction)) < 4 / np.sqrt(30)


@names
def test_shuffled_labels_find_nothing(probe: Any) -> None:
    """The link of rows and labels is broken, the variance along the direction is not: a probe may point along it by
    chance, either way. Over 20 shuffles the mean AUC on the true labels is 1/2 within four of its standard errors."""
    rng = np.random.default_rng(1)
    X, y, _ = planted(n=800)

    def area(labels: np.ndarray) -> float:
        return roc_auc_score(y[400:], clone(probe).fit(X[:400], labels).decision_function(X[400:]))

    areas = np.array([area(rng.permutation(y[:400])) for _ in range(20)])
    assert abs(areas.mean() - 0.5) < 4 * areas.std() / np.sqrt(20)
    assert area(y[:400]) > 0.95


@names
@shapes
def test_scores_are_the_direction_and_bias(probe: Any, n: int, d: int) -> None:
    X, y, _ = planted(n, d)
    fitted = clone(probe).fit(X, y)
    scores = fitted.decision_function(X)
    assert fitted.direction_.dtype == np.float64 and isinstance(fitted.bias_, float)
    np.testing.assert_allclose(scores, X @ fitted.direction_ + fitted.bias_, rtol=1e-12)
    np.testing.assert_array_equal(fitted.predict(X), (scores > 0).astype(int))
    proba = fitted.predict_proba(X)
    np.testing.assert_allclose(proba.sum(1), 1)
    np.testing.assert_array_equal(proba[:, 1] > 0.5, scores > 0)


@shapes
@pytest.mark.parametrize("C", [1e-3, 0.1, 10.0])
def test_logistic_regression_is_scikit_learns(n: int, d: int, C: float) -> None:
    X, y, _ = planted(n, d)
    ours = probes.LogisticRegression(C=C).fit(X, y)
    theirs = make_pipeline(StandardScaler(), LogisticRegression(C=C, solver="newton-cholesky", tol=1e-12)).fit(X, y)
    np.testing.assert_allclose(ours.direction_, theirs[1].coef_[0] / theirs[0].scale_, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(ours.decision_function(X), theirs.decision_function(X), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-7)


@shapes
@pytest.mark.parametrize("shrinkage", ["auto", 0.2])
def test_lda_is_scikit_learns(n: int, d: int, shrinkage: Any) -> None:
    X, y, _ = planted(n, d)
    X[:, 3] = 7.0  # a constant coordinate
    ours = probes.LDA(shrinkage=shrinkage).fit(X[n // 5 :], y[n // 5 :])
    theirs = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage).fit(X[n // 5 :], y[n // 5 :])
    np.testing.assert_allclose(ours.direction_, theirs.coef_[0], rtol=1e-6, atol=1e-9)
    assert ours.bias_ == pytest.approx(theirs.intercept_[0], rel=1e-6)


def test_oas_is_scikit_learns() -> None:
    from sklearn.covariance import oas

    from probes.batched.covariance import within_covariance

    X, y, _ = planted(50, 30)
    pooled = np.concatenate([X[y == label] - X[y == label].mean(0) for label in (0, 1)])
    ours = within_covariance(torch.from_numpy(X), torch.from_numpy(y), "oas")
    np.testing.assert_allclose(ours.numpy(), oas(pooled, assume_centered=True)[0], rtol=1e-10)


@shapes
@pytest.mark.parametrize("alpha", [0.1, 100.0])
def test_ridge_is_scikit_learns(n: int, d: int, alpha: float) -> None:
    X, y, _ = planted(n, d)
    ours = probes.Ridge(alpha=alpha).fit(X, y)
    theirs = RidgeClassifier(alpha=alpha, solver="svd").fit(X, y)
    np.testing.assert_allclose(ours.direction_, theirs.coef_.ravel(), rtol=1e-6, atol=1e-10)
    np.testing.assert_allclose(ours.decision_function(X), theirs.decision_function(X), rtol=1e-6, atol=1e-8)


def test_ridge_is_noise_augmentation() -> None:
    """Least squares on n rows, each copied with noise of variance s, tends to ridge with alpha = n s (per copy)."""
    X, y, _ = planted(200, 5, gap=2.0)
    s, copies = 0.5, 2000
    rng = np.random.default_rng(0)
    noisy = np.tile(X, (copies, 1)) + rng.normal(size=(200 * copies, 5)) * np.sqrt(s)
    plain = probes.Ridge(alpha=1e-9).fit(noisy, np.tile(y, copies))
    ridge = probes.Ridge(alpha=200 * s).fit(X, y)
    # 400,000 noisy rows give each weight to about 1 / sqrt(400,000) = 0.0016 of the unit scale of the labels.
    np.testing.assert_allclose(plain.direction_, ridge.direction_, atol=4 * 0.0016)
    without = probes.Ridge(alpha=1e-9).fit(X, y)
    assert np.abs(without.direction_ - ridge.direction_).max() > 10 * 0.0016


def test_mass_mean_stands_midway() -> None:
    """The difference of the means, 0 between them: the form without a bias cannot be had by any parameter."""
    X, y, _ = planted(gap=1.0)
    false, true = X[y == 0].mean(0), X[y == 1].mean(0)
    probe = probes.MassMean().fit(X, y)
    np.testing.assert_allclose(probe.direction_, true - false, atol=1e-12)
    assert probe.decision_function([(true + false) / 2])[0] == pytest.approx(0, abs=1e-10)
    assert set(probe.get_params()) == {"covariance"}
    without = ((X @ probe.direction_ > 0) == y).mean()
    assert without < 0.6 < probe.score(X, y)


def test_mass_mean_probabilities_are_calibrated() -> None:
    """Equal Gaussians: the share of true rows at each predicted probability is that probability."""
    X, y, _ = planted(n=20000, d=3, gap=1.5)
    predicted = probes.MassMean().fit(X, y).predict_proba(X)[:, 1]
    for low in (0.1, 0.3, 0.5, 0.7):
        inside = (predicted > low) & (predicted < low + 0.2)
        assert y[inside].mean() == pytest.approx(predicted[inside].mean(), abs=4 * 0.5 / np.sqrt(inside.sum()))


@names
def test_moving_and_scaling_the_space(probe: Any) -> None:
    """X → a X + v maps the direction to w / a (up to the probe's own scale) and moves the bias along."""
    X, y, _ = planted()
    moved = 3.0 * X + np.linspace(-50, 50, X.shape[1])
    one = clone(probe).fit(X, y)
    if isinstance(probe, probes.Ridge):
        two = clone(probe).set_params(alpha=9 * probe.alpha).fit(moved, y)  # the penalty has units
    else:
        two = clone(probe).fit(moved, y)
    scale = 9.0 if probe.get_params().get("covariance") == "none" else 1.0  # mass-mean: gap² has units
    np.testing.assert_allclose(two.decision_function(moved), scale * one.decision_function(X), rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(two.predict_proba(moved), one.predict_proba(X), atol=1e-8)


@names
def test_flipping_the_labels_flips_the_sign(probe: Any) -> None:
    X, y, _ = planted()
    one, two = clone(probe).fit(X, y), clone(probe).fit(X, 1 - y)
    np.testing.assert_allclose(two.direction_, -one.direction_, rtol=1e-7, atol=1e-9)
    assert two.bias_ == pytest.approx(-one.bias_, rel=1e-7)


@names
def test_order_of_rows_does_not_matter(probe: Any) -> None:
    X, y, _ = planted()
    order = np.random.default_rng(0).permutation(len(X))
    one, two = clone(probe).fit(X, y), clone(probe).fit(X[order], y[order])
    np.testing.assert_allclose(two.direction_, one.direction_, rtol=1e-7, atol=1e-10)


@names
def test_tensors_and_arrays_are_one(probe: Any) -> None:
    X, y, _ = planted()
    single = torch.from_numpy(X).float()
    one = clone(probe).fit(single, torch.from_numpy(y))
    two = clone(probe).fit(single.numpy(), y)
    np.testing.assert_array_equal(one.direction_, two.direction_)
    half = clone(probe).fit(single.bfloat16(), y)
    np.testing.assert_array_equal(half.decision_function(single), half.decision_function(single.numpy()))


@names
def test_a_layer_that_says_nothing(probe: Any) -> None:
    """The embedding of one closing token is the same for every statement: no direction, no error."""
    X, y = np.full((40, 6), 3.25), np.arange(40) % 2
    fitted = clone(probe).fit(X, y)
    np.testing.assert_allclose(fitted.direction_, 0, atol=1e-12)
    np.testing.assert_allclose(fitted.predict_proba(X), 0.5, atol=1e-9)


@names
@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (np.eye(6), [0, 1, 2, 0, 1, 2], "Only binary classification is supported.*0 .false. and 1 .true.*3 classes"),
        (np.eye(6), [1] * 6, "one class only .1.: a probe is fitted on true and false"),
        (np.eye(6), [0.1, 0.2, 0.7, 0.9, 0.3, 0.4], "Unknown label type"),
        (np.where(np.eye(6) > 0, np.nan, 0), [0, 1] * 3, "contains NaN"),
        (np.where(np.eye(6) > 0, np.inf, 0), [0, 1] * 3, "contains infinity"),
        (np.eye(6), [0, 1] * 2, "inconsistent numbers of samples"),
        (np.ones(6), [0, 1] * 3, "Expected 2D array, got 1D array instead. Reshape"),
    ],
)
def test_what_cannot_be_fitted(probe: Any, X: np.ndarray, y: list[float], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        clone(probe).fit(X, y)
    assert "\n" not in str(caught.value)


@names
def test_wrong_width(probe: Any) -> None:
    X, y, _ = planted()
    with pytest.raises(UsageError, match=r"X has 29 features, but .* is expecting 30 features"):
        clone(probe).fit(X, y).decision_function(X[:, 1:])


@pytest.mark.parametrize(
    ("probe", "message"),
    [
        (probes.LogisticRegression(C=0), "Strengths must be positive"),
        (probes.LogisticRegression(C=-1), "Strengths must be positive"),
        (probes.Ridge(alpha=0), "must be positive"),
        (probes.LDA(shrinkage=2.0), "from 0 to 1, not 2.0"),
        (probes.LDA(shrinkage="ledoit"), "not 'ledoit'"),
        (probes.MassMean(covariance="full"), 'covariance must be "none" or "shrunk"'),  # pyright: ignore
    ],
    ids=str,
)
def test_parameters_out_of_range(probe: Any, message: str) -> None:
    X, y, _ = planted()
    with pytest.raises(UsageError, match=message):
        probe.fit(X, y)
