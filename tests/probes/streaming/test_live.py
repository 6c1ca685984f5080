"""The live ridge equals the ridge of all rows so far, however they came."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st

import probes
from interp.errors import UsageError
from probes.streaming import LiveRidge
from tests.probes.planted import planted


def rows(n: int = 200, d: int = 12, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    X, y, _ = planted(n, d, gap=1.0, seed=seed)
    X[:, 0] += 3000
    return X, y


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    d=st.integers(1, 15),
    alpha=st.floats(0.01, 100),
    cuts=st.lists(st.integers(1, 79), max_size=6, unique=True),
)
def test_any_cut_into_batches_is_the_batch_fit(seed: int, d: int, alpha: float, cuts: list[int]) -> None:
    X, y = rows(80, d, seed)
    live = LiveRidge(d, alpha)
    for part, labels in zip(np.split(X, sorted(cuts)), np.split(y, sorted(cuts)), strict=True):
        live.update(part, labels)
    batch, result = probes.Ridge(alpha).fit(X, y), live.probe()
    # Rounding is lifted by the condition of XᵀX + α: at α = 0.01 the first inverse is 1e4 times that of all rows.
    np.testing.assert_allclose(result.direction_, batch.direction_, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(result.decision_function(X), batch.decision_function(X), atol=1e-6)
    np.testing.assert_allclose(result.predict_proba(X), batch.predict_proba(X), atol=1e-6)


def test_row_by_row_is_sherman_morrison() -> None:
    X, y = rows()
    one, many = LiveRidge(12, 2.0), LiveRidge(12, 2.0).update(X[:1], y[:1])
    for x, label in zip(X, y, strict=True):
        one.update(x[None], [label])
    many.update(X[1:], y[1:])
    torch.testing.assert_close(one.inverse, many.inverse, rtol=1e-8, atol=1e-11)
    np.testing.assert_allclose(one.probe().direction_, many.probe().direction_, rtol=1e-8)


def test_answers_between_batches() -> None:
    X, y = rows()
    live = LiveRidge(12)
    for n in (10, 50, 200):
        live.update(X[live.n : n], y[live.n : n])
        np.testing.assert_allclose(live.probe().direction_, probes.Ridge().fit(X[:n], y[:n]).direction_, rtol=1e-6)


def test_rounding_stays_small_over_many_updates() -> None:
    X, y = rows(3000)
    live = LiveRidge(12)
    for start in range(0, 3000, 3):
        live.update(X[start : start + 3], y[start : start + 3])
    assert torch.equal(live.inverse, live.inverse.T)
    np.testing.assert_allclose(live.probe().direction_, probes.Ridge().fit(X, y).direction_, rtol=1e-8)


def test_what_a_live_ridge_refuses() -> None:
    X, y = rows()
    live = LiveRidge(12)
    with pytest.raises(UsageError, match="All 0 rows have one class"):
        live.probe()
    with pytest.raises(UsageError, match="All 3 rows have one class"):
        LiveRidge(12).update(X[:3], [1, 1, 1]).probe()
    for part, labels, message in [
        (X[:, 1:], y, r"\(k, 12\) and labels \(k,\), not \(200, 11\)"),
        (X, y[1:], r"not \(200, 12\) and \(199,\)"),
        (X * np.nan, y, "must be finite"),
        (X, y + 1, "labels 0 .false. or 1"),
    ]:
        with pytest.raises(UsageError, match=message):
            live.update(part, labels)
    assert live.n == 0 and live.update(X[:0], y[:0]).n == 0
    with pytest.raises(UsageError, match="alpha positive"):
        LiveRidge(12, 0)
