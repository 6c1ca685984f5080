"""What latents of a graph have in common with other texts and with each other: top examples, and similar directions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interp.attribution.graphs.result import Graph
from interp.attribution.graphs.sources import Sources
from interp.errors import UsageError, require, whole

if TYPE_CHECKING:
    from interp.attribution.dictionaries.features import Features

CONTEXT = 8
"""Tokens shown before and after the one where a latent is strongest."""


@torch.no_grad()
def with_examples(mixed: Features, graph: Graph, texts: Sequence[str], k: int = 3) -> Graph:
    """Return the graph with texts in which its latents are strongest.

    Each latent has its k strongest places in the texts, at most one per text. The page and `Graph.explorer` show them
    as strips of tokens, coloured by the latent's value.

    Args:
        mixed: an input with dictionaries.
        graph: its graph.
        texts: where to look.
        k: places for each latent.

    Returns:
        The graph with `examples`.

    Raises:
        UsageError: neurons, which have no dictionary to encode other texts with, or no text.

    >>> mixed = attribution.features(attribution.freeze(model, tokens), transcoders)
    >>> graph = attribution.graph(mixed, attribution.logit(model, " Paris"))
    >>> len(with_examples(mixed, graph, ["a b London", "the tower is"], k=1).examples)
    4
    """
    require(graph, Graph, "graph")
    k = whole(k, "k", 1)
    if not isinstance(mixed.dictionaries, Mapping):
        raise UsageError("Neurons have no dictionary: examples are those of latents.")
    if isinstance(texts, str) or not len(texts):
        raise UsageError("Give a list of texts in which to look for examples, at least one.")
    hooks = _hooks(mixed)
    wanted = {hook: _latents(graph, name) for name, hook in hooks.items()}
    strongest: dict[tuple[str, int], list[tuple[float, dict[str, Any]]]] = {}
    for text in texts:
        tokens = mixed.model.to_tokens(text)
        _, cache = mixed.model.run_with_cache(tokens, list(wanted))
        labels = mixed.model.labels(tokens[0])
        for hook, latents in wanted.items():
            values = _encoded(mixed.dictionaries[hook], cache[hook][0])[:, latents]
            for latent, column in zip(latents, values.T, strict=True):
                best = int(column.argmax())
                if column[best] > 0:
                    around = slice(max(0, best - CONTEXT), best + CONTEXT + 1)
                    strip = {"tokens": tuple(labels[around]), "values": tuple(column[around].tolist())}
                    strongest.setdefault((hook, latent), []).append((float(column[best]), strip))
    examples = {}
    for node in graph.nodes:
        if node.kind == "latent":
            here = sorted(strongest.get((hooks[node.name], node.feature), ()), key=lambda each: -each[0])[:k]
            examples[node.id] = tuple(strip for _, strip in here)
    return replace(graph, examples={name: strips for name, strips in examples.items() if strips})


@torch.no_grad()
def similar(mixed: Features, graph: Graph, least: float = 0.6) -> dict[str, tuple[str, ...]]:
    """Return supernodes of latents with similar directions, for `Graph.grouped`.

    The latents of a group are at one position, with a cosine of `least` or more between directions.

    Nodes are joined through each other (single linkage), and a group is named by its first member's label.

    Args:
        mixed: the input of the graph.
        graph: the graph.
        least: the least cosine.

    Returns:
        Name of each group → ids of its nodes.

    >>> mixed = attribution.features(attribution.freeze(model, tokens), 4)
    >>> graph = attribution.graph(mixed, attribution.logit(model, " Paris"))
    >>> similar(mixed, graph, least=0.1)
    {"'in', '', 'Paris' (6)": ('MLP0.f11@3', 'MLP0.f13@3', 'MLP0.f18@3', 'MLP1.f17@3', 'MLP1.f35@3', 'MLP2.f26@3')}
    """
    sources = Sources(mixed)
    column = sources.column_of
    nodes = [node for node in graph.nodes if node.kind == "latent"]
    vectors = torch.stack([_direction(sources, column[node.id]) for node in nodes]) if nodes else torch.empty(0, 1)
    close = (vectors @ vectors.T >= least).cpu().numpy()
    position = np.array([node.position for node in nodes])
    close &= position[:, None] == position[None]
    group = np.arange(len(nodes))
    for i in range(len(nodes)):
        for j in np.flatnonzero(close[i]):
            group[group == group[j]] = group[i]
    supernodes = {}
    for number in dict.fromkeys(group.tolist()):
        members = [nodes[i] for i in np.flatnonzero(group == number)]
        if len(members) > 1:
            name = f"{members[0].label or members[0].id} ({len(members)})"
            supernodes[name if name not in supernodes else f"{name} {members[0].id}"] = tuple(
                node.id for node in members
            )
    return supernodes


def same_label(graph: Graph) -> dict[str, tuple[str, ...]]:
    """Return supernodes of the latents that have one label, for `Graph.grouped`.

    >>> mixed = attribution.features(attribution.freeze(model, tokens), 4)
    >>> graph = attribution.graph(mixed, attribution.logit(model, " Paris"))
    >>> {label: len(nodes) for label, nodes in same_label(graph.labelled(lambda node: f"MLP {node.layer}")).items()}
    {'MLP 0': 5, 'MLP 1': 3, 'MLP 2': 2}
    """
    supernodes: dict[str, list[str]] = {}
    for node in graph.nodes:
        if node.kind == "latent" and node.label:
            supernodes.setdefault(node.label, []).append(node.id)
    return {label: tuple(nodes) for label, nodes in supernodes.items() if len(nodes) > 1}


def _hooks(mixed: Features) -> dict[str, str]:
    """Return the hook that each site reads, by the site's name."""
    from interp.attribution.dictionaries.protocol import places_of

    assert isinstance(mixed.dictionaries, Mapping)
    return {places_of(hook, each, mixed.model.spec)[0].name: hook for hook, each in mixed.dictionaries.items()}


def _latents(graph: Graph, name: str) -> list[int]:
    return sorted({node.feature for node in graph.nodes if node.kind == "latent" and node.name == name})


def _encoded(dictionary: Any, x: Float[Tensor, "n_token d_model"]) -> Float[Tensor, "n_token width"]:
    codes = dictionary.encode(x.to(dictionary.W_enc))
    return codes if codes.layout == torch.strided else codes.to_dense()


def _direction(sources: Sources, column: int) -> Float[Tensor, " d_model"]:
    latents, i = sources.latent(column)
    vector = torch.stack([direction[i] for direction in latents.directions.values()]).sum(0)
    return vector / vector.norm()
