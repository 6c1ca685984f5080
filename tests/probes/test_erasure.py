"""LEACE: class means meet, for the least movement; new rows stay near with shrinkage; nonlinear probes read on."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

import probes
from interp import report
from interp.errors import UsageError
from interp.results import load
from probes.erasure import MeanProjection

D = 40


def planted(n: int, seed: int, d: int = D, gap: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Correlated rows whose classes differ along one direction; the same mixing and direction for every seed."""
    fixed, rng = np.random.default_rng(0), np.random.default_rng(seed + 1)
    mixing, along = fixed.normal(size=(d, d)) / np.sqrt(d), fixed.normal(size=d) / np.sqrt(d)
    y = np.arange(n) % 2
    return rng.normal(size=(n, d)) @ mixing + gap * np.outer(y, along) + 5.0, y


def gap(X: np.ndarray, y: np.ndarray) -> np.ndarray:
    return X[y == 1].mean(0) - X[y == 0].mean(0)


ERASERS = (probes.Leace(), probes.Leace(shrinkage="oas"), probes.Leace(shrinkage=None), MeanProjection())


@pytest.mark.parametrize("method", ERASERS, ids=lambda m: f"{m}")
class TestEvery:
    """What any of the erasures does."""

    def test_class_means_meet_and_the_mean_stays(self, method):
        X, y = planted(200, 0)
        erased = method.fit(X, y).apply(X)
        assert np.abs(gap(X, y)).max() > 0.5
        assert np.abs(gap(erased, y)).max() < 1e-10  # to rounding in float64
        assert np.allclose(erased.mean(0), X.mean(0), atol=1e-10)

    def test_no_linear_probe_does_better_than_a_constant(self, method):
        X, y = planted(200, 0)
        eraser = method.fit(X, y)
        before, after = (LogisticRegression(max_iter=1000).fit(rows, y) for rows in (X, eraser.apply(X)))
        assert before.score(X, y) > 0.9
        assert np.abs(after.coef_).max() < 1e-4  # the optimum is 0: equal means leave no slope there

    def test_twice_is_once(self, method):
        X, y = planted(200, 0)
        eraser = method.fit(X, y)
        once = eraser.apply(X)
        assert np.allclose(eraser.apply(once), once, atol=1e-10)

    def test_moves_along_one_direction_by_what_it_says(self, method):
        X, y = planted(200, 0)
        eraser = method.fit(X, y)
        moved = eraser.apply(X) - X
        assert np.linalg.matrix_rank(moved, tol=1e-8) == 1
        centred = X - X.mean(0)
        assert eraser.change == pytest.approx(np.linalg.norm(moved) / np.linalg.norm(centred))
        assert eraser.changed(X) == pytest.approx(eraser.change)

    def test_tensors_saving_and_loading(self, method, tmp_path):
        X, y = planted(200, 0)
        eraser = method.fit(torch.from_numpy(X), torch.from_numpy(y))
        single = eraser.apply(torch.from_numpy(X).float())
        assert single.dtype == torch.float32
        assert np.allclose(single.numpy(), eraser.apply(X), atol=1e-4)
        eraser.save(tmp_path)
        assert load(tmp_path) == eraser


def test_the_formula_of_the_paper():
    """x − W⁺ P W (x − μ) with W = Σ^(−1/2) and P the projection on W Σ_xz, by matrix square roots."""
    X, y = planted(300, 0)
    centred = X - X.mean(0)
    whiten = np.real(scipy.linalg.inv(scipy.linalg.sqrtm(np.cov(X.T, bias=True))))
    u = whiten @ (centred.T @ (y - y.mean()))
    u /= np.linalg.norm(u)
    theirs = X - centred @ whiten.T @ np.outer(u, u) @ np.linalg.inv(whiten).T
    assert np.allclose(probes.Leace(shrinkage=None).fit(X, y).apply(X), theirs, atol=1e-8)


def test_moves_less_than_the_projection():
    X, y = planted(300, 0)
    leace, projection = probes.Leace(shrinkage=None).fit(X, y), MeanProjection().fit(X, y)
    assert leace.change < projection.change
    inverse = np.linalg.inv(np.cov(X.T, bias=True))
    cost = [np.einsum("nd,de,ne->", m, inverse, m) for m in (e.apply(X) - X for e in (leace, projection))]
    assert cost[0] < cost[1]  # and least in the norm of the theorem


def test_without_shrinkage_new_rows_are_thrown_off():
    """With hardly more rows than dimensions the plain covariance overfits; on its own rows it looks the better."""
    (X, y), (X_new, _) = planted(45, 0, gap=0.3), planted(400, 1, gap=0.3)
    plain, shrunk = probes.Leace(shrinkage=None).fit(X, y), probes.Leace().fit(X, y)
    assert plain.change < shrunk.change
    assert shrunk.changed(X_new) < 1.5 * shrunk.change
    assert plain.changed(X_new) > 2 * plain.change and plain.changed(X_new) > 1.5 * shrunk.changed(X_new)


