"""Streamed and merged statistics equal batch fits, in any order; massive activations keep their variance."""

from __future__ import annotations

import resource
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import probes
from interp.errors import DamagedFileError, MissingInputError, UsageError
from probes import streaming
from tests.probes.planted import planted

STREAMED = [probes.MassMean(), probes.LDA(shrinkage="oas"), probes.LDA(shrinkage=0.1), probes.Ridge(alpha=3.0)]


def data(n: int = 3000, d: int = 30, seed: int = 0) -> tuple[Tensor, Tensor]:
    """float64 rows with a coordinate of mean 3,000 that drifts, and labels."""
    X, y, _ = planted(n, d, gap=1.0, seed=seed)
    X[:, 0] += 3000 + np.linspace(0, 5, n)
    return torch.from_numpy(X), torch.from_numpy(y)


def streamed(X: Tensor, y: Tensor, chunk: int = 701) -> probes.Statistics:
    statistics = probes.Statistics(X.shape[1], labels=1 if y.ndim == 1 else y.shape[1])
    for rows, labels in zip(X.split(chunk), y.split(chunk), strict=True):
        statistics.update(rows, labels)
    return statistics


@pytest.mark.parametrize("probe", STREAMED, ids=str)
def test_streamed_is_batch(probe: Any) -> None:
    X, y = data()
    batch, stream = probe.fit(X, y), streaming.fit(probe, streamed(X, y))
    np.testing.assert_allclose(stream.direction_, batch.direction_, rtol=1e-8, atol=1e-11)
    np.testing.assert_allclose(stream.decision_function(X), batch.decision_function(X), rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(stream.predict_proba(X), batch.predict_proba(X), rtol=1e-8)
    assert stream.get_params() == probe.get_params() and stream is not probe


def test_moments_are_numpys() -> None:
    X, y = data()
    statistics = streamed(X, y)
    rows, labels = X.numpy(), y.numpy()
    np.testing.assert_allclose(statistics.mean, rows.mean(0), rtol=1e-12)
    np.testing.assert_allclose(statistics.covariance(), np.cov(rows.T, bias=True), rtol=1e-8, atol=1e-10)
    low, high = statistics.class_means()
    np.testing.assert_allclose(low, rows[labels == 0].mean(0), rtol=1e-10)
    np.testing.assert_allclose(high, rows[labels == 1].mean(0), rtol=1e-10)
    within = sum((labels == k).mean() * np.cov(rows[labels == k].T, bias=True) for k in (0, 1))
    np.testing.assert_allclose(statistics.within_covariance(), within, rtol=1e-8, atol=1e-10)
    assert statistics.counts() == (int(labels.sum()), int((1 - labels).sum()))


def test_shards_merge_in_any_order() -> None:
    X, y = data()
    shards = [streamed(rows, labels, 97) for rows, labels in zip(X.split(431), y.split(431), strict=True)]
    whole = streamed(X, y)
    for seed in range(4):
        order = np.random.default_rng(seed).permutation(len(shards))
        merged = reduce(lambda a, b: a.merge(b), [shards[i] for i in order])
        torch.testing.assert_close(merged.mean, whole.mean, rtol=1e-10, atol=0)
        torch.testing.assert_close(merged.scatter, whole.scatter, rtol=1e-10, atol=1e-10 * float(whole.scatter.max()))
        torch.testing.assert_close(merged.mean_true, whole.mean_true, rtol=1e-10, atol=1e-10)
        assert merged.n == whole.n and torch.equal(merged.n_true, whole.n_true)
    assert shards[0].n == 431  # merging leaves its parts alone


def test_merging_with_nothing() -> None:
    X, y = data(100)
    whole = streamed(X, y)
    for merged in (whole.merge(probes.Statistics(30)), probes.Statistics(30).merge(whole)):
        assert merged.n == 100
        torch.testing.assert_close(merged.scatter, whole.scatter)
        torch.testing.assert_close(merged.mean_true, whole.mean_true)
    assert probes.Statistics(30).update(X[:0], y[:0]).n == 0


@pytest.mark.parametrize("d", [4, 64])
def test_massive_activations_keep_their_variance(d: int) -> None:
    """Mean 3,000, variance 1, float32: accurate to 1e-6; unshifted float32 sums are far off."""
    X = torch.randn(100_000, d, generator=torch.Generator().manual_seed(0))
    X[:, 0] += 3000
    covariance = streamed(X, (X[:, 1] > 0).long(), 10_000).covariance()
    exact = torch.cov(X.double().T, correction=0)
    assert float((covariance - exact).abs().max()) < 1e-6
    naive = (X.T @ X)[0, 0] / len(X) - X[:, 0].mean() ** 2
    assert abs(float(naive) - float(exact[0, 0])) > 1e-4


def test_several_labels_share_one_scatter() -> None:
    X, y = data()
    other = (X[:, 3] > X[:, 3].median()).long()
    both = streamed(X, torch.stack([y, other], 1))
    for column, labels in enumerate((y, other)):
        one = streaming.fit(probes.LDA(shrinkage="oas"), both, label=column)
        np.testing.assert_allclose(one.direction_, probes.LDA(shrinkage="oas").fit(X, labels).direction_, rtol=1e-8)


def test_ridge_for_every_strength_and_principal_components() -> None:
    X, y = data(300)
    statistics = streamed(X, y)
    path, batch = streaming.ridge_path(statistics, (0.1, 10.0)), probes.batched.ridge_path(X[None], y, (0.1, 10.0))
    torch.testing.assert_close(path.directions, batch.directions, rtol=1e-8, atol=1e-11)
    variances, vectors = streaming.principal_components(statistics, 3)
    centred = X - X.mean(0)
    _, values, right = torch.linalg.svd(centred, full_matrices=False)
    torch.testing.assert_close(variances, values[:3] ** 2 / len(X), rtol=1e-8, atol=0)
    torch.testing.assert_close((vectors * right[:3]).sum(1).abs(), torch.ones(3).double(), rtol=1e-8, atol=0)


def test_leace_from_streamed_statistics() -> None:
    """The eraser of the streamed moments is that of the rows: class means become equal."""
    X, y = data(500)
    statistics = streamed(X, y)
    low, high = statistics.class_means()
    stream = probes.Leace(shrinkage=None).from_statistics(statistics)
    batch = probes.Leace(shrinkage=None).fit(X, y)
    np.testing.assert_allclose(stream.apply(X), batch.apply(X), rtol=1e-8, atol=1e-8)
    erased = np.asarray(stream.apply(X))
    gap = erased[y == 1].mean(0) - erased[y == 0].mean(0)
    assert np.abs(gap).max() < 1e-8
    assert float((high - low).abs().max()) > 0.1


def test_saved_is_loaded(tmp_path: Path) -> None:
    X, y = data(100)
    statistics = streamed(X, y)
    loaded = probes.Statistics.load(statistics.save(tmp_path))
    for name in ("mean", "scatter", "n_true", "mean_true"):
        assert torch.equal(getattr(loaded, name), getattr(statistics, name))
    loaded.update(X, y)  # and goes on
    torch.testing.assert_close(loaded.scatter, statistics.merge(statistics).scatter)
    with pytest.raises(MissingInputError):
        probes.Statistics.load(tmp_path / "nothing")
    (tmp_path / "arrays.safetensors").write_bytes(b"no")
    with pytest.raises(DamagedFileError):
        probes.Statistics.load(tmp_path)


def test_a_refused_chunk_changes_nothing() -> None:
    X, y = data(50)
    statistics = streamed(X, y)
    before = statistics.scatter.clone()
    dirty = X.clone()
    dirty[40, 2] = float("nan")
    for rows, labels, message in [
        (X[:, 1:], y, r"\(n, 30\), not \(50, 29\)"),
        (dirty, y, "NaN or infinity"),
        (X, y[1:], r"must have shape \(50, 1\) for these rows, not \(49, 1\)"),
        (X, y + 1, "0 .false. and 1 .true."),
    ]:
        with pytest.raises(UsageError, match=message):
            statistics.update(rows, labels)
    assert statistics.n == 50 and torch.equal(statistics.scatter, before)


def test_what_statistics_cannot_answer() -> None:
    X, y = data(50)
    statistics = streamed(X, y)
    for probe, message in [
        (probes.LDA(), 'Ledoit-Wolf shrinkage needs the rows.*"oas"'),
        (probes.MassMean(covariance="shrunk"), 'Only MassMean.covariance="none".'),
        (probes.LogisticRegression(), "LogisticRegression cannot be fitted from statistics"),
    ]:
        with pytest.raises(UsageError, match=message):
            streaming.fit(probe, statistics)
    with pytest.raises(UsageError, match="Label vector 1 does not exist"):
        streaming.fit(probes.MassMean(), statistics, label=1)
    with pytest.raises(UsageError, match="0 of 50 rows are true"):
        streaming.fit(probes.MassMean(), streamed(X, 0 * y))
    with pytest.raises(UsageError, match="width 30 with 1 label vectors cannot be merged"):
        statistics.merge(probes.Statistics(29))
    with pytest.raises(UsageError, match="k must be from 1 to 30"):
        streaming.principal_components(statistics, 31)
    with pytest.raises(UsageError, match="at least 1"):
        probes.Statistics(0)


def test_memory_does_not_grow_with_the_rows() -> None:
    """200,000 rows of 256 are 205 MB; the accumulator is 0.5 MB and a chunk 10 MB: peak memory rises by far less."""
    statistics = probes.Statistics(256)
    generator = torch.Generator().manual_seed(0)

    def take(chunks: int) -> int:
        for _ in range(chunks):
            X = torch.randn(10_000, 256, generator=generator)
            statistics.update(X, X[:, 0] > 0)
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    start = take(2)
    assert take(18) - start < 60_000  # kB
    assert statistics.n == 200_000
