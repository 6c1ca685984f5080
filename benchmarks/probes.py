"""Cost of probes: logistic sweeps against scikit-learn, all probes, and a long stream.

    python -m benchmarks.probes [--parts sweep probes stream] [--acts FOLDER] [--layers 31] [--rows 1000000]

1. sweep: every layer × 4 folds × 5 strengths on 970 rows of 576 dimensions, here and by scikit-learn, layer by layer in
   turn so that both meet the same load. Each scikit-learn solver runs at a tolerance at which its solutions agree
   with ours as far as it can go, and at its own default, to show what that default gives. Target: 5 times faster than
   the fastest that agrees. Floor: two passes over the rows in float64 (a gradient) for every Newton step.
2. probes: every probe on every layer of 1,500 rows. Target: 60 s for all.
3. stream: random activations of 4,096 dimensions through mass-mean, LDA and ridge in a process of its own.
   Target: 4 GB for 1,000,000 rows.

Without `--acts` (a folder that `probes.Activations.save` wrote) the rows are random, of the shape of real ones: a few
large coordinates, a spectrum that falls off, labels that one direction half explains.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from torch import Tensor

import probes

STRENGTHS = (1e-4, 1e-3, 1e-2, 0.1, 1.0)
SOLVERS = {
    "lbfgs": {"solver": "lbfgs", "tol": 1e-9, "max_iter": 100_000},
    "newton-cholesky": {"solver": "newton-cholesky", "tol": 1e-9, "max_iter": 1000},
    "lbfgs, default tolerance": {"solver": "lbfgs", "max_iter": 1000},
}


def sweep(X: Tensor, y: Tensor) -> None:
    """Measure part 1: the logistic sweep."""
    folds = torch.arange(len(y)) // 2 % 4  # the two rows of an entity stay together
    masks = torch.stack([folds != k for k in range(4)]).double()
    ours, theirs = 0.0, dict.fromkeys(SOLVERS, 0.0)
    gaps = dict.fromkeys(SOLVERS, 0.0)
    probes.batched.logistic_path(X[:1], y, STRENGTHS, masks)  # the first call loads the libraries
    for layer in X:
        seconds, path = timed(lambda layer=layer: probes.batched.logistic_path(layer[None], y, STRENGTHS, masks))
        ours += seconds
        for name, options in SOLVERS.items():
            rows = layer.double().numpy()
            seconds, result = timed(lambda rows=rows, o=options: loop(rows, y.numpy(), masks.numpy(), o))
            theirs[name] += seconds
            gap = np.abs(result - path.directions[:, 0].numpy()).max(-1) / np.abs(result).max(-1).clip(1e-12)
            gaps[name] = max(gaps[name], float(gap.max()))
    fits = len(X) * len(masks) * len(STRENGTHS)
    print(f"sweep: {fits} fits of {X.shape[1]} rows × {X.shape[2]}, {torch.get_num_threads()} threads")
    print(f"  interp                    {ours:7.2f} s   gradient left {path.gradient:.0e}")
    for name in SOLVERS:
        ratio = theirs[name] / ours
        print(f"  {name:25s} {theirs[name]:7.2f} s   {ratio:5.1f} times ours, solutions within {gaps[name]:.0e}")
    print(f"  one gradient of each fit  {gradient_floor(X, len(masks)) * len(STRENGTHS):7.2f} s")


def loop(X: np.ndarray, y: np.ndarray, masks: np.ndarray, options: dict) -> np.ndarray:
    """Return scikit-learn's directions (fold, strength, d) in raw space.

    Each fold is standardised once.
    """
    result = []
    for mask in masks > 0:
        scaler = StandardScaler().fit(X[mask])
        rows = scaler.transform(X[mask])
        for strength in STRENGTHS:
            fit = LogisticRegression(C=strength, **options).fit(rows, y[mask])
            result.append(fit.coef_[0] / scaler.scale_)
    return np.array(result).reshape(len(masks), len(STRENGTHS), -1)


def gradient_floor(X: Tensor, folds: int) -> float:
    """Return seconds of both products of one gradient for every layer and fold.

    They are the best of three.
    """
    rows = X.double()
    weights = torch.randn(folds, X.shape[2], dtype=torch.float64)
    return min(timed(lambda: [(weights @ layer.T) @ layer for layer in rows])[0] for _ in range(3))


def every_probe(X: Tensor, y: Tensor) -> None:
    """Measure part 2: every probe."""
    polarity = torch.where(torch.arange(len(y)) % 2 == 0, 1, -1)
    pairs = [str(i // 2) for i in range(len(y))]
    total_seconds = 0.0
    print(f"probes: {len(X)} layers of {X.shape[1]} rows × {X.shape[2]}")
    for probe in (
        probes.LogisticRegression(),
        probes.MassMean(),
        probes.MassMean(covariance="shrunk"),
        probes.LDA(),
        probes.Ridge(),
        probes.CCS(),
        probes.CRC(),
        probes.TTPD(),
        probes.SAPLMA(),
    ):
        seconds, _ = timed(lambda probe=probe: probes.batched.fit_layers(probe, X, y, pairs=pairs, polarity=polarity))
        total_seconds += seconds
        print(f"  {probe!s:32s} {seconds:7.2f} s")
    print(f"  all of them                      {total_seconds:7.2f} s")


def stream(rows: int, width: int = 4096, chunk: int = 4096) -> None:
    """Measure part 3, in a process of its own for its peak memory."""
    process = multiprocessing.get_context("spawn").Process(target=_stream, args=(rows, width, chunk))
    process.start()
    process.join()


def _stream(rows: int, width: int, chunk: int) -> None:
    generator = torch.Generator().manual_seed(0)
    planted = torch.randn(width, generator=generator)
    statistics = probes.Statistics(width)
    drawing, start = 0.0, time.perf_counter()
    for first in range(0, rows, chunk):
        before = time.perf_counter()
        y = torch.rand(min(chunk, rows - first), generator=generator) > 0.5
        X = torch.randn(len(y), width, generator=generator)
        X += 0.02 * (2 * y.float() - 1)[:, None] * planted
        X[:, 0] += 3000
        drawing += time.perf_counter() - before
        statistics.update(X, y)
    taking = time.perf_counter() - start - drawing
    print(f"stream: {rows:,} rows × {width}, {torch.get_num_threads()} threads")
    print(f"  taken in                  {taking:7.1f} s   ({rows / taking:,.0f} rows/s; drawing {drawing:.1f} s)")
    for probe in (probes.MassMean(), probes.LDA(shrinkage="oas"), probes.Ridge(alpha=100.0)):
        seconds, fitted = timed(lambda probe=probe: probes.streaming.fit(probe, statistics))
        result = torch.from_numpy(fitted.direction_).float()
        cosine = torch.cosine_similarity(result[1:], planted[1:], dim=0)
        print(f"  {probe!s:25s} {seconds:7.1f} s   cosine with the planted direction {cosine:.4f}")
    print(f"  variance of the coordinate of mean 3,000: {float(statistics.covariance()[0, 0]):.6f}")
    print(f"  peak memory               {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:7.2f} GB")


def timed(run: Callable[[], Any]) -> tuple[float, Any]:
    """Return (seconds, the result)."""
    start = time.perf_counter()
    result = run()
    return time.perf_counter() - start, result


def random_rows(layers: int, n: int, d: int) -> tuple[Tensor, Tensor]:
    """Return activations of the shape of real ones, and labels."""
    generator = torch.Generator().manual_seed(0)
    y = (torch.rand(n, generator=generator) > 0.5).long()
    spectrum = torch.arange(1, d + 1) ** -0.5
    X = torch.randn(layers, n, d, generator=generator) * spectrum @ torch.randn(d, d, generator=generator) / d**0.5
    X += 0.3 * (2 * y - 1)[:, None] * torch.randn(layers, 1, d, generator=generator) * X.std()
    X[..., :3] += torch.tensor([3000.0, -500.0, 100.0])
    return X, y


def main() -> None:
    """Run the parts asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", default=["sweep", "probes"], choices=["sweep", "probes", "stream"])
    parser.add_argument("--acts", help="a folder that Activations.save wrote")
    parser.add_argument("--layers", type=int, default=31)
    parser.add_argument("--rows", type=int, default=1_000_000, help="of the stream")
    options = parser.parse_args()
    if "stream" in options.parts:
        stream(options.rows)
    if options.parts == ["stream"]:
        return
    if options.acts:
        acts = probes.Activations.load(options.acts)
        X, y = acts.values[0], torch.as_tensor(acts.data.labels).long()
    else:
        X, y = random_rows(31, 1500, 576)
    X = X[torch.linspace(0, len(X) - 1, options.layers).long()]
    if "sweep" in options.parts:
        sweep(X[:, :970].contiguous(), y[:970])
    if "probes" in options.parts:
        every_probe(X[:, :1500].contiguous(), y[:1500])
    print(f"peak memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")


if __name__ == "__main__":
    main()
