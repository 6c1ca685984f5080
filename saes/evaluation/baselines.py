"""Baselines on the same activations.

They are principal components, a random dictionary, and a learned dictionary.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp import coding
from interp.errors import UsageError
from interp.statistics import Bootstrap
from saes.evaluation.recovery import Firing, match
from saes.evaluation.result import Baseline
from saes.evaluation.scores import derived_seed
from saes.evaluation.tally import Tally
from saes.evaluation.truth import Truth

if TYPE_CHECKING:
    from saes.autoencoder import SAE

SAMPLE = 4096
FLOPS = 5e10
"""FLOPs of coding with one dictionary; fewer rows are evaluated if more would be needed."""
BASIS = 32
"""Cost of one entry of OMP's orthonormal basis (read from memory four times), in products of its search."""
KSVD_LONGEST = 128
"""Width above which MOD is used: K-SVD decomposes a (d, d) matrix for every atom and iteration."""
ATOMS, ITERATIONS = 256, 8
FOLDS = 256


@dataclass
class Sample:
    """Uniform sample of the rows of a stream of unknown length.

    The sampled rows are those with the smallest random keys.
    """

    size: int
    draw: np.random.Generator
    keys: np.ndarray
    number: Int[np.ndarray, " n"]
    x: Tensor | None = None
    y: Tensor | None = None

    @classmethod
    def of(cls, size: int, seed: int) -> Sample:
        """Return an empty sample."""
        return cls(size, np.random.default_rng(derived_seed(seed, "sample")), np.zeros(0), np.zeros(0, dtype=np.int64))

    def add(self, numbers: Int[np.ndarray, " n"], x: Tensor, y: Tensor) -> None:
        """Add one batch with the numbers of its rows."""
        keys = np.concatenate([self.keys, self.draw.random(len(x))])
        number = np.concatenate([self.number, numbers])
        smallest = np.sort(np.argsort(keys, kind="stable")[: self.size])
        same = y is x
        x = x if self.x is None else torch.cat([self.x, x])
        y = x if same else (y if self.y is None else torch.cat([self.y, y]))
        self.keys, self.number, self.x = keys[smallest], number[smallest], x[torch.from_numpy(smallest)]
        self.y = self.x if same else y[torch.from_numpy(smallest)]


def baselines(sae: SAE, tally: Tally, sample: Sample, truth: Truth | None, seed: int) -> tuple[Baseline, ...]:
    """Evaluate the autoencoder and each baseline on sampled rows.

    A baseline uses as many directions per row as the autoencoder uses on average.

    Args:
        sae: the autoencoder.
        tally: sums over all rows.
        sample: sampled rows.
        truth: known features, or None.
        seed: seed of the draws.
    """
    assert sample.x is not None and sample.y is not None
    k = max(1, round(float(tally.column("l0").sum()) / tally.rows))
    y = sample.y.flatten(1).double()
    latents, out = sae.run(sample.x)
    directions = None if truth is None else truth.directions
    own = Baseline("this autoencoder", sae.width, 0, None, None)
    if directions is not None:
        decoder = sae.W_dec.detach().cpu().float().numpy()
        own = replace(own, matched=float(match(directions, decoder)[2].sum() / len(directions)))
    l0, error = float((latents != 0).sum(1).float().mean()), (y - out.flatten(1).cpu().double()).square().sum(1)
    y = y - torch.from_numpy(tally.mean)
    own = _judged(own, y, error, l0, seed)
    if sae.variant == "transcoder":
        note = "a transcoder does not rebuild what it reads, as these methods do"
        return own, Baseline("components and dictionaries", 0, 0, None, None, note=note)
    y, half = y.float(), len(y) // 2
    random = coding.random_dictionary(
        sae.width, y.shape[1], generator=torch.Generator().manual_seed(derived_seed(seed, "dictionary"))
    )
    blank = Baseline("random dictionary, OMP", sae.width, 0, None, None)
    drawn = _coded(blank, random, y[half:], k, seed, directions)
    return own, _pca(tally, k), drawn, _learned(y[:half], y[half:], sae.width, k, seed, directions)


