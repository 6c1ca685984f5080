"""Toy models: instances x steps a second, of one batched grid, a plain loop, and tms-kit.

    pip install --no-deps tms-kit==0.4.1       # optional: left out of the table when it is not there
    python -m benchmarks.toy [--instances 10 50] [--steps 300] [--threads 2]

All train the same tied ReLU models (5 features, 2 hidden dimensions, batch 1024, Adam) over a range of densities, in
one process, one after the other, two rounds each; the best round counts. tms-kit's own training step is run as its
`optimize` does, without the progress bar. tms-kit draws fresh data for every instance; we draw one set of uniform
numbers and cut it at each instance's density, which is part of the difference: so is a gradient written by hand.
Processor time and wall clock are both given: on a loaded machine only the former is meaningful.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from interp import toy

ROUNDS = 2


def ours(config: toy.Config) -> None:
    """Train all instances as one batched product."""
    toy.train(config)


def one_by_one(config: toy.Config) -> None:
    """Train the same instances in a loop."""
    for density in config.density:
        toy.train(replace(config, density=(density,)))


def their_steps(config: toy.Config) -> None:
    """Train tms-kit's model, data and loss with its training loop's steps."""
    from tms_kit.data import IIDFeatureGenerator
    from tms_kit.loss import ImportanceWeightedLoss
    from tms_kit.model import Model

    count, n = len(config.density), config.features
    density = torch.tensor(config.density).unsqueeze(1).expand(count, n)
    model = Model(n, count, config.hidden, device="cpu")
    data = IIDFeatureGenerator(n, count, density)
    judge = ImportanceWeightedLoss(n, torch.ones(count, n))
    optimiser = torch.optim.Adam(list(model.parameters()), lr=config.lr)
    for _ in range(config.steps):
        optimiser.zero_grad()
        batch = data.generate_batch(config.batch_size)
        judge.calculate_loss(model(batch), batch).backward()
        optimiser.step()


def best(call: Callable[[toy.Config], None], config: toy.Config) -> tuple[float, float]:
    """Return the least wall clock and processor seconds over the rounds."""
    times = []
    for _ in range(ROUNDS):
        wall, cpu = time.perf_counter(), time.process_time()
        call(config)
        times.append((time.perf_counter() - wall, time.process_time() - cpu))
    return min(w for w, _ in times), min(c for _, c in times)


def main() -> None:
    """Print one table per number of instances."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--instances", type=int, nargs="+", default=[10, 50])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(f"torch {torch.__version__}, {os.cpu_count()} cores, {platform.machine()}; tms-kit on {args.threads} threads")
    print(f"load {os.getloadavg()[0]:.1f}; instances x steps per second, best of {ROUNDS}\n")
    for count in args.instances:
        _table(count, args.steps)


def _table(count: int, steps: int) -> None:
    density = tuple(float(p) for p in np.logspace(0, -1.5, count))
    config = toy.Config(5, 2, density=density, steps=steps, batch_size=1024, lr=1e-3, schedule="constant")
    toy.train(replace(config, steps=5))
    methods: list[tuple[str, Callable[[toy.Config], None]]] = [("batched", ours), ("one by one", one_by_one)]
    if importlib.util.find_spec("tms_kit"):
        methods.append(("tms-kit 0.4.1", their_steps))
    else:
        print("tms-kit is not installed: left out")
    print(f"| {count} instances | wall s | cpu s | per wall s | per cpu s | batched is faster by (wall, cpu) |")
    print("|---|---|---|---|---|---|")
    reference = (0.0, 0.0)
    for name, call in methods:
        wall, cpu = best(call, config)
        reference = reference if reference[0] else (wall, cpu)
        work = count * steps
        ratios = f"{wall / reference[0]:.1f}, {cpu / reference[1]:.1f}"
        print(f"| {name} | {wall:.2f} | {cpu:.2f} | {work / wall:,.0f} | {work / cpu:,.0f} | {ratios} |")
    print()


if __name__ == "__main__":
    main()
