"""Study of a prompt's attribution graph.

It freezes the prompt, inserts dictionaries, traces and prunes the graph, grows the path tree and ablates latents.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from analyses.graph.result import Config, GraphStudy
from interp import attribution
from interp.arguments import checked
from interp.attribution.results import LogitTarget
from interp.errors import UsageError
from interp.files import read_text
from interp.model import Model
from interp.progress import Progress, stages
from interp.provenance import Stopwatch

STEPS = ("reading the prompt", "tracing the graph", "growing the tree", "changing latents", "done")
PATHS = 30
"""Number of paths that are listed."""
QUERIES = 10
"""Number of latents whose attention score is split."""


@checked
def run(
    model: Model,
    config: Config,
    *,
    dictionaries: Mapping[str, Any] | None = None,
    command: str | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> GraphStudy:
    """Trace the graph of a prompt and check it with interventions.

    Args:
        model: a model with a tokenizer.
        config: the prompt, the dictionaries and the bounds of the graph.
        dictionaries: hook -> dictionary, used instead of those in `config.dictionaries` if given.
        command: the command that the user typed, for the provenance.
        seed: seed of the random latents that the ablations are compared with.
        progress: called with (steps done, steps in all, what is done).

    Returns:
        `GraphStudy` with the pruned graph, the largest paths in logits, and the checks.

    Raises:
        UsageError: a prompt of fewer than two tokens, or invalid bounds.
        MissingInputError: the folder has no dictionaries.

    Example:
        >>> from analyses import graph
        >>> study = graph.run(model, graph.Config("the tower is", neurons=4, expansions=20, changed=3))
        >>> study.graph.tokens, len(study.graph.kind)
        (('the', ' tower', ' is'), 23)
    """
    watch, step = Stopwatch(), stages(progress, STEPS)
    step(0)
    tokens = model.to_tokens(config.prompt)
    if tokens.shape[1] < 2:
        raise UsageError("The prompt is a single token: give one of at least two, so that there is something to trace.")
    frozen = attribution.freeze(model, tokens)
    mixed = attribution.features(frozen, _dictionaries(config, dictionaries), first=config.first)
    target = _difference(model, frozen.logits_at(-1), config)
    step(1)
    graph = attribution.graph(
        mixed,
        node_share=config.node_share,
        edge_share=config.edge_share,
        max_latents=config.max_latents,
        progress=progress,
    )
    graph = attribution.with_queries(mixed, graph, QUERIES)
    if config.texts:
        texts = [line for line in read_text(Path(config.texts)).splitlines() if line.strip()]
        graph = attribution.with_examples(mixed, graph, texts)
    step(2)
    tree = attribution.path_tree(mixed, target, config.expansions, progress=progress)
    step(3)
    every = range(model.spec.n_layer)
    checks = (
        attribution.intervene(mixed, graph, target, k=config.changed, seed=seed),
        attribution.intervene(mixed, graph, target, k=config.changed, hold=every, hold_patterns=True, seed=seed),
    )
    step(4)
    return GraphStudy(
        config=config,
        provenance=watch.provenance(command=command, seed=seed, **model.identity()),
        graph=graph.grouped(attribution.similar(mixed, graph)),
        difference=target.name,
        paths=tree.paths(PATHS),
        total=tree.total,
        value=mixed.linear(target).value,
        mass=tree.mass,
        error=tree.error,
        expanded=int(tree.expanded.sum()) - 1,
        shares=attribution.error_shares(mixed, target),
        checks=checks,
    )


def _dictionaries(config: Config, given: Mapping[str, Any] | None) -> Mapping[str, Any] | int:
    if given is not None:
        return given
    if not config.dictionaries:
        return config.neurons
    from saes import DictionarySet

    return DictionarySet.load(config.dictionaries)


def _difference(model: Model, logits: torch.Tensor, config: Config) -> LogitTarget:
    """Return the difference of two logits that is explained.

    By default it is that of the two likeliest next tokens.
    """
    best = logits.topk(3).indices.tolist()
    answer = model.token_id(config.answer) if config.answer is not None else best[0]
    others = [token for token in best if token != answer]
    versus = model.token_id(config.versus) if config.versus is not None else others[0]
    return attribution.logit_difference(model, answer, versus)
