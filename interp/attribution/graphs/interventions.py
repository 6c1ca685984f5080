"""Is a graph causal? Latents are changed for real, and what the target does is compared with what the map predicts.

A latent's value f at a position becomes f′, so the model's own write there changes by (f′ − f) d, and everything after
it reacts: norms, attention patterns, gates, other latents. Had nothing but the linear part moved, the target would
change by (f′ − f) d · g, with g the target's covector carried back over all paths: that is the prediction. With `hold`
the MLPs of some layers keep writing what they wrote (constrained patching), and with `hold_patterns` attention keeps
looking where it looked; with both everywhere, only norms can make the two differ.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interp import edit
from interp.attribution.dictionaries.features import Features
from interp.attribution.dictionaries.protocol import Written
from interp.attribution.dictionaries.site import Site
from interp.attribution.dictionaries.sweep import sweep
from interp.attribution.frozen import Frozen
from interp.attribution.graphs.checks import Interventions
from interp.attribution.graphs.result import Graph
from interp.attribution.graphs.sources import Sources, Stage
from interp.attribution.linearised import start_of
from interp.attribution.results import LogitTarget, Target
from interp.errors import UsageError, require, whole
from interp.model.edits import Edit
from interp.statistics import DRAWS, bootstrap, rank_correlation

BATCH = 16
"""Runs of the model that are computed together."""
How = Literal["ablate", "scale", "set"]


@dataclass(frozen=True)
class Change:
    """Change of some latents in one run, by their columns in `Sources`."""

    name: str
    columns: tuple[int, ...]


@torch.no_grad()
def intervene(  # noqa: PLR0913 (what is done, to what, and what is fixed)
    mixed: Features,
    graph: Graph,
    target: LogitTarget,
    *,
    how: How = "ablate",
    amount: float = 0.0,
    k: int = 20,
    hold: Sequence[int] = (),
    hold_patterns: bool = False,
    seed: int = 0,
) -> Interventions:
    """Change the graph's most influential latents and random ones, one per run.

    There are k of each kind. Supernodes of the graph come first, each changed as a whole.

    Args:
        mixed: a frozen input with dictionaries, the one the graph is of.
        graph: its graph.
        target: the logit, or difference of logits, that is observed.
        how: "ablate" sets a latent to 0, "scale" multiplies it by `amount`, "set" clamps it to `amount`.
        amount: for "scale" and "set".
        k: how many latents, or all of the graph if it has fewer; at least 3.
        hold: layers whose MLPs write what they wrote in the run without change, in the layers after the change.
        hold_patterns: whether attention patterns are those of that run.
        seed: draws the random latents and the bootstrap samples.

    Returns:
        Predicted and actual changes, with Spearman's rank correlation and its 95 % bootstrap interval over latents.

    Raises:
        UsageError: a contrast, another input's graph, fewer than 3 latents, an unknown `how` or a layer that does not
            exist.

    >>> mixed, target = attribution.features(attribution.freeze(model, tokens), 4), attribution.logit(model, " Paris")
    >>> check = intervene(mixed, attribution.graph(mixed, target), target, k=3)
    >>> check.predicted.round(3), check.actual.round(3)
    (array([-0.863, -0.74 ,  0.746]), array([-1.037, -0.402,  0.4  ]))
    """
    require(mixed, Features, "mixed")
    require(graph, Graph, "graph")
    require(target, LogitTarget, "target")
    k, seed = whole(k, "k", 3), whole(seed, "seed", 0)
    _check(mixed, graph, how, hold)
    sources = Sources(mixed)
    chosen = _chosen(sources, graph, k)
    own = {column for change in chosen for column in change.columns}
    others = np.setdiff1d(np.arange(sources.n_latent), list(own))
    drawn = np.random.default_rng(seed).choice(others, min(len(chosen), len(others)), replace=False)
    controls = [Change(_name(sources, int(i)), (int(i),)) for i in np.sort(drawn)]
    runs = _Runs(mixed, sources, target, how, amount, tuple(hold), hold_patterns)
    predicted, actual = runs.predicted([*chosen, *controls]), runs.actual([*chosen, *controls])
    n = len(chosen)
    done = {"ablate": "set to 0", "scale": f"multiplied by {amount:g}", "set": f"set to {amount:g}"}[how]
    fixed = ([f"MLPs of {len(hold)} layers fixed"] if hold else []) + (["patterns fixed"] if hold_patterns else [])
    return Interventions(
        target=target.name,
        unit=target.unit,
        done=", ".join([done, *fixed]),
        nodes=tuple(change.name for change in chosen),
        predicted=predicted[:n],
        actual=actual[:n],
        controls=tuple(change.name for change in controls),
        predicted_controls=predicted[n:],
        actual_controls=actual[n:],
        correlation=_correlation(predicted[:n], actual[:n], seed),
        correlation_controls=_correlation(predicted[n:], actual[n:], seed),
    )


class _Runs:
    """Predictions and runs of one kind of change."""

    def __init__(
        self,
        mixed: Features,
        sources: Sources,
        target: Target,
        how: How,
        amount: float,
        hold: tuple[int, ...],
        hold_patterns: bool,
    ):
        self.mixed, self.sources, self.target = mixed, sources, target
        self.how, self.amount, self.hold, self.hold_patterns = how, amount, hold, hold_patterns

    def deltas(self, column: int) -> list[tuple[Stage, int, Tensor]]:
        """Return a latent's changes at each stage it writes.

        As (stage, position, change of the write).
        """
        latents, i = self.sources.latent(column)
        value = latents.values[i]
        new = {"ablate": 0.0, "scale": float(value) * self.amount, "set": self.amount}[self.how]
        at = int(latents.at[i])
        return [(stage, at, (new - value) * direction[i]) for stage, direction in latents.directions.items()]

    def predicted(self, changes: Sequence[Change]) -> Float[np.ndarray, " change"]:
        """Compute each change of the write times the target's covector on it."""
        linear, covectors = self.mixed.linear(self.target), {}

        def visit(layer: int, stage: Written, site: Site | None, on_write: Tensor) -> None:
            if site is not None:
                covectors[layer, stage] = on_write

        sweep(self.mixed, start_of(self.mixed, linear), linear.visible, visit, frozen_mlps=self.hold)
        changed = []
        for change in changes:
            parts = [part for column in change.columns for part in self.deltas(column)]
            changed.append(sum(float(vector @ covectors[stage][at]) for stage, at, vector in parts))
        return np.array(changed)

    def actual(self, changes: Sequence[Change]) -> Float[np.ndarray, " change"]:
        """Measure the target in a run with each change made."""
        clean, differences = self._measured([()]), []
        for first in range(0, len(changes), BATCH):
            differences.append(self._measured([change.columns for change in changes[first : first + BATCH]]) - clean)
        return np.concatenate(differences)

    def _measured(self, rows: Sequence[tuple[int, ...]]) -> Float[np.ndarray, " row"]:
        tokens = self.mixed.tokens[None].expand(len(rows), -1)
        logits = self.mixed.model.edited(*self._edits(rows))(tokens)
        at = self.mixed.position(self.target.position)
        assert isinstance(self.target, LogitTarget)
        weights = torch.tensor(self.target.weights, dtype=torch.float64, device=logits.device)
        return (logits[:, at, list(self.target.tokens)].double() @ weights).cpu().numpy()

    def _edits(self, rows: Sequence[tuple[int, ...]]) -> list[Edit]:
        """Return the edits that fix MLPs and patterns, then the changes."""
        model, base, deltas = self.mixed.model, self.mixed.base, {}
        made: list[Edit] = []
        assert isinstance(base, Frozen)
        for layer in self.hold:
            first = base.layout.mlp(layer)
            value = base.writes[first : base.layout.start(layer + 1)].sum(0)
            made.append(edit.replace(f"blocks.{layer}.hook_mlp_out", value))
        if self.hold_patterns:
            made += [
                edit.replace(f"blocks.{layer}.attn.hook_pattern", block.pattern)
                for layer, block in enumerate(base.blocks)
            ]
        like = base.writes
        for row, columns in enumerate(rows):
            for (layer, stage), at, vector in (part for column in columns for part in self.deltas(column)):
                hook = f"blocks.{layer}.hook_{stage}"
                if hook not in deltas:
                    deltas[hook] = like.new_zeros(len(rows), self.mixed.n_token, model.spec.d_model)
                deltas[hook][row, at] += vector
        return [*made, *(edit.function(hook, _adding(delta)) for hook, delta in deltas.items())]


