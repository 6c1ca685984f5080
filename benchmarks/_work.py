"""A comparison of the table: two ways to compute the same, their sizes, and how they are timed."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import transformers

import interp
from benchmarks import paths
from interp.errors import CheckFailedError

Call = Callable[[], Any]


@dataclass(frozen=True)
class Work:
    """Two ways to compute the same.

    Attributes:
        name: what is computed.
        ours: this toolkit's way.
        peer: the other way.
        peer_name: what that is.
        difference: of both sides' results, the largest relative one.
        tolerance: the largest difference that rounding explains.
        floor: seconds below which nothing can go; None where the peer is the floor or there is none.
    """

    name: str
    ours: Call
    peer: Call
    peer_name: str
    difference: Callable[[Any, Any], float]
    tolerance: float
    floor: float | None = None


@dataclass(frozen=True)
class Sizes:
    """How large the works are."""

    model: interp.Model
    n_token: int
    expansions: int
    rows: int
    layers: int
    steps: int
    width: int

    @staticmethod
    def of(quick: bool) -> Sizes:
        """Return the real model, or a random one of two blocks with the same tokenizer."""
        real = interp.load("smollm2", dtype=torch.float32)
        if not quick:
            return Sizes(real, 64, 2000, 400, 8, 300, 4608)
        config = transformers.LlamaConfig(
            vocab_size=len(real.tokenizer),
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
        )
        torch.manual_seed(0)
        tiny = interp.load(transformers.LlamaForCausalLM(config), tokenizer=real.tokenizer)
        return Sizes(tiny, 16, 40, 24, 2, 8, 64)


def relative(measured: Any, expected: Any) -> float:
    """Return the largest difference of two arrays, relative to the largest of the second."""
    measured, expected = np.asarray(measured, float), np.asarray(expected, float)
    return float(np.abs(measured - expected).max() / np.abs(expected).max())


def rate() -> float:
    """Return floating-point operations a processor second of one thread, at best."""
    matrix = torch.randn(1024, 1024)
    return 2 * 1024**3 / paths.timed(lambda: matrix @ matrix, 5).cpu


def compared(work: Work, repeats: int) -> str:
    """Return one row of the table; raise `CheckFailedError` where both sides did not compute the same.

    Works of which both sides take more than half a minute are timed once.
    """
    started = time.process_time()
    difference = work.difference(work.ours(), work.peer())
    repeats = 1 if time.process_time() - started > 30 else repeats
    if not difference <= work.tolerance:
        raise CheckFailedError(f"{work.name}: both sides differ by {difference:.1e}, more than {work.tolerance:.0e}.")
    seconds: dict[Call, list[float]] = {work.ours: [], work.peer: []}
    for repeat in range(repeats):
        for call in (work.ours, work.peer) if repeat % 2 else (work.peer, work.ours):
            started = time.process_time()
            call()
            seconds[call].append(time.process_time() - started)
    ours, peer = (max(float(np.median(result)), 1e-9) for result in seconds.values())
    floor, over = ("", "") if work.floor is None else (f"{work.floor:.3f}", f"{ours / work.floor:.1f}")
    times = f"{ours:.3f} | {peer:.3f} | {peer / ours:.2f} | {floor} | {over}"
    return f"| {work.name} | {times} | {work.peer_name} | {difference:.0e} |"
