"""All layers, folds and strengths at once equal one-by-one fits and scikit-learn's solutions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

import probes
from interp.errors import CheckFailedError, UsageError
from probes.batched import fit_layers, logistic as logistic_module, logistic_path, ridge_path
from probes.batched.scaling import standardisation
from tests.probes.planted import planted, planted_pairs

EVERY = [
    probes.LogisticRegression(),
    probes.MassMean(),
    probes.MassMean(covariance="shrunk"),
    probes.LDA(),
    probes.Ridge(),
    probes.CCS(restarts=2, steps=10),
    probes.CRC(),
    probes.TTPD(),
    probes.SAPLMA(epochs=1),
]


def layers(n: int, d: int, count: int = 3) -> tuple[Tensor, Tensor]:
    """A constant layer, one with a massive coordinate and one without, with the same labels; float32."""
    X, y, _ = planted(n, d)
    massive = X.copy()
    massive[:, 0] = 3000 + X[:, 0]
    stack = np.stack([np.full_like(X, 2.5), massive, X * np.geomspace(0.01, 100, d)][:count])
    return torch.from_numpy(stack).float(), torch.from_numpy(y)


@pytest.mark.parametrize("probe", EVERY, ids=str)
def test_several_layers_at_once_equal_single_layers(probe: Any) -> None:
    X, y, pairs, polarity, _ = planted_pairs(n=60, d=12)
    stack = torch.from_numpy(np.stack([X, 5 * X[:, ::-1] + 3, np.full_like(X, 1.5)])).float()
    joint = fit_layers(probe, stack, y, pairs=pairs, polarity=polarity)
    extra = {"polarity": polarity} if isinstance(probe, probes.TTPD) else {}
    extra = {"pairs": pairs, "polarity": polarity} if isinstance(probe, probes.CCS | probes.CRC) else extra
    assert len(joint) == 3 and not hasattr(probe, "classes_")
    for one, layer in zip(joint, stack, strict=True):
        alone = type(probe)(**probe.get_params()).fit(layer, y, **extra)
        np.testing.assert_allclose(one.decision_function(layer), alone.decision_function(layer), rtol=1e-9, atol=1e-9)
        assert vars(one).keys() == vars(alone).keys()


def test_any_classifier_is_fitted_layer_by_layer() -> None:
    X, y = layers(60, 5)
    result = fit_layers(KNeighborsClassifier(3), X.numpy(), y.numpy(), pairs=["a"] * 60)
    assert [one.score(layer, y) for one, layer in zip(result, X, strict=True)][1] > 0.8


@pytest.mark.parametrize(("n", "d"), [(240, 20), (48, 60)])
def test_path_is_scikit_learns_on_every_fold(n: int, d: int) -> None:
    """Masks of a cross-validation; each fold is standardised on its own rows, as a pipeline would do it."""
    X, y = layers(n, d)
    masks = torch.stack([torch.arange(n) % 4 != k for k in range(4)])
    strengths = (10.0, 1e-3, 0.1)  # the order is the caller's
    path = logistic_path(X, y, strengths, masks)
    assert path.directions.shape == (4, 3, 3, d) and path.biases.shape == (4, 3, 3)
    assert path.strengths == strengths and path.gradient <= logistic_module.TOLERANCE
    for fold, mask in enumerate(masks.numpy()):
        for layer in range(3):
            rows = X[layer].double().numpy()
            scaler = StandardScaler().fit(rows[mask])
            for place, strength in enumerate(strengths):
                theirs = LogisticRegression(C=strength, solver="newton-cholesky", tol=1e-12)
                theirs.fit(scaler.transform(rows[mask]), y.numpy()[mask])
                direction = path.directions[fold, layer, place].numpy()
                scores = rows @ direction + float(path.biases[fold, layer, place])
                np.testing.assert_allclose(direction, theirs.coef_[0] / scaler.scale_, rtol=1e-6, atol=1e-8)
                expected = theirs.decision_function(scaler.transform(rows))
                np.testing.assert_allclose(scores, expected, rtol=1e-6, atol=1e-6)


def test_weights_count_rows() -> None:
    """A weight of 2 is a row taken twice, 0 a row left out: a bootstrap is a set of weights."""
    X, y = layers(80, 6)
    counts = torch.from_numpy(np.random.default_rng(0).multinomial(80, np.full(80, 1 / 80)))
    weighted = logistic_path(X, y, [0.1], counts[None])
    repeated = logistic_path(X[:, torch.arange(80).repeat_interleave(counts)], y.repeat_interleave(counts), [0.1])
    torch.testing.assert_close(weighted.directions, repeated.directions, rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(weighted.biases, repeated.biases, rtol=1e-7, atol=1e-9)


def test_folds_do_not_see_the_rows_they_leave_out() -> None:
    X, y = layers(80, 6)
    mask = (torch.arange(80) < 60)[None]
    dirty, turned = X.clone(), y.clone()
    dirty[:, 60:] += 50 * torch.randn(20, 6, generator=torch.Generator().manual_seed(0))
    turned[60:] = 1 - turned[60:]
    torch.testing.assert_close(
        logistic_path(X, y, [0.1], mask).directions,
        logistic_path(dirty, turned, [0.1], mask).directions,
        rtol=1e-6,
        atol=1e-9,
    )


def test_separable_rows_converge() -> None:
    """Without a penalty the solution would be infinite; with a weak one it is large and exact."""
    X, y, _ = planted(60, 80, gap=30.0)
    path = logistic_path(torch.from_numpy(X)[None], y, [1e4])
    scores = torch.from_numpy(X) @ path.directions[0, 0, 0] + path.biases[0, 0, 0]
    assert path.gradient <= logistic_module.TOLERANCE
    assert ((scores > 0).numpy() == y).all() and float(scores.abs().min()) > 3


def test_what_the_path_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = layers(20, 4)
    with pytest.raises(UsageError, match="Strengths must be positive"):
        logistic_path(X, y, [])
    with pytest.raises(UsageError, match="Strengths must be positive"):
        logistic_path(X, y, [0.1, float("nan")])
    with pytest.raises(UsageError, match="Fold 1 holds rows of one class only"):
        logistic_path(X, y, [0.1], torch.stack([torch.ones(20), (y == 1).float()]))
    with pytest.raises(UsageError, match=r"\(folds, 20\), not \(20,\)"):
        logistic_path(X, y, [0.1], torch.ones(20))
    with pytest.raises(UsageError, match="non-negative"):
        logistic_path(X, y, [0.1], -torch.ones(1, 20))
    monkeypatch.setattr(logistic_module, "NEWTON_STEPS", 1)
    with pytest.raises(CheckFailedError, match="did not converge"):
        logistic_path(X, y, [0.1])


@pytest.mark.parametrize(("n", "d"), [(100, 12), (30, 50)])
def test_ridge_path_is_scikit_learns_for_every_strength(n: int, d: int) -> None:
    X, y = layers(n, d)
    alphas = (0.5, 30.0, 2000.0)
    path = ridge_path(X, y, alphas)
    for layer, rows in enumerate(X.double().numpy()):
        for place, alpha in enumerate(alphas):
            theirs = RidgeClassifier(alpha=alpha, solver="svd").fit(rows, y)
            np.testing.assert_allclose(path.directions[layer, place], theirs.coef_.ravel(), rtol=1e-6, atol=1e-9)
            one = ridge_path(X[layer : layer + 1], y, [alpha])  # alone it goes by Cholesky
            torch.testing.assert_close(one.directions[0, 0], path.directions[layer, place], rtol=1e-8, atol=1e-11)
            assert float(one.biases[0, 0]) == pytest.approx(float(path.biases[layer, place]), rel=1e-7, abs=1e-9)


def test_standardisation_is_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(50, 4)) * [1, 1e-3, 1e4, 0] + [3000, 0, -1e6, 0.1]
    weights = rng.integers(0, 3, (2, 50)).astype(float)
    mean, scale = standardisation(torch.from_numpy(X), torch.from_numpy(weights))
    for fold in range(2):
        theirs = StandardScaler().fit(X, sample_weight=weights[fold])
        np.testing.assert_allclose(mean[fold], theirs.mean_, rtol=1e-12)
        np.testing.assert_allclose(scale[fold], theirs.scale_, rtol=1e-9)
    assert float(scale[0, 3]) == 1.0


@pytest.mark.parametrize(
    ("X", "y", "message"),
    [
        (torch.zeros(3, 4), [0, 1], r"\(layer, n, d\), not \(3, 4\)"),
        (torch.full((1, 4, 2), float("nan")), [0, 1, 0, 1], "NaN or infinity"),
        (torch.zeros(1, 4, 2), [0, 1, 0], "4 rows of activations but 3 labels"),
        (torch.zeros(1, 4, 2), [0, 0, 0, 0], "one class only"),
    ],
)
def test_layers_that_cannot_be_fitted(X: Tensor, y: list[int], message: str) -> None:
    for probe in (probes.LDA(), probes.LogisticRegression()):
        with pytest.raises(UsageError, match=message):
            fit_layers(probe, X, y)


def test_equal_class_means_are_solved_by_nothing():
    """After linear erasure w = 0 is the optimum and the first gradient is rounding: that must count as converged."""
    generator = torch.Generator().manual_seed(3)
    y = torch.arange(200) % 2
    X = 50 * torch.randn(1, 200, 30, generator=generator, dtype=torch.float64) + 300
    for label in (0, 1):
        X[:, y == label] -= X[:, y == label].mean(1, keepdim=True)
    path = logistic_path(X + 300, y, (0.01, 1.0))
    # a direction of 1e-9 moves a logit of these rows by less than 1e-6
    assert path.directions.abs().max() < 1e-9
    # the control: a gap between the means of a thousandth of the spread is detected
    X[:, y == 1] += 0.05
    assert logistic_path(X + 300, y, (1.0,)).directions.abs().max() > 1e-6


@pytest.fixture
def almost_constant():
    """A layer of 400 rows, three of them distinct: the embedding of a last token that is nearly always the same.

    Rows 1 and 2 are outside some fold: its scale is another than the layer's by far more than float32 can bridge.
    """
    rng = np.random.default_rng(1)
    rows, order = torch.from_numpy(rng.normal(size=(3, 64)) * 0.1).float(), rng.permutation(400)
    which = np.zeros(400, int)
    which[order[0]], which[order[1]] = 1, 2
    y = torch.from_numpy(rng.permutation(400) % 2)
    fold = rng.permutation(400) % 4
    return rows[torch.from_numpy(which)], y, torch.from_numpy(np.stack([fold != i for i in range(4)]))


def test_a_layer_of_few_distinct_rows_is_fitted_as_by_scikit_learn(almost_constant):
    X, y, masks = almost_constant
    strengths = (1e-4, 1e-3, 1e-2, 0.1)
    with pytest.raises(logistic_module._StalledError):  # together the folds do not converge: the case is one
        logistic_module._fit_folds(X.double(), y.double(), masks.double(), [1 / c for c in strengths])
    path = logistic_path(X[None], y, strengths, masks.double())
    assert path.gradient < 1e-9
    for fold, mask in enumerate(masks):
        known = X[mask].double().numpy()
        for i, strength in enumerate(strengths):
            theirs = make_pipeline(StandardScaler(), LogisticRegression(C=strength, tol=1e-10, max_iter=10_000))
            expected = theirs.fit(known, y[mask].numpy()).decision_function(known)
            ours = known @ path.directions[fold, 0, i].numpy() + float(path.biases[fold, 0, i])
            # scikit-learn stops at a gradient of 1e-10 times its number of rows, which is 1e-5 in scores here.
            np.testing.assert_allclose(ours, expected, atol=2e-5)


def test_a_dense_hessian_gives_the_same_solutions(monkeypatch):
    X, y, _ = planted(n=80, d=12)
    rows, labels = torch.from_numpy(X)[None], torch.from_numpy(y)
    iterated = logistic_path(rows, labels, [0.01, 1.0])
    original = logistic_module._fit_folds

    def stalling(*arguments, dense=False):
        if not dense:
            raise logistic_module._StalledError(1.0)
        return original(*arguments, dense=True)

    monkeypatch.setattr(logistic_module, "_fit_folds", stalling)
    masks = torch.ones(2, 80).double()
    dense = logistic_path(rows, labels, [0.01, 1.0], masks)
    assert dense.gradient < 1e-9
    np.testing.assert_allclose(dense.directions[0], iterated.directions[0], rtol=1e-7)
    np.testing.assert_allclose(dense.directions[1], dense.directions[0])


def test_a_fit_that_does_not_converge_says_what_was_measured(monkeypatch):
    X, y, _ = planted(n=80, d=12)
    monkeypatch.setattr(logistic_module, "NEWTON_STEPS", 1)
    with pytest.raises(CheckFailedError, match=r"did not converge: .* of the gradient is left, 1e-10 is allowed \(80"):
        logistic_path(torch.from_numpy(X)[None], torch.from_numpy(y), [1.0])
