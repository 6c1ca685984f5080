"""Speed of path attribution and patching of SmolLM2, against a plain loop and a floor, and where the time goes.

    python -m benchmarks.paths [--tokens 10 64 256] [--expansions 2000] [--threads 2]

The plain loop expands one node at a time: the folded weights (made beforehand, outside the clock) take its covector
back, a dot product is taken with every visible write at every position, the largest are kept and go on a heap. Both are
strictly best-first: they expand the same nodes, but for those whose values differ by a rounding, and list the same
largest paths. Wall clock and processor time are both given: on a loaded machine only the second is meaningful, and
ratios to the floor are of processor time. The floor is what the multiplications take at the rate of a large product;
beside it stand the time to read all weights and writes once, and that of the MLPs' products alone when every layer
takes all of its nodes back at once, which for few nodes a layer run below the rate of a large product.
"""

from __future__ import annotations

import argparse
import cProfile
import heapq
import os
import platform
import pstats
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

import interp
from interp import attribution, patching
from interp.attribution.frozen import Frozen
from interp.attribution.targets import resolve

PROMPT = "The Eiffel Tower is located in the city of"
CLEAN = "When John and Mary went to the store, John gave a drink to"
CORRUPTED = "When John and Mary went to the store, Mary gave a drink to"


@dataclass(frozen=True)
class Timed:
    """What a call returned, and the seconds it took."""

    result: Any
    wall: float
    cpu: float


