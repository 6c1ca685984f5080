"""Scores of edges from gradients: the change of the measure to first order when an edge alone is corrupted.

    score(u → v) = Σ_t (a'_u − a_u)_t · ∂m/∂x_v,t

with a, a' what u writes in the clean and the counterfactual run. The methods differ in where the gradient is taken and
in what it passes by: see `interp.discovery.score`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from interp.discovery.forward import unchanged
from interp.discovery.pairs import PairRuns
from interp.errors import UnsupportedModelError, UsageError

RULES = ("left", "middle", "right")
ENDS = ("clean", "counterfactual", "both")
Change = Callable[[slice, Tensor], Tensor]


@dataclass(frozen=True)
class ReaderGradients:
    """Gradients ∂m/∂x_v of every reader v of one part.

    `values` is (batch, n_reader, n_token, d_model).
    """

    readers: slice
    values: Tensor


def reader_gradients(runs: PairRuns, x: Tensor, change: Change = unchanged, layer: int = 0) -> list[ReaderGradients]:
    """Return the gradient at every reader's input.

    Runs from the stream `x` that enters block `layer`.
    `change` may replace what is written.
    """
    inputs: list[tuple[slice, Tensor]] = []

    def read(readers: slice, stream: Tensor) -> Tensor:
        batch, n_token, width = stream.shape
        shift = stream.new_zeros(batch, readers.stop - readers.start, n_token, width, requires_grad=True)
        inputs.append((readers, shift))
        return stream[:, None] + shift

    with torch.enable_grad():
        measure = runs.measure(runs.forward.run(x, read, change, layer)).sum()
        gradients = torch.autograd.grad(measure, [shift for _, shift in inputs], allow_unused=True)
    pairs = zip(inputs, gradients, strict=True)
    return [
        ReaderGradients(readers, torch.zeros_like(shift) if grad is None else grad) for (readers, shift), grad in pairs
    ]


def contracted(
    runs: PairRuns, gradients: Sequence[ReaderGradients], difference: Tensor, by_position: bool = False
) -> Float[Tensor, "batch n_edge *n_token"]:
    """Return Σ difference · gradient over the width for every edge.

    Positions are summed too unless `by_position`.
    """
    graph = runs.graph
    batch, _, n_token, _ = difference.shape
    shape = (batch, graph.n_edge, n_token) if by_position else (batch, graph.n_edge)
    scores = difference.new_zeros(shape)
    for part in gradients:
        start, stop = int(graph.offsets[part.readers.start]), int(graph.offsets[part.readers.stop])
        seen = difference[:, : int(graph.visible[part.readers.start])]
        if by_position:
            products = torch.einsum("brtm,butm->brut", part.values, seen)
        else:
            products = part.values.flatten(2) @ seen.flatten(2).transpose(1, 2)
        scores[:, start:stop] = products.flatten(1, 2)
    return scores


def attribution(runs: PairRuns, by_position: bool = False, at: str = "clean") -> Tensor:
    """Score edges by edge attribution patching (EAP).

    arXiv 2310.10348; with the rules of a gradient RelP (2508.21258).
    `at` says in which run the gradient is taken: the "clean" one, the "counterfactual", or "both", the mean of these.
    """
    if at not in ENDS:
        raise UsageError(f'at="{at}": choose {", ".join(ENDS)}.')
    inputs = {"clean": runs.embedded[:1], "counterfactual": runs.embedded[1:], "both": runs.embedded}[at]
    scores = [contracted(runs, reader_gradients(runs, x), runs.difference, by_position) for x in inputs]
    return torch.stack(scores).mean(0)


def frozen_flow(runs: PairRuns, by_position: bool = False) -> Tensor:
    """Score edges by the flow through them, all nonlinear factors constant.

    It needs no counterfactual: the difference is that to writing nothing.
    """
    return contracted(runs, reader_gradients(runs, runs.embedded[0]), -runs.clean.writes, by_position)


def integrated_inputs(runs: PairRuns, steps: int, rule: str, by_position: bool = False) -> Tensor:
    """Score edges by gradients averaged over embeddings (EAP-IG, inputs).

    arXiv 2403.17806.
    """
    clean, other = runs.embedded
    total = None
    for share in points(steps, rule):
        gradients = reader_gradients(runs, other + share * (clean - other))
        part = contracted(runs, gradients, runs.difference, by_position) / steps
        total = part if total is None else total + part
    assert total is not None
    return total


def integrated_activations(runs: PairRuns, steps: int, rule: str, by_position: bool = False) -> Tensor:
    """Score edges by gradients averaged over each part's output (EAP-IG, activations).

    Everything before the part is as in the clean run, everything after it follows. n · (2 L + 1) passes.
    """
    scores = None
    for writers, layer in _parts(runs):
        alone = torch.zeros_like(runs.difference)
        alone[:, writers] = runs.difference[:, writers] / steps
        for share in points(steps, rule):
            mixed = runs.other.writes[:, writers] + share * (runs.clean.writes - runs.other.writes)[:, writers]
            gradients = reader_gradients(runs, _entering(runs, layer), _replaced(writers, mixed), layer)
            part = contracted(runs, gradients, alone, by_position)
            scores = part if scores is None else scores + part
    assert scores is not None
    return scores


def points(steps: int, rule: str) -> Iterator[float]:
    """Yield the points at which gradients are taken.

    From the counterfactual (0) to the clean run (1).

    "left" are k/n from 0 on, as in the published code of EAP-IG; "right" end at 1; "middle" lie half a step further.
    """
    if rule not in RULES or steps < 1:
        raise UsageError(f'steps={steps}, rule="{rule}": at least one step, and a rule of {", ".join(RULES)}.')
    shift = {"left": 0.0, "middle": 0.5, "right": 1.0}[rule]
    return ((k + shift) / steps for k in range(steps))


def attribution_star(runs: PairRuns, drop: bool, by_position: bool = False) -> Tensor:
    """Score edges by AtP*, with queries and keys exact through the softmax.

    arXiv 2403.00745. The rest is to first order.

    With `drop`, magnitudes are means over one backward pass for each layer, with that layer's writes constant
    (GradDrop), so that a direct and an indirect effect do not cancel; signs are those of the plain pass.
    """
    if runs.model.spec.post_norms:
        raise UnsupportedModelError(f"{runs.model.spec.family}: AtP* is not supported with post-norms; choose eap.")
    plain = _star(runs, None, by_position)
    if not drop:
        return plain
    layers = range(runs.graph.n_layer)
    mean = torch.stack([_star(runs, layer, by_position).abs() for layer in layers]).sum(0) / max(1, len(layers) - 1)
    return mean * torch.where(plain < 0, -1.0, 1.0)


def _star(runs: PairRuns, dropped: int | None, by_position: bool) -> Tensor:
    graph, shifts, streams = runs.graph, [], []

    def change(writers: slice, values: Tensor) -> Tensor:
        if dropped is not None and graph.heads(dropped).start <= writers.start < graph.mlps(dropped).stop:
            values = values.detach()
        shifts.append((writers, torch.zeros_like(values, requires_grad=True)))
        return values + shifts[-1][1]

    inputs: list[tuple[slice, Tensor]] = []

    def read(readers: slice, stream: Tensor) -> Tensor:
        batch, n_token, width = stream.shape
        shift = stream.new_zeros(batch, readers.stop - readers.start, n_token, width, requires_grad=True)
        inputs.append((readers, shift))
        streams.append(stream.detach())
        return stream[:, None] + shift

    with torch.enable_grad():
        measure = runs.measure(runs.forward.run(runs.embedded[0], read, change)).sum()
        wanted = [shift for _, shift in inputs] + [shift for _, shift in shifts]
        every = torch.autograd.grad(measure, wanted, allow_unused=True)
    every = [torch.zeros_like(w) if g is None else g for w, g in zip(wanted, every, strict=True)]
    gradients = [ReaderGradients(readers, g) for (readers, _), g in zip(inputs, every, strict=False)]
    scores = contracted(runs, gradients, runs.difference, by_position)
    on_writes = {writers.start: g for (writers, _), g in zip(shifts, every[len(inputs) :], strict=True)}
    with torch.no_grad():
        for layer in range(graph.n_layer):
            stream, on_heads = streams[2 * layer], on_writes[graph.heads(layer).start]
            for pair in range(len(runs)):
                queries, keys = _through_softmax(runs, layer, pair, stream[pair], on_heads[pair], by_position)
                first = graph.attention(layer).start
                for at, values in enumerate((*queries, *keys)):
                    scores[pair, graph.of_reader(first + at)] = values
    return scores


def _through_softmax(
    runs: PairRuns, layer: int, pair: int, stream: Tensor, on_heads: Tensor, by_position: bool
) -> tuple[Tensor, Tensor]:
    """Score edges into one pair's queries and keys, with patterns recomputed.

    Returns (n_head, n_visible, ...) and (n_key, n_visible, ...). Of a key the positions are those of the queries that
    look at it.
    """
    graph, forward = runs.graph, runs.forward.of_pair(pair)
    seen = runs.difference[pair, : graph.heads(layer).start]
    changed = stream + seen
    query, key, value = forward.project(layer, stream[None, None])
    queries, keys, _ = forward.project(layer, changed[:, None])
    w = forward.weights.attention(layer, folded=False)
    on_z = on_heads @ w.W_O.transpose(1, 2)
    clean = forward.mix(layer, query, key, value)
    sums = (-1,) if by_position else (-1, -2)
    by_query = forward.mix(layer, queries, key.expand(len(seen), -1, -1, -1), value) - clean
    by_key = forward.mix(layer, query.expand(len(seen), -1, -1, -1), keys, value) - clean
    from_queries = (by_query * on_z).sum(sums).transpose(0, 1)
    from_keys = (by_key * on_z).sum(sums).transpose(0, 1)
    return from_queries, from_keys.unflatten(0, (graph.n_key, graph.share)).sum(1)


def _parts(runs: PairRuns) -> Iterator[tuple[slice, int]]:
    """Yield the writers interpolated at once, and the block whose stream they need."""
    yield slice(0, 1), 0
    for layer in range(runs.graph.n_layer):
        yield runs.graph.heads(layer), layer
        yield runs.graph.mlps(layer), layer


def _entering(runs: PairRuns, layer: int) -> Tensor:
    """Return the clean stream that enters a block."""
    if layer == 0:
        return runs.embedded[0]
    return runs.clean.writes[:, : runs.graph.heads(layer).start].sum(1)


def _replaced(writers: slice, mixed: Tensor) -> Change:
    return lambda at, values: mixed if at == writers else values
