"""Sparse autoencoders against sae-lens and others: speed, and quality at equal activations.

    python -m benchmarks.saes --speed [--quick]                # minutes; --widths 4608 18432
    python -m benchmarks.saes --quality [--steps 200]          # longer: three learning rates for every method
    python -m benchmarks.saes --store out/acts [--steps 120]   # the same on harvested activations, three seeds

d_in 576, batch 2048, k 32. Activations are made: sums of features whose frequencies follow a power law, of which
24 fire on average, plus a common offset. Truth and initial weights have seeds far apart, and the matched cosine before
training is printed: it must be that of a random dictionary. Every method is given the same batches in the same order,
the same warm-up, a decoder bias of the data's mean (its own habit if it has one), and a dead window short enough that
its auxiliary loss acts. Peers are optional; `benchmarks/_saes_peers.py` says how to install them.

The floor is what no trainer with an exact selection can go below: the encoder's product and one pass of fused Adam.
"""

from __future__ import annotations

import argparse
import functools
import gc
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from benchmarks._saes_peers import Make, Ours, Task, Trainer, methods
from interp import cache
from saes.architectures import topk
from saes.config import ARCHITECTURES
from saes.kernels.encode import half_is_quicker
from saes.kernels.support import Sparse
from saes.training import trainer as training

D, BATCH, K, FEATURES, ACTIVE = 576, 2048, 32, 4096, 24
TRUTH_SEED, INIT_SEED = 982_451_653, 17
QUICK = 1152
RATES = (1e-3, 3e-3, 1e-2)
STORE_RATES = (3e-3, 1e-2, 3e-2)
BASE = "sae-lens topk"
Clock = Callable[[], float]


class Truth:
    """Unit features, the probability of each, and batches of what they make."""

    def __init__(self) -> None:
        self.generator = torch.Generator().manual_seed(TRUTH_SEED)
        self.features = torch.nn.functional.normalize(torch.randn(FEATURES, D, generator=self.generator))
        power = torch.arange(1, FEATURES + 1.0) ** -0.8
        self.probability = (power * ACTIVE / power.sum()).clamp(max=0.5)
        self.offset = torch.randn(D, generator=self.generator) / D**0.5

    def batch(self) -> Tensor:
        """Return a batch (2048, 576)."""
        fires = torch.rand(BATCH, FEATURES, generator=self.generator) < self.probability
        strength = 0.5 + torch.rand(BATCH, FEATURES, generator=self.generator)
        return (fires * strength) @ self.features + self.offset

    def cosine(self, decoder: Tensor) -> Tensor:
        """Return, for each feature, the largest cosine with a decoder row."""
        rows = torch.nn.functional.normalize(decoder)
        return torch.cat([(part @ rows.T).max(1).values for part in self.features.split(512)])


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("--quality", action="store_true")
    parser.add_argument("--quick", action="store_true", help="one small width, few steps: does it run?")
    parser.add_argument("--widths", type=int, nargs="+", default=[4608, 18432])
    parser.add_argument("--steps", type=int, default=200, help="of each quality run")
    text = "what the quality runs train"
    parser.add_argument("--kinds", nargs="+", default=["topk", "batchtopk"], choices=["topk", "batchtopk"], help=text)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--store", help="a folder of `interp cache run`, for the quality on its activations")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    precisions = ("float32", "bfloat16") if half_is_quicker("auto", torch.device("cpu")) else ("float32",)
    print(f"torch {torch.__version__}, {platform.machine()}, {args.threads} threads, load {os.getloadavg()[0]:.1f}")
    print(f"d_in {D}, batch {BATCH}, k {K}\n")
    truth = Truth()
    batches = [truth.batch() for _ in range(8 if args.quick else 24)]
    if args.speed or not (args.quality or args.store):
        for width in (QUICK,) if args.quick else args.widths:
            speed(width, batches, precisions, quick=args.quick)
    if args.quality:
        width, steps = (QUICK, 12) if args.quick else (args.widths[0], args.steps)
        quality(width, truth, methods(tuple(args.kinds), precisions), steps)
    if args.store:
        quality_on_store(args.widths[0], args.store, methods(tuple(args.kinds), precisions), args.steps)


