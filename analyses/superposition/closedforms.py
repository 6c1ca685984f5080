"""Identities of linear models that the toolkit relies on, checked numerically."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from analyses.superposition.base import Check, ToyStudy
from interp.progress import Progress
from interp.provenance import Stopwatch
from interp.results import Result

if TYPE_CHECKING:
    from interp.report import Section

Identity = Callable[[np.random.Generator], tuple[float, float]]
"""Function that draws a problem and returns (difference of the two sides, largest difference allowed)."""


@dataclass(frozen=True, eq=False)
class Config(Result):
    """Seed of the random problems, one for each identity.

    >>> Config(seed=1)
    Config(seed=1)
    """

    seed: int = 0


@dataclass(frozen=True, eq=False)
class ClosedForms(ToyStudy):
    """Checks of all identities.

    The numbers are differences that should be 0.
    """

    title = "Closed forms of linear models"
    limitations = ("Identities in expectation are estimated by sampling; their bands are five standard errors.",)

    config: Config

    def finding(self) -> str:
        """Return how many identities hold."""
        count = sum(check.passed for check in self.checks)
        return f"{count} of {len(self.checks)} identities hold to rounding, or to sampling error where they are means."

    def sections(self) -> tuple[Section, ...]:
        """Return one section: a table of the identities and their uses."""
        from interp.report import Section, Table

        rows = tuple((name, equation, use) for name, (equation, use, _) in IDENTITIES.items())
        table = Table(("identity", "equation", "used for"), rows)
        return (
            Section("identities", "Identities", "Each identity is used by another method of the toolkit.", (table,)),
        )


def run(
    config: Config, *, device: str = "cpu", command: str | None = None, progress: Progress | None = None
) -> ClosedForms:
    """Evaluate both sides of every identity."""
    watch, checks = Stopwatch(), []
    for done, (name, (equation, _, identity)) in enumerate(IDENTITIES.items()):
        difference, allowed = identity(np.random.default_rng([config.seed, done]))
        checks.append(Check(name, equation, difference, -np.inf, allowed))
        if progress:
            progress(done + 1, len(IDENTITIES), name)
    return ClosedForms(tuple(checks), watch.provenance(command=command, seed=config.seed, device=device), config)


def _data(rng: np.random.Generator, n: int = 200, d: int = 6) -> np.ndarray:
    """Draw (n, d) centred data of distinct variances."""
    x = rng.normal(size=(n, d)) * np.linspace(2, 0.5, d)
    return x - x.mean(0)


def _autoencoder_is_pca(rng: np.random.Generator) -> tuple[float, float]:
    """Check that a linear autoencoder's loss is the tail of the spectrum.

    The autoencoder has 3 hidden units and is fitted by alternating least squares.
    """
    x = _data(rng)
    decoder = rng.normal(size=(3, 6))
    for _ in range(2000):
        hidden = x @ decoder.T @ np.linalg.inv(decoder @ decoder.T)
        decoder = np.linalg.solve(hidden.T @ hidden, hidden.T @ x)
    loss = np.square(x - x @ decoder.T @ np.linalg.inv(decoder @ decoder.T) @ decoder).sum()
    tail = np.square(np.linalg.svd(x, compute_uv=False))[3:].sum()
    return abs(loss / tail - 1), 1e-8


def _regularised_autoencoder(rng: np.random.Generator) -> tuple[float, float]:
    """Check the optimum of a regularised linear autoencoder.

    Descent on mean ‖x − W₂W₁x‖² + λ(‖W₁‖² + ‖W₂‖²): at the optimum W₁ = W₂ᵀ and eig(W₂W₁) = 1 − λn/σᵢ².
    """
    x, penalty = _data(rng), 0.1
    n = len(x)
    cov = x.T @ x / n
    w1, w2 = rng.normal(size=(3, 6)) * 0.3, rng.normal(size=(6, 3)) * 0.3
    for _ in range(60_000):
        gap = (w2 @ w1 - np.eye(6)) @ cov
        w1, w2 = w1 - 0.02 * (w2.T @ gap + penalty * w1), w2 - 0.02 * (gap @ w1.T + penalty * w2)
    expected = 1 - penalty * n / np.square(np.linalg.svd(x, compute_uv=False))[:3]
    eigenvalues = np.sort(np.linalg.eigvals(w2 @ w1).real)[::-1][:3]
    return max(np.abs(eigenvalues - expected).max(), np.abs(w1 - w2.T).max()), 1e-6


def _purification(rng: np.random.Generator) -> tuple[float, float]:
    """Check how a ridge penalty shrinks the principal axes.

    The map that rebuilds x from itself under the penalty multiplies each axis by σ²/(σ² + λ).
    """
    x, penalty = _data(rng), 3.0
    solved = np.linalg.solve(x.T @ x + penalty * np.eye(6), x.T @ x)
    _, s, vt = np.linalg.svd(x, full_matrices=False)
    return np.abs(solved - vt.T @ np.diag(s**2 / (s**2 + penalty)) @ vt).max(), 1e-12


def _sample_space_ridge(rng: np.random.Generator) -> tuple[float, float]:
    x, y = rng.normal(size=(10, 50)), rng.normal(size=10)
    primal = np.linalg.solve(x.T @ x + 0.7 * np.eye(50), x.T @ y)
    return np.abs(primal - x.T @ np.linalg.solve(x @ x.T + 0.7 * np.eye(10), y)).max(), 1e-12


def _online_ridge(rng: np.random.Generator) -> tuple[float, float]:
    """Compare rank-one updates of the inverse with the batch solution.

    The updates are those of Sherman-Morrison, after 200 rows.
    """
    x, y = rng.normal(size=(200, 8)), rng.normal(size=200)
    inverse, moment = np.eye(8) / 0.5, np.zeros(8)
    for row, target in zip(x, y, strict=True):
        image = inverse @ row
        inverse -= np.outer(image, image) / (1 + row @ image)
        moment += target * row
    return np.abs(inverse @ moment - np.linalg.solve(x.T @ x + 0.5 * np.eye(8), x.T @ y)).max(), 1e-12


def _noise_is_ridge(rng: np.random.Generator) -> tuple[float, float]:
    """Check that noise on inputs equals a ridge penalty, in standard errors.

    E‖y − (X + N)w‖² − ‖y − Xw‖² = n s²‖w‖² for entries of N of deviation s, over 20 000 draws.
    """
    x, y, w, s = rng.normal(size=(20, 6)), rng.normal(size=20), rng.normal(size=6), 0.4
    noisy = np.square(y - (x + s * rng.normal(size=(20_000, 20, 6))) @ w).sum(1)
    expected = np.square(y - x @ w).sum() + 20 * s**2 * (w @ w)
    return abs(noisy.mean() - expected) / (noisy.std() / np.sqrt(len(noisy))), 5


def _dropout_is_ridge(rng: np.random.Generator) -> tuple[float, float]:
    """Check that dropout equals a scaled ridge penalty, in standard errors.

    Where entries stay with probability p: E‖y − (M∘X)w‖² = ‖y − pXw‖² + p(1 − p)Σⱼ‖Xⱼ‖²wⱼ².
    """
    x, y, w, p = rng.normal(size=(20, 6)), rng.normal(size=20), rng.normal(size=6), 0.7
    masked = (rng.random((20_000, 20, 6)) < p) * x
    losses = np.square(y - masked @ w).sum(1)
    expected = np.square(y - p * x @ w).sum() + p * (1 - p) * np.square(x).sum(0) @ np.square(w)
    return abs(losses.mean() - expected) / (losses.std() / np.sqrt(len(losses))), 5


def _descent_limit(rng: np.random.Generator) -> tuple[float, float]:
    """Check that the limit of gradient descent's rate is 1/σ₁².

    On ‖y − Xw‖² errors shrink at a rate just below it and grow just above.
    """
    x = rng.normal(size=(30, 5))
    top = np.linalg.svd(x, compute_uv=False)[0] ** 2

    def size(rate: float) -> float:
        error = np.ones(5)
        for _ in range(2000):
            error = error - 2 * rate * x.T @ (x @ error)
        return float(np.linalg.norm(error))

    return size(0.99 / top) / size(1.01 / top), 1e-6


IDENTITIES: dict[str, tuple[str, str, Identity]] = {
    "linear autoencoder = principal components": (
        "min loss = Σ_{i>k} σᵢ²",
        "the linear toy model never superposes",
        _autoencoder_is_pca,
    ),
    "regularised linear autoencoder": (
        "W₁ = W₂ᵀ, eig(W₂W₁) = 1 − λn/σᵢ²",
        "weight decay shrinks weak directions and aligns the axes",
        _regularised_autoencoder,
    ),
    "ridge shrinkage": (
        "W = V diag(σ²/(σ² + λ)) Vᵀ",
        "the linear ceiling of denoising and of autoencoders",
        _purification,
    ),
    "ridge in sample space": (
        "(XᵀX + λ)⁻¹Xᵀ = Xᵀ(XXᵀ + λ)⁻¹",
        "probes with fewer samples than dimensions",
        _sample_space_ridge,
    ),
    "online ridge": ("(A + xxᵀ)⁻¹ = A⁻¹ − A⁻¹xxᵀA⁻¹/(1 + xᵀA⁻¹x)", "probes fitted from a stream", _online_ridge),
    "input noise = ridge (standard errors)": (
        "E‖y − (X + N)w‖² = ‖y − Xw‖² + n s²‖w‖²",
        "noisy probes",
        _noise_is_ridge,
    ),
    "dropout = scaled ridge (standard errors)": (
        "E‖y − (M∘X)w‖² = ‖y − pXw‖² + p(1 − p)Σ‖Xⱼ‖²wⱼ²",
        "probes trained with dropout",
        _dropout_is_ridge,
    ),
    "gradient descent's limit": ("converges iff rate < 1/σ₁²", "learning rates from the spectrum", _descent_limit),
}
"""Name -> (equation, what depends on it, the test)."""
