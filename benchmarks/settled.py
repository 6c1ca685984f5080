"""Steps of autoencoders with a sparsity loss, as a run begins and at the sparsity at which it spends its time.

    python -m benchmarks.settled [--kinds jumprelu standard gated] [--quick]

Our steps cost less as fewer latents fire; those of sae-lens, which are dense, do not. Both take the same batches of
made activations (d_in 576, batches of 2,048, width 4,608, float32, one thread). Steps are timed in turn, ours twice for
each of theirs, in processor seconds: from step 4 on, and again once no more than 52 latents fire on a row, or after 120
steps. The floor is the encoder's product and one pass of fused Adam. L0 is the mean number of latents that fire in the
timed steps.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from itertools import cycle

import torch
from torch import Tensor

from benchmarks._saes_peers import Ours, SaeLens, Task
from benchmarks.saes import INIT_SEED, D, K, Truth, floor

SETTLED, MOST = 52, 120
SPARSITY = 6.0
"""Weight of the sparsity loss: large, so that few latents fire after few steps."""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    kinds = ["jumprelu", "standard", "gated"]
    parser.add_argument("--kinds", nargs="+", default=kinds, choices=kinds)
    parser.add_argument("--quick", action="store_true", help="a small width, few steps: does it run?")
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, {platform.machine()}, one thread, load {os.getloadavg()[0]:.1f}\n")
    print("| kind | step | L0 | ours, ms | sae-lens, ms | × sae-lens | × floor |\n|---|---|---|---|---|---|---|")
    truth = Truth()
    batches = [truth.batch() for _ in range(4 if args.quick else 24)]
    for kind in args.kinds:
        compare(kind, batches, width=256 if args.quick else 4608, most=6 if args.quick else MOST)


def compare(kind: str, batches: list[Tensor], width: int, most: int) -> None:
    """Print the rows of one kind: early steps and settled ones."""
    task = Task(D, width, K, 1000, 1e-3, window=1000, seed=INIT_SEED, first=batches[0])
    ours, peer = (
        Ours(task, kind, "float32", sparsity=SPARSITY, sparsity_warmup=0.05, lr_warmup=0.01),
        SaeLens(task, kind),
    )
    rows = cycle(batches)
    peer.step(next(rows))
    for _ in range(4):
        ours.step(next(rows))
    report(kind, ours, peer, rows, width)
    while ours.metrics["l0"] > SETTLED and ours.metrics["step"] < most:
        ours.step(next(rows))
    report(kind, ours, peer, rows, width)


def report(kind: str, ours: Ours, peer: SaeLens, rows: Iterator[Tensor], width: int) -> None:
    """Time four steps of each, ours twice, and print a row."""
    times: dict[str, list[float]] = {"ours": [], "peer": [], "floor": []}
    active, first = [], ours.metrics["step"]
    for _ in range(4):
        batch = next(rows)
        times["floor"].append(sum(floor(width, "float32", time.process_time)))
        for _ in range(2):
            times["ours"].append(seconds(lambda batch=batch: ours.step(batch)))
            active.append(ours.metrics["l0"])
        times["peer"].append(seconds(lambda batch=batch: peer.step(batch)))
    mine, theirs, least = (statistics.median(values) for values in times.values())
    print(
        f"| {kind} | {first:.0f} | {statistics.mean(active):.0f} | {1e3 * mine:.0f} | {1e3 * theirs:.0f} | "
        f"{theirs / mine:.1f} | {mine / least:.1f} |",
        flush=True,
    )


def seconds(call: Callable[[], object]) -> float:
    """Return the processor seconds of a call."""
    started = time.process_time()
    call()
    return time.process_time() - started


if __name__ == "__main__":
    main()
