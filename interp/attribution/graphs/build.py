"""`graph(mixed, targets)`: the attribution graph of one input, traced by influence and pruned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interp.attribution.dictionaries.features import Features
from interp.attribution.dictionaries.shares import error_share
from interp.attribution.graphs import influence as shares
from interp.attribution.graphs.labels import raised
from interp.attribution.graphs.result import Graph
from interp.attribution.graphs.rows import latent_rows, target_rows
from interp.attribution.graphs.sources import Sources
from interp.attribution.linearised import Linear
from interp.attribution.results import DirectionTarget, LogitTarget, Target
from interp.errors import CheckFailedError, UsageError, require, whole
from interp.progress import Progress

BATCH = 256
"""Rows carried back together; a refresh of influences follows every fourth batch."""


@dataclass(frozen=True)
class Adjacency:
    """Direct effects among the traced nodes.

    `matrix[i, j]` is that of node j on node i, in the order of `columns`.

    `columns` are those of `Sources`, targets last; `biases` what biases add to each row, `dropped` what latents that
    were not traced do.
    """

    sources: Sources
    columns: np.ndarray
    targets: tuple[Linear, ...]
    matrix: Float[np.ndarray, "node node"]
    values: Float[np.ndarray, " node"]
    biases: Float[np.ndarray, " node"]
    dropped: Float[np.ndarray, " node"]
    error: float

    @property
    def kinds(self) -> np.ndarray:
        """The kind of each node."""
        inner = self.sources.kind[self.columns]
        return np.array([*inner, *["target"] * len(self.targets)])


@torch.no_grad()
def graph(  # noqa: PLR0913 (the bounds are keyword-only)
    mixed: Features,
    targets: Target | Sequence[Target] | None = None,
    *,
    node_share: float = 0.8,
    edge_share: float = 0.98,
    max_latents: int = 4000,
    probability: float = 0.95,
    most: int = 10,
    progress: Progress | None = None,
) -> Graph:
    """Trace which latents, errors and tokens feed the targets; prune by influence.

    An edge is the direct effect write(source) · J · a(target), J passing through residual streams, fixed attention
    patterns and norm scales alone; edges into a latent sum, with its biases and what was pruned, to its value. In a
    contrast effects pass through queries and keys too, and all values are differences between the runs. Nodes are
    selected by influence w ((I − A~)⁻¹ − I), see `interp.attribution.graphs.influence`. Errors end paths here, as in
    the literature; `path_tree` takes them further.

    Sources: attribution graphs (Ameisen et al. 2025, "Circuit tracing"); circuit-tracer, whose scores and pruning
    these are.

    Args:
        mixed: an input with dictionaries, as `features` gives it.
        targets: what is explained: targets of `logit` and others, weighted by the model's probability where they are
            logits, else equally. By default the most likely next tokens, each as its logit less the mean logit.
        node_share: keep nodes that hold this share of the influence; tokens and targets always stay.
        edge_share: then keep edges that hold this share of what edges carry.
        max_latents: trace this many latents, chosen by their influence on what is traced already; the others' effects
            are summed into the remainders. Memory: about 4 · max_latents · (all nodes) bytes.
        probability: by default, as many next tokens as together have this probability,
        most: and no more than this.
        progress: called with (latents traced, latents to trace, what is being done).

    Returns:
        The pruned graph, with the scores of the whole one.

    Raises:
        UsageError: something else than an input with dictionaries, or bounds that make no sense.
        CheckFailedError: a row that misses its node's value by more than the input's tolerance of the largest value.

    >>> mixed = attribution.features(attribution.freeze(model, tokens), 4)
    >>> traced = graph(mixed, attribution.logit(model, " Paris"))
    >>> len(traced.nodes), len(traced.edges), traced.replacement
    (16, 60, 0.804)
    """
    require(mixed, Features, "mixed")
    max_latents, most = whole(max_latents, "max_latents", 1), whole(most, "most", 1)
    for value, name in ((node_share, "node_share"), (edge_share, "edge_share"), (probability, "probability")):
        require(value, Real, name)
        if not 0 <= value <= 1:
            raise UsageError(f"{name} is a share from 0 to 1, not {value}.")
    wanted = likely(mixed, probability, most) if targets is None else _listed(targets)
    weights = np.array([_probability(mixed, target) for target in wanted])
    if not all(isinstance(target, LogitTarget) for target in wanted):
        weights = np.full(len(wanted), 1 / len(wanted))
    effects = adjacency(mixed, wanted, weights, max_latents, progress)
    return _graph(mixed, effects, wanted, weights, node_share, edge_share)


def likely(mixed: Features, probability: float, most: int, position: int = -1) -> tuple[LogitTarget, ...]:
    """Return the most likely next tokens as targets.

    They are the fewest that have this probability in sum; each target is a logit less the mean logit.
    """
    chances = chances_at(mixed, position)
    order = chances.argsort(descending=True)
    n = min(most, int((chances[order].cumsum(0) < probability).sum()) + 1)
    texts = mixed.model.labels(order[:n]) if mixed.model.has_tokenizer else [str(i) for i in order[:n].tolist()]
    return tuple(
        centred(text, token, len(chances), position) for text, token in zip(texts, order[:n].tolist(), strict=True)
    )


def centred(text: str, token: int, d_vocab: int, position: int) -> LogitTarget:
    """Return a token's logit less the mean of all logits.

    The softmax ignores this mean.
    """
    weights = [-1 / d_vocab] * d_vocab
    weights[token] += 1
    order = [token, *(i for i in range(d_vocab) if i != token)]
    return LogitTarget(f"logit of {text!r}", "logits", position, tuple(order), tuple(weights[i] for i in order))


def adjacency(
    mixed: Features,
    targets: Sequence[Target],
    weights: Float[np.ndarray, " target"],
    max_latents: int,
    progress: Progress | None = None,
) -> Adjacency:
    """Return direct effects among all nodes, latents limited to the most influential."""
    sources, linear = Sources(mixed), tuple(mixed.linear(target) for target in targets)
    n_target, n_source = len(linear), len(sources)
    rows = target_rows(sources, linear)
    effects, biases = [_array(rows.effects)], [_array(rows.biases)]
    traced = np.empty(0, np.int64)
    n_rows = min(max_latents, sources.n_latent)
    while len(traced) < n_rows:
        left = np.setdiff1d(np.arange(sources.n_latent), traced)
        if n_rows < sources.n_latent:
            left = _most_influential(np.concatenate(effects), traced, left, n_source, weights)[: 4 * BATCH]
        left = left[: n_rows - len(traced)]
        for first in range(0, len(left), BATCH):
            rows = latent_rows(sources, left[first : first + BATCH])
            effects.append(_array(rows.effects))
            biases.append(_array(rows.biases))
            traced = np.concatenate([traced, left[first : first + BATCH]])
            if progress is not None:
                progress(len(traced), n_rows, "tracing latents")
    return _assembled(sources, linear, np.concatenate(effects), np.concatenate(biases), traced, n_target)


def _most_influential(
    effects: np.ndarray, traced: np.ndarray, left: np.ndarray, n_source: int, weights: np.ndarray
) -> np.ndarray:
    """Return the latents not yet traced, most influential first.

    By the rows so far.
    """
    n_target = len(weights)
    row_node = np.concatenate([n_source + np.arange(n_target), traced])
    known = np.concatenate([effects, np.zeros((len(effects), n_target), effects.dtype)], axis=1)
    influence = shares.row_influence(known, row_node, np.concatenate([np.zeros(n_source), weights]))
    return left[np.argsort(-influence[left], kind="stable")]


def _assembled(
    sources: Sources,
    targets: tuple[Linear, ...],
    effects: np.ndarray,
    biases: np.ndarray,
    traced: np.ndarray,
    n_target: int,
) -> Adjacency:
    """Return the square matrix of effects, checking every row's sum."""
    order = np.argsort(traced)
    columns = np.concatenate([traced[order], np.arange(sources.n_latent, len(sources))])
    n = len(columns) + n_target
    row_of = np.concatenate([np.arange(len(traced)), np.arange(len(columns), n)])
    by_row = np.concatenate([n_target + order, np.arange(n_target)])
    matrix, own, dropped, values = (np.zeros(shape) for shape in ((n, n), n, n, n))
    matrix[np.ix_(row_of, np.arange(len(columns)))] = effects[np.ix_(by_row, columns)]
    own[row_of] = biases[by_row]
    sums = effects[by_row].sum(1, dtype=np.float64)
    dropped[row_of] = sums - matrix[row_of].sum(1)
    values[: len(columns)] = sources.value[columns]
    values[len(columns) :] = [linear.value for linear in targets]
    largest = max(np.abs(values[row_of]).max(), *(linear.scale for linear in targets))
    error = float(np.abs(sums + own[row_of] - values[row_of]).max() / largest)
    if not error <= sources.features.tolerance:
        raise CheckFailedError(
            f"A row of the graph misses its node's value by {error:.1e} of the largest; tolerance "
            f"{sources.features.tolerance:.0e}."
        )
    return Adjacency(sources, columns, targets, matrix, values, own, dropped, error)


