"""SAPLMA and the attention-pooled probe: what linear probes miss, seeds, masks, errors."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import probes
from interp.errors import UsageError
from tests.probes.planted import cosine, planted


def tokens(n: int = 300, t: int = 7, d: int = 12, seed: int = 0) -> tuple[np.ndarray, ...]:
    """(X, y, mask, truth direction, key direction): one token of each statement is marked, and it alone holds truth."""
    rng = np.random.default_rng(seed)
    truth, key = np.linalg.qr(rng.normal(size=(d, 2)))[0].T
    y = rng.integers(0, 2, n)
    lengths = rng.integers(3, t + 1, n)
    marked = (rng.random(n) * lengths).astype(int)
    X = rng.normal(size=(n, t, d)) + 5.0
    X += 6 * (rng.choice([-1, 1], (n, t)))[..., None] * truth  # elsewhere the same direction holds noise
    X[np.arange(n), marked] += 8 * key - 6 * truth * np.sign((X[np.arange(n), marked] - 5.0) @ truth)[:, None]
    X[np.arange(n), marked] += 4 * (2 * y - 1)[:, None] * truth
    return X, y, np.arange(t) < lengths[:, None], truth, key


def test_perceptron_reads_what_no_direction_holds() -> None:
    """Exclusive or of two coordinates: linear probes are at chance, the perceptron is not."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(3000, 4))
    y = ((X[:, 0] > 0) ^ (X[:, 1] > 0)).astype(int)
    mlp, linear = probes.SAPLMA().fit(X[:2000], y[:2000]), probes.LDA().fit(X[:2000], y[:2000])
    assert mlp.score(X[2000:], y[2000:]) > 0.85
    assert linear.score(X[2000:], y[2000:]) < 0.5 + 4 * 0.5 / np.sqrt(1000)
    assert not hasattr(mlp, "direction_")


def test_perceptron_without_signal() -> None:
    X, y, _ = planted(n=800, gap=0.0)
    accuracy = probes.SAPLMA().fit(X[:400], y[:400]).score(X[400:], y[400:])
    assert abs(accuracy - 0.5) < 4 * 0.5 / np.sqrt(400)


def test_perceptron_is_seeded_and_standardised() -> None:
    X, y, _ = planted()
    first, again, other = (probes.SAPLMA(seed=seed).fit(X, y) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.decision_function(X), again.decision_function(X))
    assert not np.array_equal(first.decision_function(X), other.decision_function(X))
    moved = probes.SAPLMA().fit(8 * X - 3, y)  # a power of 2, so that standardised rows round alike
    np.testing.assert_allclose(moved.decision_function(8 * X - 3), first.decision_function(X), rtol=1e-3, atol=1e-3)
    assert [weight.shape for weight, _ in first.layers_] == [(30, 256), (256, 128), (128, 64), (64, 1)]


def test_perceptron_leaves_the_global_generator_alone() -> None:
    X, y, _ = planted(n=60)
    state = torch.get_rng_state()
    probes.SAPLMA().fit(X, y)
    probes.CCS(steps=2).fit(X, pairs=[str(i // 2) for i in range(60)], polarity=[1, -1] * 30)
    assert torch.equal(state, torch.get_rng_state())


def test_attention_finds_the_token_and_what_it_says() -> None:
    X, y, mask, truth, key = tokens(n=1200)
    probe = probes.AttentionPooled().fit(X[:800], y[:800], mask=mask[:800])
    # By chance a cosine is about 1 / sqrt(12) = 0.29. The classes are separable, so many directions do.
    assert cosine(probe.direction_, truth) > 0.7 and cosine(probe.query_, key) > 0.8
    accuracy = ((probe.decision_function(X[800:], mask[800:]) > 0) == y[800:]).mean()
    mean = np.where(mask[..., None], X, 0).sum(1) / mask.sum(1, keepdims=True)
    pooled = probes.LogisticRegression().fit(mean[:800], y[:800]).score(mean[800:], y[800:])
    assert accuracy > 0.95 and pooled < 0.8
    assert abs(cosine(probe.query_, truth)) < 0.3


def test_attention_without_signal() -> None:
    X, y, mask, _, _ = tokens(n=800)
    y = np.random.default_rng(3).permutation(y)
    probe = probes.AttentionPooled(steps=50).fit(X[:400], y[:400], mask=mask[:400])
    accuracy = ((probe.decision_function(X[400:], mask[400:]) > 0) == y[400:]).mean()
    assert abs(accuracy - 0.5) < 4 * 0.5 / np.sqrt(400)


def test_attention_sums_to_one_and_padding_never_matters() -> None:
    X, y, mask, _, _ = tokens()
    probe = probes.AttentionPooled(steps=30).fit(X, y, mask=mask)
    weights = probe.attention(X, mask)
    np.testing.assert_allclose(weights.sum(1), 1)
    assert (weights[~mask] == 0).all()
    by_hand = (weights * (X @ probe.direction_)).sum(1) + probe.bias_
    np.testing.assert_allclose(probe.decision_function(X, mask), by_hand, atol=1e-10)
    dirty = np.where(mask[..., None], X, np.nan)
    np.testing.assert_array_equal(probe.decision_function(dirty, mask), probe.decision_function(X, mask))
    again = probes.AttentionPooled(steps=30).fit(dirty, y, mask=mask)
    np.testing.assert_array_equal(again.direction_, probe.direction_)
    longer = np.concatenate([X, 1e3 * np.ones((len(X), 2, X.shape[2]))], axis=1)
    wider = np.concatenate([mask, np.zeros((len(X), 2), dtype=bool)], axis=1)
    np.testing.assert_allclose(probe.decision_function(longer, wider), probe.decision_function(X, mask), rtol=1e-12)


def test_what_attention_refuses() -> None:
    X, y, mask, _, _ = tokens(n=20)
    for arguments, message in [
        ((X[:, 0], y), r"Activations of tokens must have shape \(n, token, d\), not \(20, 12\)"),
        ((np.where(X > 9, np.nan, X), y), "NaN or infinity"),
        ((X, y[:-1]), "20 rows of activations but 19 labels"),
    ]:
        with pytest.raises(UsageError, match=message):
            probes.AttentionPooled().fit(*arguments)
    with pytest.raises(UsageError, match=r"mask must have shape \(n, token\) = \(20, 7\), not \(20, 6\)"):
        probes.AttentionPooled().fit(X, y, mask=mask[:, 1:])
    with pytest.raises(UsageError, match="no token in the mask"):
        probes.AttentionPooled().fit(X, y, mask=np.zeros_like(mask))
    probe = probes.AttentionPooled(steps=1).fit(X, y, mask=mask)
    with pytest.raises(UsageError, match="X has 11 features, but AttentionPooled is expecting 12"):
        probe.decision_function(X[..., 1:], mask)
