"""Scores of edges from the secant of the measure between the two runs: they sum to what the counterfactual changes.

Every operation is replaced by a linear map exact for the difference of the runs (`interp.attribution.contrast`).
A covector on the logits is carried back through these; at each reader it is the secant of the measure with respect to
what is read, where edge attribution patching has the gradient at one end:

    score(u → v) = Σ_t (a'_u − a_u)_t · covector_v,t

so that the scores of the edges out of the embedding, as of any other cut, sum to m(counterfactual) − m(clean).
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.attribution.contrast import Contrast, contrast
from interp.attribution.linearised import Linear, Part, sweep
from interp.attribution.results import LogitTarget
from interp.attribution.secants import softmax_secant
from interp.discovery.pairs import PairRuns
from interp.errors import CheckFailedError
from interp.tasks.task import NO_TOKEN, Task

TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-9}
"""Largest error of the sum of the edges out of the embedding, relative to the change of the measure or one nat."""


@torch.no_grad()
def secant_edges(runs: PairRuns, by_position: bool = False) -> Float[Tensor, "batch n_edge *n_token"]:
    """Score every edge of a batch of pairs, which begins at position 0.

    Raises `CheckFailedError` when the edges out of the embedding do not sum to the change of the measure.
    """
    graph, task = runs.graph, runs.task
    pair = contrast(runs.model, task.clean, task.counterfactual, max_gigabytes=float("inf"))
    lines = [_target(pair, task, i) for i in range(len(task))]
    start = torch.zeros_like(pair.writes[0])
    for i, line in enumerate(lines):
        (start if start.ndim == 2 else start[i])[line.position] = line.covector
    writes = -pair.writes[_writers(pair)]
    scores = writes.new_zeros(len(task), graph.n_edge, *([writes.shape[-2]] if by_position else []))

    def record(readers: slice, covectors: Float[Tensor, "*pair n_token n_reader d_model"]) -> None:
        seen = writes[: int(graph.visible[readers.start])]
        sums = "c...tm,...trm->...rct" if by_position else "c...tm,...trm->...rc"
        found = torch.einsum(sums, seen, covectors)
        found = found if pair.tokens.ndim == 3 else found[None]
        scores[:, int(graph.offsets[readers.start]) : int(graph.offsets[readers.stop])] = found.flatten(1, 2)

    def step(part: Part, layer: int, covectors: Tensor) -> Tensor:
        if part == "mlp":
            back, _ = pair.pull.mlp(layer, covectors)
            record(graph.mlp(layer), back[..., None, :])
            return back
        _, apart, _ = pair.pull.readers(layer, covectors, graph.grouped)
        record(graph.attention(layer), apart)
        return apart.sum(-2)

    record(graph.logits, start[..., None, :])
    sweep(pair, lines[0], start, step)
    _check(runs, scores)
    return scores


def _target(pair: Contrast, task: Task, i: int) -> Linear:
    """The change of one pair's log odds as a weighted sum of changes of logits, exact for sets of answers too.

    The secant of log Σ exp over a set has the logarithmic means of the shares in the set as weights.
    """
    one = pair if pair.tokens.ndim == 2 else pair[i]
    tokens: list[int] = []
    weights: list[float] = []
    for answers, sign in ((task.right[i], 1.0), (task.wrong[i], -1.0)):
        ids: Int[Tensor, " n"] = answers.reshape(-1)
        ids = ids[ids != NO_TOKEN].to(one.logits.device)
        clean, other = one.logits[:, int(task.end[i])][:, ids]
        mean = softmax_secant(clean, other).weight.double()
        tokens += ids.tolist()
        weights += (sign * mean / mean.sum()).tolist()
    return one.linear(LogitTarget(task.name, "nats", int(task.end[i]), tuple(tokens), tuple(weights)))


def _writers(pair: Contrast) -> list[int]:
    """The components that are writers of the graph; biases do not differ, and positions are in the embedding."""
    return [i for i, part in enumerate(pair.layout.components) if part.kind in ("embed", "head", "mlp")]


def _check(runs: PairRuns, scores: Tensor) -> None:
    change = runs.other.measure - runs.clean.measure
    out = torch.from_numpy(runs.graph.writer == 0).to(scores.device)
    found = scores[:, out].flatten(1).sum(1)
    error = float(((found - change).abs() / change.abs().clamp_min(1.0)).max())
    if not error <= TOLERANCE[scores.dtype]:
        raise CheckFailedError(
            f"The secant's edges out of the embedding miss the change of the measure by {error:.1e}."
        )
