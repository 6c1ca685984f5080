"""Cost of circuits: the summary of SmolLM2's heads, and composition against transformer-lens.

    python -m benchmarks.circuits [--parts summary composition peer]

Each part runs in a process of its own, so that its peak memory is its own, the model included.

1. summary: check, head scores, definiteness and copying of all 270 heads of SmolLM2. Target: 60 s.
2. composition: Q, K and V of all 72,900 pairs. Target: 30 s each and 3 GB.
3. peer: K-composition of a random Llama of 10 layers of 8 heads (d_model 512), here and by
   `bridge.all_composition_scores("K")` of transformer-lens, which needs memory for all pairs' products at once
   (on SmolLM2 it was stopped at 22.9 GB). Only causal pairs are compared, because it leaves the others at 0, and its
   weights have gains of 1, because it does not fold them.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time
from collections.abc import Callable

import numpy as np
import torch

import interp
from interp import circuits

Row = tuple[str, float, float]


def summary() -> list[Row]:
    """Compute every score of every head of SmolLM2."""
    model = interp.load("smollm2")
    steps = {
        "check": lambda: circuits.check(model),
        "head scores and copying": lambda: circuits.head_scores(model),
        "definiteness": lambda: circuits.definiteness(model),
    }
    return [_timed(name, step) for name, step in steps.items()]


def composition() -> list[Row]:
    """Compute composition of all pairs of heads of SmolLM2."""
    model = interp.load("smollm2")
    return [_timed(f"composition {kind}", lambda kind=kind: circuits.composition(model, kind)) for kind in "QKV"]


def peer_ours() -> list[Row]:
    """Compute K-composition of the small model with this toolkit."""
    model = _small()
    return [_timed("K-composition, 6,400 pairs, interp", lambda: circuits.composition(model, "K").array)]


def peer_theirs() -> list[Row]:
    """Compute K-composition of the small model by transformer-lens, and the difference."""
    model = _small()
    bridge, ours = model.bridge, circuits.composition(model, "K")
    result: list[np.ndarray] = []

    def run() -> None:
        result.append(bridge.all_composition_scores("K").detach().float().reshape(80, 80).numpy())

    row = _timed("K-composition, 6,400 pairs, transformer-lens", run)
    gap = float(np.abs(result[0] - ours.array)[ours.possible].max())
    print(f"largest difference between the two: {gap:.1e}")
    return [row]


def _small() -> interp.Model:
    import transformers

    config = transformers.LlamaConfig(
        vocab_size=256,
        hidden_size=512,
        intermediate_size=512,
        num_hidden_layers=10,
        num_attention_heads=8,
        num_key_value_heads=8,
    )
    torch.manual_seed(0)
    hf = transformers.LlamaForCausalLM(config)
    return interp.load(hf, tokenizer=interp.load("smollm2").tokenizer)


def _timed(name: str, step: Callable[[], object]) -> Row:
    clock, processor = time.perf_counter(), time.process_time()
    step()
    return name, time.perf_counter() - clock, time.process_time() - processor


def _child(part: Callable[[], list[Row]], queue) -> None:
    rows = part()
    queue.put((rows, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6))


def measure(part: Callable[[], list[Row]]) -> tuple[list[Row], float]:
    """Return the rows of one part and its peak memory in GB, from a fresh process."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    child = context.Process(target=_child, args=(part, queue))
    child.start()
    result = queue.get()
    child.join()
    return result


def main() -> None:
    """Measure the parts asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = {"summary": [summary], "composition": [composition], "peer": [peer_ours, peer_theirs]}
    parser.add_argument("--parts", nargs="+", choices=parts, default=list(parts))
    for name in parser.parse_args().parts:
        totals = []
        for part in parts[name]:
            rows, peak = measure(part)
            for row in rows:
                print(f"{row[0]:<46} {row[1]:8.2f} s on the clock {row[2]:8.2f} s of processor")
            totals.append((sum(row[1] for row in rows), sum(row[2] for row in rows), peak))
            print(f"{name}: {totals[-1][0]:.1f} s, {totals[-1][1]:.1f} s of processor, peak {peak:.2f} GB\n")
        if len(totals) == 2:
            ours, theirs = totals
            print(
                f"transformer-lens / interp: {theirs[0] / ours[0]:.1f} times the clock, "
                f"{theirs[1] / ours[1]:.1f} times the processor, {theirs[2] / ours[2]:.1f} times the peak memory"
            )


if __name__ == "__main__":
    main()