def _adding(delta: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda value: value + delta.to(value.dtype)


def _chosen(sources: Sources, graph: Graph, k: int) -> list[Change]:
    """Return the graph's supernodes, then its k latents of most influence."""
    column = sources.column_of
    chosen = []
    for name, nodes in graph.supernodes.items():
        members = tuple(column[node] for node in nodes if node in column)
        if members:
            chosen.append(Change(name, members))
    order = [graph.ids[i] for i in np.argsort(-graph.influence, kind="stable") if graph.kind[i] == "latent"]
    if len(order) < 3 or order[0] not in column:
        raise UsageError("The graph needs at least 3 latents, and must be of the input that is given.")
    return [*chosen, *(Change(name, (column[name],)) for name in order[:k])]


def _name(sources: Sources, i: int) -> str:
    return f"{sources.name[i]}.f{sources.feature[i]}@{sources.position[i]}"


def _correlation(predicted: np.ndarray, actual: np.ndarray, seed: int) -> tuple[float, float, float]:
    """Return (Spearman's rank correlation, lower, upper) over latents."""
    n = len(predicted)

    def statistic(weights: np.ndarray) -> np.ndarray:
        rows = [np.repeat(np.arange(n), counts.astype(int)) for counts in weights]
        return np.array([rank_correlation(predicted[row], actual[row]) for row in rows])

    if n < 3:
        return np.nan, np.nan, np.nan
    return bootstrap(statistic, np.arange(n), seed=seed, draws=min(DRAWS, 1000))


def _check(mixed: Features, graph: Graph, how: str, hold: Sequence[int]) -> None:
    if not isinstance(mixed.base, Frozen):
        raise UsageError("Latents are changed in one run: pass a frozen input with dictionaries, not a contrast.")
    if how not in ("ablate", "scale", "set"):
        raise UsageError(f'how must be "ablate", "scale" or "set", not "{how}".')
    if not np.array_equal(graph.token_ids, mixed.tokens.cpu().numpy()):
        raise UsageError("The graph is of another prompt than the input: make both from the same tokens.")
    n_layer = mixed.model.spec.n_layer
    for layer in hold:
        if not 0 <= whole(layer, "A layer") < n_layer:
            raise UsageError(f"Layer {layer} does not exist: the model has layers 0 to {n_layer - 1}.")
