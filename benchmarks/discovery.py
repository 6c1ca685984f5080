"""Quality and cost of circuit discovery on SmolLM2: the tables of docs/discovery.md.

    python -m benchmarks.discovery [--parts ioi scoring anchors exact tasks memory] [--seeds 5] [--pairs 12]

1. ioi: f, CPR and CMD of every method on indirect objects. For each seed pairs are drawn, edges scored on the templates
   of one half and circuits judged on those of the other; means over seeds with their smallest and largest value.
2. scoring: CPR on the same twelve pairs by how many others scored the edges, and with every query head's own keys; and
   of single templates, ten pairs to score and twelve to judge.
3. anchors: the known heads of induction in the circuit found for it, and the keys that previous-token heads feed.
4. exact: every edge of one pair run for real, and 200 of them again by a plain loop. Target: 10 minutes on two cores,
   equal to 1e-5.
5. tasks: whether the model can do each task.
6. memory: the peak while 256 pairs are scored.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable

import numpy as np

import interp
from interp import discovery, tasks
from interp.tasks import Task

PARTS = ("ioi", "scoring", "anchors", "exact", "tasks", "memory")
METHODS = ("secant", "eap-ig-inputs", "eap", "relp", "atp", "frozen", "random")


def ioi(seeds: int, pairs: int) -> None:
    """Measure CPR and CMD of every method, chosen on one half and evaluated on the other."""
    model = interp.load("smollm2")
    result: dict[str, list[discovery.Curve]] = {method: [] for method in METHODS}
    seconds: dict[str, list[float]] = {method: [] for method in METHODS}
    for seed in range(seeds):
        first, second = tasks.ioi(model, n=pairs, seed=seed).split(seed=seed)
        for method in METHODS:
            clock = time.process_time()
            scores = discovery.score(model, first, method, seed=seed)
            seconds[method].append(time.process_time() - clock)
            result[method].append(discovery.faithfulness(model, second, scores, seed=seed))
            print(f"seed {seed}: {result[method][-1].summary()}", flush=True)
        _table(result, seconds, pairs)


def _table(curves_of: dict[str, list[discovery.Curve]], seconds: dict[str, list[float]], pairs: int) -> None:
    """Print means over the seeds so far, with the smallest and the largest."""
    some = next(iter(curves_of.values()))
    print(f"\n{pairs} pairs, one half to score and one to judge, {len(some)} seeds: mean (smallest to largest)")
    shares = " | ".join(f"f {size:.1%}" for size in some[0].sizes[:-1])
    print(f"| method | CPR | CMD | log CPR | log CMD | {shares} | CPU s |")
    print("|---|" + "---|" * (len(some[0].sizes) + 4))
    for method, curves in curves_of.items():
        areas = [[c.cpr for c in curves], [c.cmd for c in curves]]
        areas += [[c.log_area["cpr"] for c in curves], [c.log_area["cmd"] for c in curves]]
        f = np.mean([c.f for c in curves], 0)[:-1]
        cells = [f"{np.mean(a):.3f} ({min(a):.3f} to {max(a):.3f})" for a in areas] + [f"{value:.2f}" for value in f]
        print(f"| {method} | " + " | ".join(cells) + f" | {np.mean(seconds[method]):.1f} |", flush=True)


def scoring() -> None:
    """Measure CPR of the secant by the number of pairs that score the edges.

    All are evaluated on the same twelve.
    """
    model = interp.load("smollm2")
    task = tasks.ioi(model, n=52, seed=0)
    judge = task[40:]
    print("| method | pairs | edges | CPR | f .5% | f 20% | CMD |\n|---|---|---|---|---|---|---|")
    runs = [("secant", n, True) for n in (3, 6, 10, 20, 40)] + [("secant", 10, False), ("eap-ig-inputs", 10, True)]
    for method, n, grouped in runs:
        _scored(model, task[:n], judge, method, f"{n} to score", grouped)
    many = tasks.ioi(model, n=320, seed=0)
    for template in sorted(set(many.templates))[:4]:
        own = many[[i for i, name in enumerate(many.templates) if name == template][:22]]
        _scored(model, own[:10], own[10:], "secant", f'"{template}"')


def _scored(model: interp.Model, fit: Task, judge: Task, method: str, pairs: str, grouped: bool = True) -> None:
    curve = discovery.faithfulness(model, judge, discovery.score(model, fit, method, grouped=grouped))
    f = dict(zip(curve.sizes, curve.f.tolist(), strict=True))
    numbers = f"{curve.n_edge:,} | {curve.cpr:.3f} | {f[0.005]:.2f} | {f[0.2]:.2f} | {curve.cmd:.3f}"
    print(f"| {method} | {pairs} | {numbers} |", flush=True)


def anchors(seeds: int) -> None:
    """Count the known induction and previous-token heads in 1 % of the edges, by side."""
    model = interp.load("smollm2")
    known = ("L18H6", "L17H3", "L17H4", "L18H7", "L17H5")
    for seed in range(seeds):
        scores = discovery.score(model, tasks.induction(model, n=6, seed=seed, length=16))
        circuit = discovery.circuit(scores, share=0.01)
        print(
            f"seed {seed}: {circuit.size} edges, embedding {scores.cut():+.4f} of {scores.total:+.4f} nats; "
            f"induction heads in it: {', '.join(head for head in known if head in circuit.nodes)}"
        )
        for head in ("L16H0", "L11H1", "L2H1"):
            keys = [edge for edge in circuit.edges if edge.startswith(f"{head} →") and edge.endswith(".k")]
            print("  " + "; ".join(f"{edge} {scores.edges[edge]:+.3f}" for edge in keys))


def exact() -> None:
    """Score all edges of one pair exactly, and a random 200 of them by a plain loop."""
    model = interp.load("smollm2")
    task = tasks.ioi(model, n=1, seed=0)
    clock, processor = time.perf_counter(), time.process_time()
    scores = discovery.score(model, task, "exact")
    took = time.perf_counter() - clock, time.process_time() - processor
    graph = scores.graph
    chosen = np.random.default_rng(0).choice(graph.n_edge, 200, replace=False)
    loop = np.concatenate([discovery.evaluate(model, graph, task, [np.eye(1, graph.n_edge, i)[0]])[0] for i in chosen])
    error = np.abs(loop - scores.clean - scores.array[chosen]).max()
    print(f"{graph.n_edge:,} edges, {task.clean.shape[1]} tokens: {took[0]:.0f} s, {took[1]:.0f} s of processor")
    print(f"largest difference to a plain loop over 200 of them: {error:.1e} of {np.abs(scores.array).max():.2f} nats")


def every_task(pairs: int) -> None:
    """Measure whether the model can do each task."""
    model = interp.load("smollm2")
    for name in tasks.names():
        print(tasks.make(name, model, n=pairs, seed=0).score(model).summary())


def memory() -> None:
    """Measure peak memory while 256 pairs are scored and evaluated at one size."""
    model = interp.load("smollm2")
    task = tasks.ioi(model, n=256, seed=0)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    scores = discovery.score(model, task)
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(
        f"256 pairs of {task.clean.shape[1]} tokens: peak {before:.2f} GB with the model, {after:.2f} GB after scoring"
    )
    print(scores.stability().mean, scores.stability().warning)


def main() -> None:
    """Run the parts asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--pairs", type=int, default=12)
    args = parser.parse_args()
    runs: dict[str, Callable[[], None]] = {
        "ioi": lambda: ioi(args.seeds, args.pairs),
        "scoring": scoring,
        "anchors": lambda: anchors(args.seeds),
        "exact": exact,
        "tasks": lambda: every_task(args.pairs),
        "memory": memory,
    }
    for name in args.parts:
        runs[name]()


if __name__ == "__main__":
    main()
