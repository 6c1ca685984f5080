"""Cost of a harvest, against a bare forward pass and sae-lens, also in bfloat16.

    python -m benchmarks.harvest [--repeats 7] [--contexts 64] [--threads 2]

SmolLM2, blocks.10.hook_resid_post, contexts of 128 tokens of Python's own documentation, 16 a batch. Every repeat
runs all of these once, in an order that turns, and the table shows medians of the ratios within a repeat, because a
machine that does other work slows neighbours by the same factor. Processor time, which other work does not lengthen,
is printed too.

- bare: a `transformers` model cut to its first 11 blocks, without norm and unembedding, float32; nothing is stored.
- harvest: `cache.harvest` of the same tokens into a store on disk: model, statistics, checksums, files, fsync.
  Target: at most 1.05 times bare, without its start.
- start: the part of it that does not grow with the text, most of it the checksum of the weights.
- stream: `cache.stream` of the same tokens, mixed batches without disk.
- bfloat16: `cache.harvest`, model and store in bfloat16. Target: at most 1.05 times bare bfloat16, without its start.
- bare bfloat16: as bare, with the model in bfloat16.
- sae-lens: `ActivationsStore` over the model's bridge, its mixing buffer included; time per token it runs.
"""

from __future__ import annotations

import argparse
import platform
import pydoc
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

import interp
from benchmarks.forward import truncated
from interp import cache

CONTEXT, BATCH = 128, 16
HOOK = "blocks.10.hook_resid_post"
MODULES = ("argparse", "json", "logging", "pathlib", "typing", "email", "collections", "subprocess", "asyncio")


def documentation() -> Iterator[str]:
    """Return text that every Python installation has."""
    for name in MODULES:
        yield pydoc.plain(pydoc.render_doc(name))


def runs(model: interp.Model, contexts: cache.Contexts) -> dict[str, Callable[[], float]]:
    """Return, by name, a function that runs once and returns its passes over the contexts."""
    half = interp.load("smollm2", dtype="bfloat16")
    store = _sae_lens(model, contexts)

    def plain(bare: torch.nn.Module) -> Callable[[], float]:
        @torch.no_grad()
        def call() -> float:
            for ids in contexts.tokens.long().split(BATCH):
                bare(input_ids=ids, use_cache=False)
            return 1.0

        return call

    def streamed() -> float:
        for _ in cache.stream(model, contexts, HOOK, seed=0, buffer=4096, batch_size=1024, context=CONTEXT):
            pass
        return 1.0

    def theirs() -> float:
        store.ran = 0
        while store.ran < contexts.n_token:
            next(store)
        return store.ran / contexts.n_token

    return {
        "bare": plain(truncated(model.hf)),
        "start": lambda: _started(model, contexts, "float32"),
        "harvest": lambda: _harvested(model, contexts, "float32"),
        "stream": streamed,
        "bare bfloat16": plain(truncated(half.hf)),
        "bfloat16 start": lambda: _started(half, contexts, "bfloat16"),
        "bfloat16": lambda: _harvested(half, contexts, "bfloat16"),
        "sae-lens": theirs,
    }


def _started(model: interp.Model, contexts: cache.Contexts, dtype: str) -> float:
    cache.plan(model, contexts, _config(dtype))
    return 1.0


def _config(dtype: str) -> cache.Config:
    return cache.Config(hooks=(HOOK,), context=CONTEXT, batch_size=BATCH, dtype=dtype)


def _harvested(model: interp.Model, contexts: cache.Contexts, dtype: str) -> float:
    with tempfile.TemporaryDirectory() as folder:
        cache.harvest(model, contexts, _config(dtype), folder)
    return 1.0