def speed(width: int, batches: list[Tensor], precisions: tuple[str, ...], quick: bool) -> None:
    """Measure the median time of a step: the better of two rounds, the second in reverse."""
    architectures = ARCHITECTURES if width <= 4608 else ("topk", "batchtopk", "jumprelu")
    makers, missing = methods(architectures, precisions)
    print("\n".join(missing))
    times: dict[str, float] = {}
    dead: dict[str, float] = {}
    for order in (list(makers),) if quick else (list(makers), list(makers)[::-1]):
        for name in order:
            result, share = timed(makers[name], width, batches, warm=4, steps=2 if quick else 4)
            times[name] = min(result, times.get(name, result))
            dead[name] = share
            print(f"{name}: {1e3 * result:.0f} ms", file=sys.stderr, flush=True)
    base = times.get(BASE)
    print(f"\n| width {width} | ms a step | activations/s | × {BASE} | × sae-lens, same kind | dead % |")
    print("|---|---|---|---|---|---|")
    for name, seconds in times.items():
        same = times.get(f"sae-lens {name.split()[1]}")
        ratios = " | ".join(f"{other / seconds:.2f}" if other else "" for other in (base, same))
        print(f"| {name} | {1e3 * seconds:.1f} | {BATCH / seconds:,.0f} | {ratios} | {100 * dead[name]:.1f} |")
    print()
    for precision in precisions:
        phases(width, batches, precision)


def timed(make: Make, width: int, batches: list[Tensor], warm: int, steps: int) -> tuple[float, float]:
    """Return median seconds of a step after `warm` of them, and the fraction of dead latents."""
    trainer = make(Task(D, width, K, 1000, 1e-3, window=1, seed=INIT_SEED, first=batches[0]))
    result = []
    for number in range(warm + steps):
        started = time.perf_counter()
        trainer.step(batches[number % len(batches)])
        result.append(time.perf_counter() - started)
    share = trainer.dead()
    del trainer
    gc.collect()
    return statistics.median(result[warm:]), share


def floor(width: int, precision: str, clock: Clock = time.perf_counter) -> tuple[float, float]:
    """Return seconds of the encoder's product and of fused Adam: the best of five."""
    dtype = getattr(torch, precision)
    x, encoder, out = (
        torch.randn(BATCH, D).to(dtype),
        torch.randn(width, D).to(dtype),
        torch.empty(BATCH, width, dtype=dtype),
    )
    weights = [torch.nn.Parameter(torch.randn(width, D)) for _ in range(2)]
    for weight in weights:
        weight.grad = torch.randn(width, D)
    adam = torch.optim.Adam(weights, fused=True)
    return best(lambda: torch.mm(x, encoder.T, out=out), clock), best(adam.step, clock)


def best(call: Callable[[], Any], clock: Clock, rounds: int = 5) -> float:
    """Return the least seconds."""
    result = []
    for _ in range(rounds + 1):
        started = clock()
        call()
        result.append(clock() - started)
    return min(result[1:])


def phases(width: int, batches: list[Tensor], precision: str, steps: int = 6) -> None:
    """Measure where the time of a topk step goes, by wrapping the kernels."""
    spent: dict[str, float] = {}
    task = Task(D, width, K, 1000, 1e-3, window=1, seed=INIT_SEED, first=batches[0])
    ours = Ours(task, "topk", precision)
    for batch in batches[:4]:
        ours.step(batch)
    places: list[tuple[Any, str, str]] = [
        (topk.Batch, "pre", "encoder product"),
        (topk, "top_rows", "choosing the k largest"),
        (Sparse, "at", "float32 values and their gradient"),
        (Sparse, "combine", "decoder"),
        (Sparse, "spread", "gradients of encoder and decoder"),
        (topk, "revive", "auxiliary loss"),
        (training.Trainer, "_update", "projection, clipping, Adam, unit rows"),
        (training.Trainer, "_next", "batch: check and scale"),
    ]
    with_clock = [(where, name, getattr(where, name), label) for where, name, label in places]
    for where, name, call, label in with_clock:
        setattr(where, name, _clocked(call, label, spent))
    started = time.perf_counter()
    for batch in (batches * steps)[:steps]:
        ours.step(batch)
    total = time.perf_counter() - started
    for where, name, call, _ in with_clock:
        setattr(where, name, call)
    product, adam = floor(width, precision)
    print(f"| topk, width {width}, {precision} | ms |\n|---|---|")
    for label, seconds in spent.items():
        print(f"| {label} | {1e3 * seconds / steps:.1f} |")
    print(f"| everything else | {1e3 * (total - sum(spent.values())) / steps:.1f} |")
    print(f"| total | {1e3 * total / steps:.1f} |")
    print(f"| floor: product {1e3 * product:.1f} + Adam {1e3 * adam:.1f} | {1e3 * (product + adam):.1f} |\n")


def _clocked(call: Callable[..., Any], label: str, spent: dict[str, float]) -> Callable[..., Any]:
    @functools.wraps(call)
    def clocked(*args: Any, **kwargs: Any) -> Any:
        started = time.perf_counter()
        try:
            return call(*args, **kwargs)
        finally:
            spent[label] = spent.get(label, 0.0) + time.perf_counter() - started

    return clocked


