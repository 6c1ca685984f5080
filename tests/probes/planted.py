"""Activations in which truth is one known direction, and the same without it."""

from __future__ import annotations

import numpy as np


def planted(n: int = 400, d: int = 30, gap: float = 3.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(X, y, unit direction): noise of unit variance, classes `gap` apart along the direction, large offsets."""
    rng = np.random.default_rng(seed)
    direction = rng.normal(size=d)
    direction /= np.linalg.norm(direction)
    y = (np.arange(n) % 2).astype(int)
    rng.shuffle(y)
    X = rng.normal(size=(n, d)) + gap * (y[:, None] - 0.5) * direction + rng.normal(size=d) * 20
    return X, y, direction


def planted_pairs(
    n: int = 200, d: int = 30, gap: float = 4.0, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(X, y, pairs, polarity, unit direction): each statement with its negation, which is marked by an offset."""
    rng = np.random.default_rng(seed)
    direction, marker = rng.normal(size=(2, d))
    direction /= np.linalg.norm(direction)
    y = rng.integers(0, 2, n)
    labels = np.concatenate([y, 1 - y])
    polarity = np.repeat([1, -1], n)
    X = rng.normal(size=(2 * n, d)) + gap * (labels[:, None] - 0.5) * direction + (polarity[:, None] < 0) * 3 * marker
    return X, labels, np.tile([f"pair {i}" for i in range(n)], 2), polarity, direction


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Return the cosine of two vectors."""
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