def _graph(
    mixed: Features,
    effects: Adjacency,
    targets: Sequence[Target],
    chances: np.ndarray,
    node_share: float,
    edge_share: float,
) -> Graph:
    kinds, sources, columns = effects.kinds, effects.sources, effects.columns
    weights = np.zeros(len(kinds))
    weights[len(columns) :] = chances
    fixed = np.isin(kinds, ("token", "target"))
    chosen = shares.prune(effects.matrix, weights, fixed, kinds == "latent", node_share, edge_share)
    rows = np.flatnonzero(chosen.nodes)
    inner = np.where(chosen.edges, effects.matrix, 0.0)
    outside = effects.matrix.sum(1) - inner.sum(1) + effects.dropped
    place = np.full(len(kinds), -1)
    place[rows] = np.arange(len(rows))
    target, source = np.nonzero(chosen.edges)
    inside = columns[rows[rows < len(columns)]]
    ids = [target.tokens[0] if isinstance(target, LogitTarget) else i for i, target in enumerate(targets)]
    n_target, n_layer = len(targets), mixed.model.spec.n_layer
    at = [mixed.position(target.position) for target in targets]
    layers = [t.layer if isinstance(t, DirectionTarget) else n_layer for t in targets]
    tokens = mixed.tokens if mixed.tokens.ndim == 1 else mixed.tokens[0]
    return Graph(
        model=mixed.model.name,
        tokens=mixed.labels,
        token_ids=tokens.cpu().numpy(),
        n_layer=n_layer,
        unit=targets[0].unit,
        kind=tuple(kinds[rows].tolist()),
        layer=np.concatenate([sources.layer[inside], layers]).astype(np.int64),
        position=np.concatenate([sources.position[inside], at]).astype(np.int64),
        feature=np.concatenate([sources.feature[inside], ids]).astype(np.int64),
        name=(*sources.name[inside].tolist(), *["target"] * n_target),
        label=(*raised(mixed, sources, inside), *(target.name for target in targets)),
        value=effects.values[rows],
        influence=chosen.influence[rows],
        cumulative=chosen.cumulative[rows],
        pruned=outside[rows],
        bias=effects.biases[rows],
        source=place[source],
        target=place[target],
        weight=effects.matrix[target, source],
        probabilities=tuple(chances.tolist()),
        replacement=shares.replacement(effects.matrix, weights, kinds == "token", kinds == "error"),
        completeness=shares.completeness(effects.matrix, weights, kinds == "error"),
        error_share=error_share(mixed, targets, chances.tolist()),
        node_share=float(node_share),
        edge_share=float(edge_share),
        error=effects.error,
        n_active=sources.n_latent,
        n_rows=int((kinds == "latent").sum()),
        supernodes={},
        queries={},
        examples={},
    )


def _listed(targets: Target | Sequence[Target]) -> tuple[Target, ...]:
    several = tuple(targets) if isinstance(targets, Sequence) else (targets,)
    if not several:
        raise UsageError("Give at least one target, or none at all for the most likely next tokens.")
    return several


def _probability(mixed: Features, target: Target) -> float:
    """Return the model's probability of a logit's first token at its position."""
    if not isinstance(target, LogitTarget):
        return 0.0
    return float(chances_at(mixed, target.position)[target.tokens[0]])


def chances_at(mixed: Features, position: int) -> Float[Tensor, " d_vocab"]:
    """Return the model's probabilities of the next token at a position.

    For a contrast they are those of the clean run.
    """
    logits = mixed.logits_at(position)
    return (logits if logits.ndim == 1 else logits[0]).double().softmax(-1)


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.cpu().numpy()
