"""Cost of capturing and freezing, against a bare forward pass of SmolLM2.

    python -m benchmarks.forward [--repeats 15]

Two comparisons, each by interleaved runs of A and B and the median of their ratios, because other work on the machine
slows neighbouring runs by the same factor. One thread, so that processor time, which other work does not lengthen, can
be compared with the time on the clock:

1. `run_with_cache(tokens, ["blocks.10.hook_resid_post"])` against a `transformers` model cut to its first 11 blocks,
   without norm and unembedding. Target: at most 1.05.
2. `attribution.freeze` against a whole forward pass. Target: at most 3.
"""

from __future__ import annotations

import argparse
import copy
import os
import platform
import time
from collections.abc import Callable

import numpy as np
import torch
import transformers

import interp
from interp import attribution

LAYER = 10
HOOK = f"blocks.{LAYER}.hook_resid_post"


def ratios(first: Callable[[], object], second: Callable[[], object], repeats: int) -> np.ndarray:
    """Return (clock seconds of both, clock ratio, processor ratio) over interleaved pairs.

    They are medians.
    """
    first(), second()
    rows = []
    for repeat in range(repeats):
        order = (first, second) if repeat % 2 else (second, first)  # neither always runs on the other's warm cache
        times = {call: _seconds(call) for call in order}
        (clock, processor), (other_clock, other_processor) = times[first], times[second]
        rows.append((clock, other_clock, clock / other_clock, processor / other_processor))
    return np.median(rows, axis=0)


def _seconds(call: Callable[[], object]) -> tuple[float, float]:
    clock, processor = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - clock, time.process_time() - processor


def truncated(hf: torch.nn.Module) -> torch.nn.Module:
    """Return the inner `transformers` model with its first blocks and no final norm.

    It shares the parameters.
    """
    inner = copy.copy(hf.model)
    inner._modules = dict(hf.model._modules)
    inner.layers = torch.nn.ModuleList(hf.model.layers[: LAYER + 1])
    inner.norm = torch.nn.Identity()
    inner.config = copy.deepcopy(hf.config)
    inner.config.num_hidden_layers = LAYER + 1
    return inner.eval()


def main() -> None:
    """Print the machine, the versions and one line a size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    model = interp.load("smollm2")
    bare = truncated(model.hf)
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, 1 thread")
    print(f"Python {platform.python_version()}, torch {torch.__version__}, transformers {transformers.__version__}")
    print(f"{model}, {repeats} interleaved pairs each, medians\n")
    print(f"{'':>14} {'interp':>10} {'bare':>10} {'clock':>7} {'processor':>9}")
    for batch in (1, 8):
        for n_token in (10, 64, 256):
            ids = torch.randint(0, model.spec.d_vocab, (batch, n_token), generator=torch.Generator().manual_seed(0))
            _line(f"cache {batch} x {n_token}", ratios(*_capture_pair(model, bare, ids), repeats))
    for n_token in (10, 64, 256):
        ids = torch.randint(0, model.spec.d_vocab, (1, n_token), generator=torch.Generator().manual_seed(0))
        _line(f"freeze {n_token}", ratios(*_freeze_pair(model, ids), max(3, repeats // 3)))


def _capture_pair(
    model: interp.Model, bare: torch.nn.Module, ids: torch.Tensor
) -> tuple[Callable[[], object], Callable[[], object]]:
    @torch.no_grad()
    def plain() -> torch.Tensor:
        return bare(input_ids=ids, use_cache=False).last_hidden_state

    _, cache = model.run_with_cache(ids, HOOK)
    assert torch.equal(cache[HOOK], plain()), "the two must compute the same"
    return lambda: model.run_with_cache(ids, HOOK), plain


def _freeze_pair(model: interp.Model, ids: torch.Tensor) -> tuple[Callable[[], object], Callable[[], object]]:
    return lambda: attribution.freeze(model, ids), lambda: model(ids)


def _line(name: str, row: np.ndarray) -> None:
    ours, theirs, clock, processor = row
    print(f"{name:>14} {ours * 1e3:8.1f}ms {theirs * 1e3:8.1f}ms {clock:7.3f} {processor:9.3f}", flush=True)


if __name__ == "__main__":
    main()