def _sae_lens(model: interp.Model, contexts: cache.Contexts) -> object:
    """Return their store over the same tokens, repeated; it counts what it runs in `ran`."""
    from datasets import Dataset
    from sae_lens.training.activations_store import ActivationsStore

    class Counting(ActivationsStore):
        ran = 0

        def get_activations(self, batch_tokens: torch.Tensor) -> torch.Tensor:
            self.ran += batch_tokens.numel()
            return super().get_activations(batch_tokens)

    return Counting(
        model=model.bridge,
        dataset=Dataset.from_dict({"tokens": contexts.tokens.tolist()}),
        streaming=False,
        hook_name=HOOK,
        hook_head_index=None,
        context_size=CONTEXT,
        d_in=model.spec.d_model,
        n_batches_in_buffer=32,
        total_training_tokens=10**9,
        store_batch_size_prompts=BATCH,
        train_batch_size_tokens=1024,
        prepend_bos=False,
        normalize_activations="none",
        device=torch.device("cpu"),
        dtype="float32",
        seqpos_slice=(1, None),
    )


def measured(calls: dict[str, Callable[[], float]], repeats: int) -> dict[str, np.ndarray]:
    """Return, by name, (repeats, 2) clock and processor seconds of one pass."""
    names = list(calls)
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for repeat in range(-1, repeats):  # the first round warms up and is not counted
        for name in np.roll(names, repeat).tolist() if repeat % 2 else np.roll(names[::-1], repeat).tolist():
            clock, processor = time.perf_counter(), time.process_time()
            passes = calls[name]()
            row = (time.perf_counter() - clock) / passes, (time.process_time() - processor) / passes
            if repeat >= 0:
                times[name].append(row)
    return {name: np.array(rows) for name, rows in times.items()}


def bfloat16_error(model: interp.Model, contexts: cache.Contexts) -> tuple[float, float]:
    """Return |x' - x| / |x| over the first 16 contexts, with and without the mean of x."""
    few = cache.Contexts(contexts.tokens[:BATCH], contexts.lengths[:BATCH])
    half = interp.load("smollm2", dtype="bfloat16")
    (exact,) = (rows[HOOK].double() for rows in cache.activations(model, few, (HOOK,)))
    (rough,) = (rows[HOOK].double() for rows in cache.activations(half, few, (HOOK,), dtype="bfloat16"))
    gap = (rough - exact).norm()
    return float(gap / exact.norm()), float(gap / (exact - exact.mean(0)).norm())


def processor() -> str:
    """Return the name of the processor, and its relevant instructions."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    name = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    flags = next((line for line in lines if line.startswith("flags")), "").split()
    return f"{name} ({', '.join(f for f in ('avx512f', 'avx512_bf16', 'amx_bf16') if f in flags) or 'no AVX-512'})"


def main() -> None:
    """Print the machine, the versions, the sizes and one line a way."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--contexts", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    warnings.simplefilter("ignore")
    model = interp.load("smollm2")
    config = cache.Config(hooks=(HOOK,), context=CONTEXT, batch_size=BATCH, max_tokens=args.contexts * CONTEXT)
    planned = cache.plan(model, documentation(), config)
    contexts = planned.contexts
    print(f"{processor()}, {args.threads} threads, Python {platform.python_version()}")
    print(", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "transformer-lens", "sae-lens")))
    print(f"{model}\n{HOOK}: {len(contexts)} contexts x {CONTEXT} = {contexts.n_token} tokens, batches of {BATCH}, ")
    print(f"{planned.disk_bytes / 1e6:.1f} MB on disk, {args.repeats} interleaved repeats, medians\n")
    times = measured(runs(model, contexts), args.repeats)
    print(f"{'':>16} {'tokens/s':>9} {'x bare, clock':>14} {'processor':>10}   (above 1: slower than bare)")
    times["harvest - start"] = times["harvest"] - times["start"]
    times["bfloat16 - start"] = times["bfloat16"] - times["bfloat16 start"]
    for name, rows in times.items():
        clock, processor_time = np.median(rows / times["bare"], axis=0)
        print(f"{name:>16} {contexts.n_token / np.median(rows[:, 0]):9,.0f} {clock:14.3f} {processor_time:10.3f}")
    _, processor_time = np.median(times["bfloat16 - start"] / times["bare bfloat16"], axis=0)
    print(f"\nbfloat16 - start: {processor_time:.3f} times bare bfloat16, in processor time")
    plain, centred = bfloat16_error(model, contexts)
    print(f"\nbfloat16 against float32, position 0 left out: relative error {plain:.2e}, {centred:.2e} of what varies")


if __name__ == "__main__":
    main()
