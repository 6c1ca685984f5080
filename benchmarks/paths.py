"""Path attribution of SmolLM2: how fast, against what, and where the time goes.

    python benchmarks/paths.py [--tokens 10 64 256] [--expansions 1000] [--threads 2]

The plain loop expands one node at a time: the folded weights (made beforehand, outside the clock) take its covector
back, a dot product is taken with every visible write at every position, the largest are kept and go on a heap. It is
strictly best-first; `path_tree` expands in rounds, so the two trees differ at their edges, not in their largest paths.
Wall clock and processor time are both given: on a loaded machine only the second means anything.
"""

from __future__ import annotations

import argparse
import heapq
import platform
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import interp
from interp import attribution
from interp.attribution.frozen import Frozen
from interp.attribution.targets import resolve

PROMPT = "The Eiffel Tower is located in the city of"


@dataclass(frozen=True)
class Timed:
    """What a call returned, and the seconds it took."""

    result: Any
    wall: float
    cpu: float


def timed(call: Callable[[], Any], repeats: int = 1) -> Timed:
    """The quickest of a few runs, wall clock and processor time each at its best."""
    best = Timed(None, float("inf"), float("inf"))
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        result = call()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        best = Timed(result, min(best.wall, wall), min(best.cpu, cpu))
    return best


class Folded:
    """SmolLM2's weights with the norms' gains folded in, every matrix as the plain loop wants it. It has no biases."""

    def __init__(self, model: interp.Model):
        layers = range(model.spec.n_layer)
        attention = [model.weights.attention(layer) for layer in layers]
        self.heads = [
            [(a.W_O[h].T.contiguous().T, a.W_V[h // model.spec.kv_group]) for h in range(model.spec.n_head)]
            for a in attention
        ]
        self.mlps = [model.weights.mlp(layer) for layer in layers]


@torch.no_grad()
def plain_loop(frozen: Frozen, folded: Folded, target: Any, expansions: int) -> list[tuple[float, tuple[str, ...]]]:
    """The complete paths found, as (value, names), largest first, after that many expansions, one node at a time."""
    linear, layout, n_component = resolve(frozen, target), frozen.layout, len(frozen.layout.components)
    writes = frozen.writes.transpose(0, 1).contiguous()
    heap: list[tuple[float, int, int, tuple[int, ...], Tensor]] = []
    complete: list[tuple[float, tuple[int, ...]]] = []
    serial = 0

    def keep(values: Tensor, first: int, seen: int, chain: tuple[int, ...], covectors: Tensor, factors: Tensor) -> None:
        """Push the largest children; `values` are (position, component), positions counted from `first`."""
        nonlocal serial
        flat = values.flatten()
        found = flat.abs().topk(min(expansions, len(flat)))
        for index, value in zip(found.indices.tolist(), flat[found.indices].tolist(), strict=True):
            place, component = divmod(index, seen)
            child = (*chain, component + n_component * (first + place))
            if not layout.components[component].reads:
                complete.append((value, child))
            elif value:
                serial += 1
                heapq.heappush(heap, (-abs(value), serial, place, child, (covectors, factors)))

    at = linear.position
    keep((writes[at] @ linear.covector)[None], at, n_component, (), linear.covector, torch.ones(1))
    for _ in range(expansions):
        _, _, place, chain, (covectors, factors) = heapq.heappop(heap)
        position, index = divmod(chain[-1], n_component)
        component, covector = layout.components[index], covectors * factors[place]
        block, seen = frozen.blocks[component.layer], layout.visible(component)
        if component.kind == "head":
            W_O, W_V = folded.heads[component.layer][component.head]
            back = W_V @ (W_O @ covector)
            scaled = block.pattern[component.head, position, : position + 1] / block.attn_scale[: position + 1]
            keep((writes[: position + 1, :seen] @ back) * scaled[:, None], 0, seen, chain, back, scaled)
        else:
            mlp = folded.mlps[component.layer]
            back = mlp.W_in @ (block.multiplier[position] * (mlp.W_out @ covector)) / block.mlp_scale[position]
            keep((writes[position, :seen] @ back)[None], position, seen, chain, back, torch.ones(1))
    return sorted(complete, key=lambda item: -abs(item[0]))
