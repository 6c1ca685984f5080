"""Scores of edges from the secant of the measure between two runs.

Every operation is replaced by a linear map exact for the difference of the runs (`interp.attribution.contrast`).
A covector on the logits is carried back through these; at each reader it is the secant of the measure with respect to
what is read, where edge attribution patching has the gradient at one end:

    score(u → v) = Σ_t (a'_u − a_u)_t · covector_v,t

so that the scores of the edges out of the embedding, as of any other cut, sum to m(counterfactual) − m(clean). In a
mixture of experts they do so with what the experts chosen in one run only add, which no change of the stream explains.

With several segments of the line between the two embeddings the model is run at their ends too, and each segment has
secants of its own. The sum over segments is as exact; patterns on the way count, as they do for integrated gradients.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.attribution.linearised import Part, sweep
from interp.attribution.secant_map import SecantMap
from interp.attribution.secant_targets import logit_covector, logits_before_cap
from interp.attribution.secants import softmax_secant
from interp.discovery.gradients import ReaderGradients, contracted
from interp.discovery.pairs import PairRuns
from interp.errors import CheckFailedError
from interp.model.arithmetic import softcap
from interp.tasks.task import NO_TOKEN

TOLERANCE = {torch.float32: 1e-3, torch.float64: 1e-9}
"""Largest error of the sum of the edges out of the embedding, relative to the change of the measure or one nat."""


@torch.no_grad()
def secant_edges(runs: PairRuns, by_position: bool = False) -> Float[Tensor, "batch n_edge *n_token"]:
    """Score every edge of a batch of pairs.

    Raises `CheckFailedError` when the edges out of the embedding, with what another choice of experts adds, do not sum
    to the change of the measure.
    """
    graph, secant = runs.graph, runs.secants
    start = torch.zeros_like(secant.writes[0])
    for i, end in enumerate(runs.end.tolist() * runs.segments):
        start[i, end] = _covector(runs, secant, i, end)
    secants = [ReaderGradients(graph.logits, start[:, None])]
    chosen = start.new_zeros(len(start))

    def step(part: Part, layer: int, covectors: Tensor) -> Tensor:
        nonlocal chosen
        if part == "mlp":
            back, constants = secant.pull.mlp(layer, covectors)
            chosen = chosen + constants
            secants.append(ReaderGradients(graph.mlp(layer), back[:, None]))
            return back
        _, apart, _ = secant.pull.readers(layer, covectors, graph.grouped)
        secants.append(ReaderGradients(graph.attention(layer), apart.transpose(1, 2)))
        return apart.sum(-2)

    sweep(secant, len(secant.layout.components), start, step)
    scores = contracted(runs, secants, _difference(secant), by_position).unflatten(0, (runs.segments, -1)).sum(0)
    _check(runs, scores, chosen.view(runs.segments, -1).sum(0))
    return scores


def _covector(runs: PairRuns, secant: SecantMap, i: int, end: int) -> Float[Tensor, " d_model"]:
    """Return one pair's change of log odds as a covector on the stream.

    It is exact for sets of answers too.

    The secant of log Σ exp over a set has the logarithmic means of the shares in the set as weights.
    """
    x, final = secant.residual[:, i, end], secant.final.map(lambda x: x[i, end])
    tokens: list[Tensor] = []
    weights: list[Tensor] = []
    pair = i % len(runs)
    for answers, sign in ((runs.task.right[pair], 1.0), (runs.task.wrong[pair], -1.0)):
        ids: Int[Tensor, " n"] = answers.reshape(-1).to(x.device)
        ids = ids[ids != NO_TOKEN]
        clean, other = softcap(logits_before_cap(runs.model, x, ids), runs.model.spec.logit_softcap)
        mean = softmax_secant(clean, other).weight.double()
        tokens.append(ids)
        weights.append((sign * mean / mean.sum()).to(x))
    return logit_covector(runs.model, final, x, torch.cat(tokens), torch.cat(weights))


def _difference(secant: SecantMap) -> Float[Tensor, "batch n_writer n_token d_model"]:
    """Return what corrupting each writer of the graph adds.

    Biases do not differ, and the experts of a layer are one MLP.
    """
    layout, n_head = secant.layout, secant.model.spec.n_head
    parts = [secant.writes[:1]]
    for layer in range(secant.model.spec.n_layer):
        heads, mlp = layout.start(layer), layout.mlp(layer)
        parts += [secant.writes[heads : heads + n_head], secant.writes[mlp : mlp + layout.n_mlp].sum(0, keepdim=True)]
    return -torch.cat(parts).transpose(0, 1).contiguous()


def secant_ends(runs: PairRuns) -> Float[Tensor, "run batch"]:
    """Return the measure in the two runs of the secant map."""
    clean, other = runs.secants.residual
    return torch.stack([runs.measure(clean[: len(runs)]), runs.measure(other[-len(runs) :])])


def _check(runs: PairRuns, scores: Tensor, chosen: Tensor) -> None:
    clean, other = secant_ends(runs)
    change = other - clean
    out = torch.from_numpy(runs.graph.writer == 0).to(scores.device)
    total = scores[:, out].flatten(1).sum(1) - chosen
    error = float(((total - change).abs() / change.abs().clamp_min(1.0)).max())
    if not error <= TOLERANCE[scores.dtype]:
        raise CheckFailedError(
            f"The secant's edges out of the embedding miss the change of the measure by {error:.1e}."
        )