@pytest.mark.parametrize("shrinkage", ["oas", None])
def test_from_streamed_statistics(shrinkage):
    """In three chunks, merged from two shards: the eraser of all rows at once."""
    X, y = planted(300, 0)
    shards = [probes.Statistics(D), probes.Statistics(D)]
    shards[0].update(X[:100], y[:100]).update(X[100:130], y[100:130])
    shards[1].update(X[130:], y[130:])
    leace = probes.Leace(shrinkage=shrinkage)
    streamed, batch = leace.from_statistics(shards[0].merge(shards[1])), leace.fit(X, y)
    assert np.allclose(streamed.apply(X), batch.apply(X), atol=1e-8)
    assert streamed.change == pytest.approx(batch.change) and streamed.n == 300
    with pytest.raises(UsageError, match="needs the rows"):
        probes.Leace().from_statistics(shards[0])


def test_more_dimensions_than_rows():
    X, y = planted(30, 0, d=60)
    for method in ERASERS:
        assert np.abs(gap(method.fit(X, y).apply(X), y)).max() < 1e-8


def test_new_rows_keep_little_of_a_well_known_direction():
    (X, y), (X_new, y_new) = planted(2000, 0), planted(2000, 1)
    eraser = probes.Leace().fit(X, y)
    probe = LogisticRegression(max_iter=1000).fit(X, y)
    assert roc_auc_score(y_new, probe.decision_function(X_new)) > 0.95
    assert abs(roc_auc_score(y_new, probe.decision_function(eraser.apply(X_new))) - 0.5) < 0.06  # 2 standard errors


def reported(nonlinear: bool) -> probes.ErasureReport:
    """Two classes with different means; with `nonlinear` also in the size of two other coordinates."""
    rng = np.random.default_rng(4)
    X, y = planted(900, 0, d=12)
    X = X + rng.normal(size=X.shape)
    X[:, :2] += nonlinear * 4 * (y * rng.choice([-1, 1], len(y)))[:, None]
    groups = [(f"g{i // 3}",) for i in range(900)]
    return probes.erasure_report(X, y, groups, test=np.arange(900) // 3 % 3 == 0)


@pytest.fixture(scope="module")
def plain() -> probes.ErasureReport:
    return reported(nonlinear=False)


class TestReport:
    """Probes fitted again."""

    def test_a_nonlinear_probe_reads_on(self):
        result = reported(nonlinear=True)
        none, *rest = result.methods
        assert none.linear_test > 0.65 and none.nonlinear_test > 0.8
        for erased in rest:
            assert erased.linear_train == pytest.approx(result.chance, abs=0.02)
            assert erased.nonlinear_test > 0.8 and erased.linear_inside is not None
            assert erased.change_train > 0 and erased.change_test > 0
        text = " ".join(result.sentences())
        assert (
            "no linear probe can read the label on the rows of the fit" in text
            and "The information is not gone" in text
        )
        assert "removed" not in text

    def test_where_there_is_nothing_else_to_read_it_does_not(self, plain):
        for erased in plain.methods[1:]:
            assert abs(erased.nonlinear_test - 0.5) < 0.1  # 300 test rows: three standard errors
        assert not plain.reads_on(plain.methods[-1].nonlinear_test)
        assert plain.reads_on(0.6) and not plain.reads_on(0.2)
        text = " ".join(plain.sentences())
        assert "not gone" not in text and "does not show that another probe could read nothing from 300 rows" in text

    def test_shown_saved_and_loaded(self, plain, tmp_path):
        result = plain
        assert isinstance(result.table(), report.Table) and len(result.table().rows) == 4
        assert result.n_train == 600 and result.n_test == 300
        assert len(repr(result)) < 150
        result.save(tmp_path)
        assert load(tmp_path) == result

    def test_a_train_row_of_a_test_entity_is_left_out(self):
        X, y = planted(200, 0)
        groups = [(f"g{i // 4}", "everywhere") if i < 8 else (f"g{i // 4}",) for i in range(200)]
        test = np.arange(200) // 4 % 2 == 0  # rows 0 to 3 test, 4 to 7 train but share "everywhere"
        assert probes.erasure_report(X, y, groups, test=test).n_train == 200 - test.sum() - 4

    def test_refused(self):
        X, y = planted(20, 0)
        with pytest.raises(UsageError, match="20, 20, 20 and 3"):
            probes.erasure_report(X, y, [("a",)] * 20, test=np.ones(3, bool))
        with pytest.raises(UsageError, match="The train side has 0 rows"):
            probes.erasure_report(X, y, [("a",)] * 20, test=np.arange(20) < 10)


def test_refused():
    X, y = planted(20, 0)
    with pytest.raises(UsageError, match="one class only"):
        probes.Leace().fit(X, np.ones(20, int))
    with pytest.raises(UsageError, match="contain NaN or infinity"):
        probes.Leace().fit(np.where(np.arange(20)[:, None] == 3, np.nan, X), y)
    with pytest.raises(UsageError, match="20 rows but 19 labels"):
        probes.Leace().fit(X, y[:-1])
    with pytest.raises(UsageError, match="the same mean"):
        probes.Leace().fit(np.ones((20, 4)), y)
    with pytest.raises(UsageError, match=r"shrinkage must be text or None, not 0\.1"):
        probes.Leace(shrinkage=0.1)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"expects rows of shape \(n, 40\), not \(20, 39\)"):
        probes.Leace().fit(X, y).apply(X[:, 1:])
