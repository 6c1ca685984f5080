"""Errors and cost of contrasts: path trees against frozen ones, sums in float64, edge scores.

    python -m benchmarks.contrast [--expansions 500]
    python -m benchmarks.contrast --check [--pairs 20]
    python -m benchmarks.contrast --speed [--pairs 6]
    python -m benchmarks.contrast --readers country_capital [--pairs 6]

Both trees are grown on the same prompt in the same process, so that their ratio holds on a loaded machine too. With
`--check`, random pairs of prompts in float64: by how much sums of attributions miss the observed difference, relative
to it. With `--speed`, processor seconds of secant edge scores against those of integrated gradients in one run. With
`--readers`, where the two differ: correlations of their scores of edges into queries and keys, values, MLPs, logits.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

import interp
from interp import attribution, discovery, tasks
from interp.attribution.pairs import bytes_needed
from interp.attribution.results import LogitTarget

CLEAN = "When Mary and John went to the store, John gave a drink to"
OTHER = "When Mary and John went to the store, Mary gave a drink to"


def timed(call: Callable[[], Any], repeats: int = 3) -> tuple[Any, float]:
    """Return the result of a call, and the least processor seconds of a few runs."""
    best, result = float("inf"), None
    for _ in range(repeats):
        start = time.process_time()
        result = call()
        best = min(best, time.process_time() - start)
    return result, best


def check(n: int, seed: int = 0) -> None:
    """Compare sums over sources, edges and a tree of random pairs of prompts.

    Edges are those into the target; the tree has its remainder.
    """
    model = interp.load("smollm2", dtype=torch.float64)
    target = attribution.logit_difference(model, " the", " a")
    generator = torch.Generator().manual_seed(seed)
    worst: dict[str, float] = {}
    for _ in range(n):
        n_token = int(torch.randint(8, 13, (), generator=generator))
        clean, other = torch.randint(0, model.spec.d_vocab, (2, 1, n_token), generator=generator)
        for name, error in missed(model, clean, other, target).items():
            worst[name] = max(worst.get(name, 0.0), error)
    print(
        f"{n} random pairs of 8 to 12 tokens, float64, seed {seed}: largest error relative to the observed difference"
    )
    for name, error in worst.items():
        print(f"{name:10} {error:.1e}")


def missed(model: interp.Model, clean: torch.Tensor, other: torch.Tensor, target: LogitTarget) -> dict[str, float]:
    """Return how far each sum is from the difference of two forward passes, relative to it."""
    first, second = (model(tokens)[0, -1, list(target.tokens)] for tokens in (clean, other))
    observed = float((first - second) @ torch.tensor(target.weights, dtype=first.dtype))
    pair = attribution.contrast(model, clean, other)
    edges, tree = attribution.edges(pair, target), attribution.path_tree(pair, target, 30)
    children = np.flatnonzero(tree.parent == 0)
    sums = {
        "sources": attribution.sources(pair, target).array.sum(),
        "edges": edges.array.reshape(len(edges.readers), -1)[-1].sum(),
        "tree": tree.value[children[children > 0]].sum() + tree.remainder[0],
    }
    return {name: abs(float(result) - observed) / abs(observed) for name, result in sums.items()}


def speed(n: int, repeats: int = 3) -> None:
    """Measure processor seconds of edge scores on indirect objects.

    They are the least of a few alternating runs.
    """
    model = interp.load("smollm2", dtype=torch.float32)
    task = tasks.ioi(model, n=n, seed=0)
    best = dict.fromkeys(("secant", "eap", "eap-ig-inputs"), float("inf"))
    for _ in range(repeats):
        for method in best:
            _, seconds = timed(lambda method=method: discovery.score(model, task, method), 1)
            best[method] = min(best[method], seconds)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, float32, {n} pairs of indirect objects")
    for method, seconds in best.items():
        print(f"{method:14} {seconds:.2f} s, {seconds / best['eap-ig-inputs']:.0%} of eap-ig-inputs with 5 steps")


def by_reader(name: str, n: int) -> None:
    """Compare edge scores of the secant with five integrated gradients, by reader."""
    model = interp.load("smollm2", dtype=torch.float32)
    fit, _ = tasks.make(name, model, n=2 * n, seed=0).split(0.5, seed=0, by="pair")
    ours, theirs = (discovery.score(model, fit, method) for method in ("secant", "eap-ig-inputs"))
    kinds = {"q": "queries and keys", "k": "queries and keys", "v": "values"}
    of_reader = [kinds.get(name.partition(".")[2], name.rstrip("0123456789")) for name in ours.graph.readers]
    kind = np.array(of_reader)[ours.graph.reader]
    for one in dict.fromkeys(of_reader):
        first, second = ours.array[kind == one], theirs.array[kind == one]
        mass = np.abs(first).sum() / np.abs(ours.array).sum()
        print(f"{name}, edges into {one}: correlation {np.corrcoef(first, second)[0, 1]:.4f}, {mass:.0%} of the mass")


def main() -> None:
    """Read the options, measure, print."""
    parser = argparse.ArgumentParser(description="What a contrast misses, and what it costs.")
    parser.add_argument("--expansions", type=int, default=500)
    parser.add_argument("--check", action="store_true", help="sums against the observed difference in float64")
    parser.add_argument("--speed", action="store_true", help="seconds of edge scores against integrated gradients")
    parser.add_argument("--readers", metavar="TASK", help="where secant and integrated gradients differ")
    parser.add_argument("--pairs", type=int, help="pairs of --check (20) or --speed (6)")
    args = parser.parse_args()
    if args.check:
        check(args.pairs or 20)
    elif args.readers:
        by_reader(args.readers, args.pairs or 6)
    elif args.speed:
        speed(args.pairs or 6)
    else:
        trees(args.expansions)


def trees(n: int) -> None:
    """Measure seconds, absolute mass and memory of the path tree of a contrast and a frozen input."""
    model = interp.load("smollm2", dtype=torch.float32)
    clean, other = model.to_tokens(CLEAN), model.to_tokens(OTHER)
    target = attribution.logit_difference(model, " Mary", " John")
    frozen, freezing = timed(lambda: attribution.freeze(model, clean))
    pair, contrasting = timed(lambda: attribution.contrast(model, clean, other))
    grown, seconds = {}, {}
    for name, at in (("frozen", frozen), ("contrast", pair)):
        grown[name], seconds[name] = timed(lambda at=at: attribution.path_tree(at, target, n))
    ratio = seconds["contrast"] / seconds["frozen"]
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, float32, {clean.shape[1]} tokens")
    print(f"freeze {freezing:.2f} s, contrast {contrasting:.2f} s of processor time")
    for name, tree in grown.items():
        print(
            f"{name:9} {n} expansions {seconds[name]:.2f} s; total {tree.total:+.3f}, absolute mass {tree.mass:.1f}, "
            f"{tree.mass / abs(tree.total):.1f} times the total; 20 paths carry {tree.coverage(20):.1%}; "
            f"error {tree.error:.0e}"
        )
    print(f"contrast over frozen, per expansion: {ratio:.2f}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    needed = bytes_needed(model, 1, clean.shape[1]) / 1e6
    print(f"a contrast needs {needed:.0f} MB at most; peak of the process {peak:.0f} MB")


if __name__ == "__main__":
    main()