def timed(call: Callable[[], Any], repeats: int = 1) -> Timed:
    """Return the least wall clock and the least processor time of a few runs."""
    best = Timed(None, float("inf"), float("inf"))
    for _ in range(repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        result = call()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        best = Timed(result, min(best.wall, wall), min(best.cpu, cpu))
    return best


class Folded:
    """SmolLM2's weights with folded gains, in the form of the plain loop.

    The model has no biases.
    """

    def __init__(self, model: interp.Model):
        layers = range(model.spec.n_layer)
        attention = [model.weights.attention(layer) for layer in layers]
        self.heads = [
            [(a.W_O[h].T.contiguous().T, a.W_V[h // model.spec.kv_group]) for h in range(model.spec.n_head)]
            for a in attention
        ]
        self.mlps = [model.weights.mlp(layer) for layer in layers]


@dataclass(frozen=True)
class Plain:
    """What the plain loop finds: complete paths, largest first, and the nodes that it expands.

    A path is (value, chain), a node its chain, from the target: component + n_component · position of each.
    """

    paths: list[tuple[float, tuple[int, ...]]]
    expanded: set[tuple[int, ...]]


@torch.no_grad()
def plain_loop(frozen: Frozen, folded: Folded, target: Any, expansions: int) -> Plain:
    """Expand nodes one at a time."""
    linear, layout, n_component = resolve(frozen, target), frozen.layout, len(frozen.layout.components)
    writes = frozen.writes.transpose(0, 1).contiguous()
    heap: list[tuple[float, int, int, tuple[int, ...], Tensor]] = []
    complete: list[tuple[float, tuple[int, ...]]] = []
    expanded: set[tuple[int, ...]] = set()
    serial = 0

    def keep(values: Tensor, first: int, seen: int, chain: tuple[int, ...], covectors: Tensor, factors: Tensor) -> None:
        """Push the largest children.

        `values` are (position, component), positions counted from `first`.
        """
        nonlocal serial
        flat = values.flatten()
        largest = flat.abs().topk(min(expansions, len(flat)))
        for index, value in zip(largest.indices.tolist(), flat[largest.indices].tolist(), strict=True):
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
        expanded.add(chain)
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
    return Plain(sorted(complete, key=lambda item: -abs(item[0])), expanded)


def prompt(model: interp.Model, n_token: int) -> Tensor:
    """Return the Eiffel prompt, with random tokens before it up to the length."""
    base = model.to_tokens(PROMPT)
    generator = torch.Generator().manual_seed(0)
    filler = torch.randint(0, model.spec.d_vocab, (1, n_token - base.shape[1]), generator=generator)
    return torch.cat([filler, base], dim=1)


def flops(frozen: Frozen, tree: attribution.PathTree) -> float:
    """Return the multiplications and additions that the tree's expansions need.

    Each node is expanded by itself.
    """
    spec, total = frozen.model.spec, 0
    for row in np.flatnonzero(tree.expanded)[1:]:
        component = frozen.layout.components[tree.component[row]]
        places = tree.position[row] + 1 if component.kind == "head" else 1
        inner = spec.d_head if component.kind == "head" else spec.d_mlp
        total += 2 * spec.d_model * (2 * inner + places * frozen.layout.visible(component))
    return float(total)


def machine_rates() -> tuple[float, float]:
    """Return (floating-point operations, bytes read) a second of processor time, at best.

    They are those of a large product and a large sum.
    """
    matrix, vector = torch.randn(2048, 2048), torch.ones(64_000_000)
    product, total = timed(lambda: matrix @ matrix, 5), timed(vector.sum, 5)
    return 2 * 2048**3 / product.cpu, 4 * len(vector) / total.cpu


def shares(call: Callable[[], Any]) -> str:
    """Return where the processor time of a tree goes, in per cent."""
    profile = cProfile.Profile(time.process_time)
    profile.runcall(call)
    stats: Any = pstats.Stats(profile)
    seconds: dict[str, float] = {}
    for (_, _, name), (_, _, _, cumulative, _) in stats.stats.items():
        if name in PARTS:
            seconds[PARTS[name]] = seconds.get(PARTS[name], 0.0) + cumulative
    total = stats.total_tt
    parts = [f"{title} {seconds.get(title, 0) / total:.0%}" for title in PARTS.values()]
    return ", ".join([*parts, f"the rest {1 - sum(seconds.values()) / total:.0%}"])


PARTS = {
    "mlp_at": "MLP weights",
    "heads_at": "head weights",
    "_products": "products with writes",
    "add": "keeping children",
    "_due": "choosing",
}


def chain(tree: attribution.PathTree, row: int) -> tuple[int, ...]:
    """Return a node as the plain loop writes it."""
    n = len(tree.components)
    return tuple(n * int(tree.position[r]) + int(tree.component[r]) for r in tree.rows_above(row)[::-1])


def agreement(tree: attribution.PathTree, plain: Plain, k: int = 20) -> int:
    """Return how many of the k largest complete paths agree, position by position."""
    mine = {chain(tree, row) for row in tree.largest(k).tolist()}
    return len(mine & {path for _, path in plain.paths[:k]})


def common(tree: attribution.PathTree, plain: Plain) -> int:
    """Return how many expanded nodes agree."""
    return len(plain.expanded & {chain(tree, row) for row in np.flatnonzero(tree.expanded)[1:].tolist()})


def mlp_products(frozen: Frozen, folded: Folded, tree: attribution.PathTree) -> float:
    """Return the seconds of all MLPs' products, each layer's nodes taken back at once."""
    layers = np.array([part.layer if part.kind == "mlp" else -1 for part in frozen.layout.components])
    counts = [int((layers[tree.component[tree.expanded][1:]] == layer).sum()) for layer in range(len(folded.mlps))]
    rows = [torch.randn(n, frozen.model.spec.d_model) for n in counts]
    return timed(lambda: [x @ mlp.W_out.T @ mlp.W_in.T for x, mlp in zip(rows, folded.mlps, strict=True)], 3).cpu


def measure(model: interp.Model, folded: Folded, n_token: int, expansions: int) -> None:
    """Measure one prompt length: tree, plain loop, floor, sweeps and memory."""
    tokens = prompt(model, n_token)
    forward, frozen = timed(lambda: model(tokens), 3), timed(lambda: attribution.freeze(model, tokens), 3)
    target = attribution.logit_difference(model, " Paris", " London")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    tree = timed(lambda: attribution.path_tree(frozen.result, target, expansions), 3)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    plain = timed(lambda: plain_loop(frozen.result, folded, target, expansions))
    rate, bandwidth = machine_rates()
    arithmetic = flops(frozen.result, tree.result) / rate
    weights = sum(w.numel() * w.element_size() for mlp in folded.mlps for w in (mlp.W_in, mlp.W_out))
    reading = (weights + frozen.result.writes.numel() * frozen.result.writes.element_size()) / bandwidth
    print(f"\nT = {n_token}, {expansions} expansions")
    for name, result in (("path_tree", tree), ("plain loop", plain)):
        print(f"  {name:10}  {expansions / result.wall:7.0f} /s wall  {expansions / result.cpu:7.0f} /s processor")
    print(f"  ratio       {plain.wall / tree.wall:7.1f} wall     {plain.cpu / tree.cpu:7.1f} processor")
    print(
        f"  in common: {agreement(tree.result, plain.result)} of the 20 largest paths, "
        f"{common(tree.result, plain.result)} of {expansions} expanded nodes; error {tree.result.error:.1e}"
    )
    print(
        f"  floor: {arithmetic:.2f} s of arithmetic at {rate / 1e9:.0f} GFLOP/s and {reading:.2f} s to read everything"
    )
    print(f"    once at {bandwidth / 1e9:.0f} GB/s; path_tree: {tree.cpu / max(arithmetic, reading):.1f} × the larger")
    print(f"    MLPs' products, a layer's nodes at once: {mlp_products(frozen.result, folded, tree.result):.2f} s")
    print(f"  time: {shares(lambda: attribution.path_tree(frozen.result, target, expansions))}")
    print(f"  peak memory {peak:.0f} MB, {peak - before:.0f} MB of it new to path_tree")
    print(f"  freeze {frozen.cpu:.2f} s = {frozen.cpu / forward.cpu:.1f} forward passes ({forward.cpu:.2f} s)", end="")
    for sweep in (attribution.sources, attribution.orders, attribution.edges):
        print(f"; {sweep.__name__} {timed(lambda call=sweep: call(frozen.result, target)).cpu:.2f} s", end="")
    print()


def measure_patching(model: interp.Model) -> None:
    """Measure patches of every layer and position, and of every head, of one pair of prompts."""
    clean, corrupted = model.to_tokens(CLEAN), model.to_tokens(CORRUPTED)
    target = attribution.logit_difference(model, " Mary", " John")
    rate, _ = machine_rates()
    operations = patching_flops(model, clean, corrupted)
    print(f"\nPatching {clean.shape[1]} tokens, of which the last {_changed(clean, corrupted)} may change")
    for call in (patching.patch_residual, patching.patch_heads):
        cpu = timed(lambda call=call: call(model, clean, corrupted, target), 2).cpu
        print(f"  {call.__name__} {cpu:.2f} s processor = {cpu * rate / operations[call.__name__]:.1f} × the floor")


def _changed(clean: torch.Tensor, corrupted: torch.Tensor) -> int:
    """Return the number of positions from the first that differs."""
    return clean.shape[1] - int((clean != corrupted)[0].nonzero()[0])


def patching_flops(model: interp.Model, clean: torch.Tensor, corrupted: torch.Tensor) -> dict[str, float]:
    """Return the operations of blocks that must run anew, after each patch and from the first position that differs."""
    block = 2 * sum(p.numel() for p in model.hf.model.layers[0].parameters())
    n_layer, n_end = model.spec.n_layer, _changed(clean, corrupted)
    return {
        "patch_residual": block * n_layer * (n_layer + 1) / 2 * n_end * (n_end + 1) / 2,
        "patch_heads": block * model.spec.n_head * n_layer * (n_layer - 1) / 2 * n_end,
    }


def main() -> None:
    """Read the options and measure every length."""
    parser = argparse.ArgumentParser(description="Path attribution of SmolLM2 against a plain loop.")
    parser.add_argument("--tokens", type=int, nargs="+", default=[10, 64, 256])
    parser.add_argument("--expansions", type=int, default=2000)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    load = os.getloadavg()[0]
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, load {load:.1f} before the run,",
        end=" ",
    )
    print(f"torch {torch.__version__}, {options.threads} threads, float32")
    model = interp.load("smollm2", dtype=torch.float32)
    folded = Folded(model)
    for n_token in options.tokens:
        measure(model, folded, n_token, options.expansions)
    measure_patching(model)


if __name__ == "__main__":
    main()
