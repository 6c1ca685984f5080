"""One process and two, as `torchrun` starts them: harvest, and steps of autoencoder training.

    python -m benchmarks.processes [--quick] [--counts 1 2]

Every process computes on one thread, so that the second adds a core. Given are seconds on the clock without start-up,
from the moment all processes have loaded the model until the last has finished; the ratio says how much of the added
core is used. Both counts harvest the same store, byte for byte, and end with the same weights up to rounding: the table
gives the checksum of the store and the reconstruction error (FVU) of the last step.

Training exchanges the gradients of encoder, decoder and biases once a step: 4 (2 d m + m + d) bytes for width m.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

import interp
import saes
from benchmarks.harvest import CONTEXT, HOOK
from interp import cache
from interp.cache.pythondocs import python_docs
from saes.runs.processes import Processes, joined
from saes.training.trainer import Trainer

STEPS, WARM = 20, 4


def main() -> None:
    """Start `torchrun` for each number of processes and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--counts", type=int, nargs="+", default=[1, 2], help="numbers of processes")
    parser.add_argument("--quick", action="store_true", help="tiny sizes: does it run?")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        work(args.quick)
        return
    print(f"torch {torch.__version__}, {os.cpu_count()} cores, one thread a process, load {os.getloadavg()[0]:.1f}\n")
    print("| processes | harvest, s | × one | store | steps a second | × one | FVU |")
    print("|---|---|---|---|---|---|---|")
    first: dict[str, Any] = {}
    for count in args.counts:
        got = started(count, args.quick)
        first = first or got
        quicker = first["harvest"] / got["harvest"], got["rate"] / first["rate"]
        print(
            f"| {count} | {got['harvest']:.1f} | {quicker[0]:.2f} | {got['store']} | {got['rate']:.2f} | "
            f"{quicker[1]:.2f} | {got['fvu']:.5f} |",
            flush=True,
        )


def started(count: int, quick: bool) -> dict[str, Any]:
    """Return what the first of `count` processes measured."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(count)]
    command += ["--master-addr", "127.0.0.1", "--master-port", str(port), "-m", "benchmarks.processes", "--worker"]
    run = subprocess.run(
        command + ["--quick"] * quick,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return json.loads(run.stdout.splitlines()[-1])


def work(quick: bool) -> None:
    """Harvest and train as one of the processes; the first prints its measurements."""
    torch.set_num_threads(1)
    model = interp.load("smollm2")
    size = 8 if quick else 128
    shard = 1.2 if quick else 5
    harvest = cache.Config(
        hooks=(HOOK,), context=CONTEXT, batch_size=8, max_tokens=size * CONTEXT, shard_megabytes=shard, dtype="float32"
    )
    with joined("cpu") as group, tempfile.TemporaryDirectory() as own:
        folder = Path(group.gather(own)[0]) / "store"
        group.gather(None)  # all have loaded the model
        start = time.perf_counter()
        cache.harvest(model, python_docs(), harvest, folder, group=group)
        group.gather(None)
        seconds = time.perf_counter() - start
        rate, fvu = trained(cache.Store.open(folder), group, quick)
        if group.rank == 0:
            got = {"harvest": seconds, "store": checksum(folder), "rate": rate, "fvu": fvu}
            print(json.dumps(got), flush=True)
        group.gather(None)  # the store lies in the first one's folder


def trained(store: cache.Store, group: Processes, quick: bool) -> tuple[float, float]:
    """Return steps a second and the FVU of the last one."""
    width, rows = (64, 512) if quick else (4608, 2048)
    config = saes.Config(width=width, k=32, steps=STEPS, batch_size=rows, precision="float32")
    trainer = Trainer(config, store, group=group)
    for _ in range(WARM):
        trainer.step()
    group.gather(None)
    start = time.perf_counter()
    metrics = [trainer.step() for _ in range(STEPS - WARM)]
    group.gather(None)
    return len(metrics) / (time.perf_counter() - start), float(metrics[-1]["fvu"])


def checksum(folder: Path) -> str:
    """Return eight hexadecimal digits of the files of a store."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.is_file():
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:8]


if __name__ == "__main__":
    main()
