"""Cost of collecting activations, against a bare forward pass of SmolLM2 over the same batches.

    python -m benchmarks.collect [--rows 408] [--repeats 3]

`probes.collect` of generated statements, the last token of all 31 layers, against the inner `transformers` model
(no unembedding) over the same token rows in the same batches, made beforehand. Collecting also tokenises, sorts,
picks, checks, and takes the digest of the weights, whose seconds do not grow with the rows. Interleaved pairs on one
thread, medians of their ratios; processor time is not lengthened by other work on the machine. Target: at most 1.05.
The last line is the same out of a store, where no model runs.
"""

from __future__ import annotations

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import transformers

import interp
import probes

BATCH = 32


def main() -> None:
    """Print the machine, the versions and one line a comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=408)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model, data = interp.load("smollm2"), _statements(options.rows)
    bare, n_token = _bare(model, data)
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, 1 thread")
    print(f"Python {platform.python_version()}, torch {torch.__version__}, transformers {transformers.__version__}")
    print(f"{model}, {len(data)} statements, {n_token} tokens with padding, {options.repeats} interleaved pairs\n")
    print(f"{'':>14} {'interp':>10} {'bare':>10} {'clock':>7} {'processor':>9}")
    _line("collect", lambda: probes.collect(model, data, batch_size=BATCH), bare, options.repeats)
    print(f"{'digest':>14} {_seconds(lambda: model.weights_sha256)[1]:9.2f}s of processor time, part of the above")
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "store"
        probes.collect(model, data, batch_size=BATCH, store=store)
        _line("from a store", lambda: probes.collect(model, data, batch_size=BATCH, store=store), bare, options.repeats)


def _statements(n: int) -> probes.Statements:
    data = probes.generate("cities")
    return data.take(np.random.default_rng(0).permutation(len(data))[:n])


def _bare(model: interp.Model, data: probes.Statements) -> tuple[Callable[[], None], int]:
    """Run the inner model over the rows that `collect` reads; return how many tokens they are.

    Rows run shortest first.
    """
    rows = sorted((model.to_tokens(text)[0] for text in data.statements), key=len)
    lots = [rows[i : i + BATCH] for i in range(0, len(rows), BATCH)]
    batches = [torch.nn.utils.rnn.pad_sequence(lot, batch_first=True) for lot in lots]

    @torch.no_grad()
    def run() -> None:
        for batch in batches:
            model.hf.model(input_ids=batch, use_cache=False)

    return run, sum(batch.numel() for batch in batches)


def _line(name: str, ours: Callable[[], object], theirs: Callable[[], object], repeats: int) -> None:
    ours(), theirs()
    rows = []
    for repeat in range(repeats):
        order = (ours, theirs) if repeat % 2 else (theirs, ours)  # neither always runs on the other's warm cache
        times = {call: _seconds(call) for call in order}
        rows.append((*times[ours], *times[theirs]))
    clock, processor, bare_clock, bare_processor = np.array(rows).T
    ratios = np.median(clock / bare_clock), np.median(processor / bare_processor)
    seconds = f"{np.median(clock):9.2f}s {np.median(bare_clock):9.2f}s"
    print(f"{name:>14} {seconds} {ratios[0]:7.3f} {ratios[1]:9.3f}", flush=True)


def _seconds(call: Callable[[], object]) -> tuple[float, float]:
    clock, processor = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - clock, time.process_time() - processor


if __name__ == "__main__":
    main()
