"""Path trees of a contrast against those of a frozen input: seconds, memory, absolute mass.

    python -m benchmarks.contrast [--expansions 500]

Both trees are grown on the same prompt in the same process, so that their ratio holds on a loaded machine too.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from typing import Any

import torch

import interp
from interp import attribution
from interp.attribution.contrast import bytes_needed

CLEAN = "When Mary and John went to the store, John gave a drink to"
OTHER = "When Mary and John went to the store, Mary gave a drink to"


def timed(call: Callable[[], Any], repeats: int = 3) -> tuple[Any, float]:
    """What a call returned, and the processor seconds of the quickest of a few runs."""
    best, result = float("inf"), None
    for _ in range(repeats):
        start = time.process_time()
        result = call()
        best = min(best, time.process_time() - start)
    return result, best


def main() -> None:
    """Read the options, measure, print."""
    parser = argparse.ArgumentParser(description="Path trees of a contrast against frozen ones.")
    parser.add_argument("--expansions", type=int, default=500)
    n = parser.parse_args().expansions
    model = interp.load("smollm2", dtype=torch.float32)
    clean, other = model.to_tokens(CLEAN), model.to_tokens(OTHER)
    target = attribution.logit_difference(model, " Mary", " John")
    frozen, freezing = timed(lambda: attribution.freeze(model, clean))
    pair, contrasting = timed(lambda: attribution.contrast(model, clean, other))
    trees, seconds = {}, {}
    for name, at in (("frozen", frozen), ("contrast", pair)):
        trees[name], seconds[name] = timed(lambda at=at: attribution.path_tree(at, target, n))
    ratio = seconds["contrast"] / seconds["frozen"]
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, float32, {clean.shape[1]} tokens")
    print(f"freeze {freezing:.2f} s, contrast {contrasting:.2f} s of processor time")
    for name, tree in trees.items():
        print(
            f"{name:9} {n} expansions {seconds[name]:.2f} s; total {tree.total:+.3f}, absolute mass {tree.mass:.1f}, "
            f"{tree.mass / abs(tree.total):.1f} times the total; 20 paths carry {tree.coverage(20):.1%}; "
            f"error {tree.error:.0e}"
        )
    print(f"contrast over frozen, per expansion: {ratio:.2f}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    held = bytes_needed(model, 1, clean.shape[1]) / 1e6
    print(f"a contrast holds {held:.0f} MB at most; peak of the process {peak:.0f} MB")


if __name__ == "__main__":
    main()