def oracle(truth: Truth, sample: Sample) -> tuple[float | None, str]:
    """Compute the firing F1 of the true directions with `omp`.

    Returns None and the reason if that is not possible.
    """
    if truth.coefficients is None:
        return None, "it is not known in which rows a feature is active"
    assert sample.y is not None
    directions = torch.from_numpy(truth.directions).float()
    k = max(1, round(float((truth.coefficients != 0).sum() / len(truth.coefficients))))
    k = min(2 * k, *directions.shape)
    count = _affordable(len(directions), directions.shape[1], k, len(sample.number))
    y = sample.y[:count].flatten(1).float()
    if y.shape[1] != directions.shape[1]:
        return None, "the activations do not have the length of the known directions"
    if truth.offset is not None:
        y = y - torch.from_numpy(truth.offset).float()
    codes = coding.omp(y, directions, k, tolerance=0.1)
    active = truth.coefficients[sample.number[:count]] != 0
    counts = Firing.of(active, (codes != 0).numpy())
    some = counts.active > 0
    return (float(np.nan_to_num(counts.f1[some]).mean()), "") if some.any() else (None, "no feature is active")


def _pca(tally: Tally, k: int) -> Baseline:
    values = tally.eigenvalues
    name = f"principal components, the first {k}"
    if not len(values) or not values.sum():
        why = "the rows are too long for their covariance" if not len(values) else "all rows are the same"
        return Baseline(name, 0, 0, None, None, note=why)
    note = "the best any k fixed directions can do on these very rows: fitted to all of them"
    return Baseline(name, len(values), tally.rows, float(k), float(values[k:].sum() / values.sum()), note=note)


def _learned(train: Tensor, test: Tensor, width: int, k: int, seed: int, directions: np.ndarray | None) -> Baseline:
    """Evaluate a learned dictionary on one half of the sample.

    It is learned from the other half.
    """
    d = train.shape[1]
    name, learn = ("K-SVD, OMP", coding.ksvd) if d <= KSVD_LONGEST else ("MOD, OMP", coding.mod)
    atoms = min(width, ATOMS, len(train) // 2)
    if atoms < 1 or k > min(atoms, d):
        return Baseline(
            name, 0, 0, None, None, note=f"{len(train)} rows are too few to learn {k} directions a row from"
        )
    rows = train[: max(4 * atoms, _affordable(atoms, d, k, len(train), FLOPS / ITERATIONS))]
    note = f"learned from {len(rows):,} other rows"
    note += "" if atoms == width else f"; {atoms:,} atoms, not {width:,}, to keep it quick"
    try:
        atoms_learned = learn(
            rows, atoms, k, iterations=ITERATIONS, generator=torch.Generator().manual_seed(seed)
        ).dictionary
    except (UsageError, RuntimeError) as error:  # a failed decomposition of torch raises RuntimeError
        return Baseline(name, 0, 0, None, None, note=f"it failed: {error}")
    return _coded(Baseline(name, atoms, 0, None, None, note=note), atoms_learned, test, k, seed, directions)


def _coded(
    blank: Baseline, atoms: Tensor, y: Float[Tensor, "n d"], k: int, seed: int, directions: np.ndarray | None
) -> Baseline:
    """Return `blank` with the results of coding `y`.

    `y` is coded by `omp` with these atoms.
    """
    if k > min(atoms.shape):
        return replace(blank, note=f"OMP cannot use {k} of {min(atoms.shape)} directions")
    y = y[: _affordable(len(atoms), atoms.shape[1], k, len(y))]
    codes = coding.omp(y, atoms, k)
    if directions is not None:
        blank = replace(blank, matched=float(match(directions, atoms.numpy())[2].sum() / len(directions)))
    l0 = float((codes != 0).sum(1).float().mean())
    return _judged(blank, y, (y - codes @ atoms).square().sum(1), l0, seed)


def _judged(blank: Baseline, y: Float[Tensor, "n d"], error: Float[Tensor, " n"], l0: float, seed: int) -> Baseline:
    variance = y.double().square().sum(1).numpy()
    if not variance.sum():
        return replace(blank, rows=len(y), l0=l0, note="every row is the same")
    # Rows of a random sample may be grouped into fewer clusters in any way.
    fold, count = np.arange(len(y)) % FOLDS, min(len(y), FOLDS)
    sums = (np.bincount(fold, weights, count) for weights in (error.double().numpy(), variance))
    fvu, low, high = Bootstrap.of(count, seed).ratio(*sums)
    return replace(blank, rows=len(y), l0=l0, fvu=fvu, low=low, high=high)


def _affordable(atoms: int, d: int, k: int, rows: int, flops: float = FLOPS) -> int:
    """Return the number of rows that `omp` codes within `flops`.

    It is at least 64.
    """
    return min(rows, max(64, int(flops / (2 * atoms * d * k + BASIS * k * k * d))))