def quality(width: int, truth: Truth, compared: tuple[dict[str, Make], list[str]], steps: int) -> None:
    """Measure held-out FVU and matched cosine at the best of three learning rates."""
    batches = [truth.batch() for _ in range(min(steps, 100))]
    heldout = torch.cat([truth.batch() for _ in range(4)])
    makers, missing = compared
    print("\n".join(missing))
    often = truth.probability.topk(1024).indices
    print(
        f"\nwidth {width}, {steps} steps = {steps * BATCH:,} activations ({len(batches)} batches used again), window 20"
    )
    print("| method | best lr | FVU | L0 | dead % | cosine at init | cosine | of the 1,024 most frequent | FVU by lr |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name, make in makers.items():
        runs = []
        for lr in RATES:
            task = Task(D, width, K, steps, lr, window=20, seed=INIT_SEED, first=batches[0])
            runs.append((*_run(make(task), batches, steps, truth, heldout), lr))
        fvu, l0, dead, start, cosine, lr = min(runs, key=lambda run: run[0])
        by_lr = ", ".join(f"{run[0]:.3f}" for run in runs)
        shown = (
            f"{fvu:.3f} | {l0:.1f} | {100 * dead:.1f} | {start:.3f} | {cosine.mean():.3f} | {cosine[often].mean():.3f}"
        )
        print(f"| {name} | {lr:g} | {shown} | {by_lr} |", flush=True)


def quality_on_store(width: int, folder: str, compared: tuple[dict[str, Make], list[str]], steps: int) -> None:
    """Measure held-out FVU on harvested activations, over three seeds at the best of three learning rates.

    Attention sinks are left out, and all methods are given activations of mean norm sqrt(d). The last 8,192 rows, of
    contexts that are not trained on, are held out.
    """
    rows = torch.cat(list(cache.Store.open(folder).batches(BATCH, seed=None)))
    norms = torch.linalg.vector_norm(rows, dim=1)
    rows = rows[norms < 10 * norms.median()]
    rows *= rows.shape[1] ** 0.5 / torch.linalg.vector_norm(rows, dim=1).mean()
    rows, heldout = rows[:-8192], rows[-8192:]
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(INIT_SEED))
    batches = [rows[part] for part in order.split(BATCH) if len(part) == BATCH]
    makers, missing = compared
    print("\n".join(missing))
    print(f"\nwidth {width}, {steps} steps; {len(batches) * BATCH:,} rows, used again after {len(batches)} steps")
    print("| method | best lr | FVU, mean of three seeds | smallest, largest | L0 | dead % | FVU by lr, one seed |")
    print("|---|---|---|---|---|---|---|")
    for name, make in makers.items():

        def run(lr: float, seed: int, make: Make = make) -> tuple[float, float, float]:
            trainer = make(Task(rows.shape[1], width, K, steps, lr, window=20, seed=seed, first=batches[0]))
            for batch in _cycle(batches, steps):
                trainer.step(batch)
            return *_error(trainer, heldout), trainer.dead()

        by_lr = {lr: run(lr, INIT_SEED) for lr in STORE_RATES}
        lr = min(by_lr, key=lambda one: by_lr[one][0])
        runs = [by_lr[lr], *(run(lr, INIT_SEED + other) for other in (1, 2))]
        fvu, l0, dead = ([one[part] for one in runs] for part in range(3))
        tried = ", ".join(f"{one[0]:.3f} ({rate:g})" for rate, one in by_lr.items())
        ends = f"{min(fvu):.3f}, {max(fvu):.3f}"
        rest = f"{statistics.mean(l0):.1f} | {100 * statistics.mean(dead):.1f} | {tried}"
        print(f"| {name} | {lr:g} | {statistics.mean(fvu):.3f} | {ends} | {rest} |", flush=True)


def _error(trainer: Trainer, heldout: Tensor) -> tuple[float, float]:
    """Return the fraction of variance of held-out rows that is unexplained, and the mean number of active latents."""
    out, l0 = trainer.reconstruct(heldout)
    return float((out - heldout).square().sum() / (heldout - heldout.mean(0)).square().sum()), l0


def _run(
    trainer: Trainer, batches: list[Tensor], steps: int, truth: Truth, heldout: Tensor
) -> tuple[float, float, float, float, Tensor]:
    """Return (FVU, L0, dead fraction, matched cosine at the start and at the end) of a run."""
    start = float(truth.cosine(trainer.decoder()).mean())
    for batch in _cycle(batches, steps):
        trainer.step(batch)
    fvu, l0 = _error(trainer, heldout)
    return fvu, l0, trainer.dead(), start, truth.cosine(trainer.decoder())


def _cycle(batches: list[Tensor], steps: int) -> Iterator[Tensor]:
    for number in range(steps):
        yield batches[number % len(batches)]


if __name__ == "__main__":
    main()
