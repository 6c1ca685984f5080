"""A pruned attribution graph as a result. No torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from interp.errors import UsageError, whole
from interp.report import Edge as DrawnEdge, Explorer, Figure, Group, Node as DrawnNode, Shown, Table
from interp.report.cards import Strip
from interp.results import Result

KINDS = ("latent", "error", "token", "target")
MOST_DRAWN = 20_000
"""Edges on a page, which takes some 50 bytes for each."""
DRAWN = {"latent": "feature", "error": "error", "token": "embed", "target": "target"}


class Node(NamedTuple):
    """One node of a graph.

    `kind` is latent, error, token or target; `layer` −1 for tokens and n_layer for targets; `feature` a latent's
    number, a token's or target's id, −1 for an error. `value` is a latent's activation, a target's value, or the norm
    of an error. `influence` is the share of the targets' weight that paths carry from the node, `cumulative` that of
    this node and all of larger influence. A latent's or target's value is the sum of its edges, `pruned` and `bias`.
    """

    id: str
    kind: str
    layer: int
    position: int
    feature: int
    name: str
    label: str
    value: float
    influence: float
    cumulative: float
    pruned: float
    bias: float


class Edge(NamedTuple):
    """Direct effect of one node on another.

    In units of the other's value.
    """

    source: str
    target: str
    weight: float


@dataclass(frozen=True, eq=False)
class Graph(Shown, Result):
    """Attribution graph of latents, errors, tokens and targets, pruned by influence.

    Its edges are direct effects. Nodes are columns, in the order latents, errors, tokens, targets: see `Node`. Edges
    run from `source` to `target`, rows of the nodes, with `weight`. `probabilities` are the model's for the targets,
    the weights of their influence. `replacement` and `completeness` are the scores of the whole graph, before pruning,
    and `error_share` how much of what flows from the dictionaries' places to the targets is left to errors. `error` is
    the largest miss of a row's sum, relative to the largest value. `n_active` latents were active, `n_rows` of them
    were traced before pruning. `supernodes` are nodes by group, `queries` attention scores behind latents
    (`with_queries`), and `examples` strips of tokens where a latent is strongest (`with_examples`), by the ids of
    nodes.

    >>> mixed = attribution.features(attribution.freeze(model, tokens), 4)
    >>> graph = attribution.graph(mixed, attribution.logit(model, " Paris"))
    >>> graph.ids[:2], len(graph.edges)
    (('MLP0.f22@1', 'MLP0.f5@2'), 60)
    """

    model: str
    tokens: tuple[str, ...]
    token_ids: np.ndarray
    n_layer: int
    unit: str
    kind: tuple[str, ...]
    layer: np.ndarray
    position: np.ndarray
    feature: np.ndarray
    name: tuple[str, ...]
    label: tuple[str, ...]
    value: np.ndarray
    influence: np.ndarray
    cumulative: np.ndarray
    pruned: np.ndarray
    bias: np.ndarray
    source: np.ndarray
    target: np.ndarray
    weight: np.ndarray
    probabilities: tuple[float, ...]
    replacement: float
    completeness: float
    error_share: float
    node_share: float
    edge_share: float
    error: float
    n_active: int
    n_rows: int
    supernodes: dict[str, tuple[str, ...]]
    queries: dict[str, Any]
    examples: dict[str, Any]

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """Unique name of each node.

        Such as "MLP5.f123@3" or "logit@9: ' Paris'".
        """
        names = []
        for kind, name, feature, position in zip(
            self.kind, self.name, self.feature.tolist(), self.position.tolist(), strict=True
        ):
            own = {"latent": f"{name}.f{feature}", "target": f"{name}#{feature}"}.get(kind, name)
            names.append(f"{own}@{position}")
        seen: dict[str, int] = {}
        for i, name in enumerate(names):  # two targets may begin with one token
            seen[name] = seen.get(name, 0) + 1
            names[i] = name if seen[name] == 1 else f"{name}.{seen[name]}"
        return tuple(names)

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        """Every node, in the order of the columns."""
        columns = (self.layer, self.position, self.feature, self.value, self.influence, self.cumulative)
        layer, position, feature, value, influence, cumulative = (column.tolist() for column in columns)
        rest = zip(self.pruned.tolist(), self.bias.tolist(), strict=True)
        return tuple(
            Node(*each, *left)
            for *each, left in zip(
                *(self.ids, self.kind, layer, position, feature, self.name, self.label),
                *(value, influence, cumulative),
                rest,
                strict=True,
            )
        )

    @cached_property
    def edges(self) -> tuple[Edge, ...]:
        """Every edge, the largest first."""
        order = np.argsort(-np.abs(self.weight), kind="stable")
        ends = zip(self.source[order].tolist(), self.target[order].tolist(), self.weight[order].tolist(), strict=True)
        return tuple(Edge(self.ids[a], self.ids[b], weight) for a, b, weight in ends)

    def index(self, node: str | int) -> int:
        """Return the row of a node by its id.

        Raises `UsageError` if the graph does not have it.

        >>> graph.index(graph.ids[3])
        3
        """
        if isinstance(node, str):
            if node not in self.ids:
                raise UsageError(f'No node "{node}" is in this graph of {len(self.ids)} nodes: see graph.ids.')
            return self.ids.index(node)
        return whole(node, "A node", 0)

    def inputs(self, node: str | int) -> tuple[Edge, ...]:
        """Return the edges into a node, the largest first.

        >>> graph.inputs(graph.ids[-1])[0]
        Edge(source='MLP1.f4@3', target='target#19@3', weight=1.112)
        """
        return tuple(edge for edge in self.edges if edge.target == self.ids[self.index(node)])

    def outputs(self, node: str | int) -> tuple[Edge, ...]:
        """Return the edges out of a node, the largest first.

        >>> [(edge.target, edge.weight) for edge in graph.outputs(graph.ids[0])[:2]]
        [('MLP1.f17@3', 1.572), ('MLP1.f35@3', 1.240)]
        """
        return tuple(edge for edge in self.edges if edge.source == self.ids[self.index(node)])

    def labelled(self, labels: Mapping[str, str] | Callable[[Node], str]) -> Graph:
        """Return the graph with other labels of latents.

        Labels are {id: label}, or a function of the node. No network is used unless the function uses one.

        >>> graph.labelled({graph.ids[0]: "names of towers"}).nodes[0].label
        'names of towers'
        """
        given = labels if callable(labels) else lambda node: labels.get(node.id, node.label)
        return replace(
            self,
            label=tuple(
                given(node) if node.kind == "latent" else old for node, old in zip(self.nodes, self.label, strict=True)
            ),
        )

    def grouped(self, supernodes: Mapping[str, Sequence[str]]) -> Graph:
        """Return the graph with supernodes: {name: ids of its nodes}.

        Raises `UsageError` for a node that is not in the graph, or in two supernodes.

        >>> graph.grouped({"pair": graph.ids[:2]}).supernodes
        {'pair': ('MLP0.f22@1', 'MLP0.f5@2')}
        """
        groups = {name: tuple(self.ids[self.index(node)] for node in nodes) for name, nodes in supernodes.items()}
        members = [node for nodes in groups.values() for node in nodes]
        twice = next((node for node in members if members.count(node) > 1), None)
        if twice is not None:
            raise UsageError(f'"{twice}" is in two supernodes: a node belongs to one at most.')
        return replace(self, supernodes=groups)

    def collapsed(self) -> tuple[Edge, ...]:
        """Return the edges between supernodes and single nodes, largest first.

        Single nodes are in no supernode; edges inside a supernode are left out.

        >>> len(graph.collapsed()), len(graph.grouped({"pair": graph.ids[:2]}).collapsed())
        (60, 56)
        """
        home = {node: name for name, nodes in self.supernodes.items() for node in nodes}
        sums: dict[tuple[str, str], float] = {}
        for edge in self.edges:
            ends = home.get(edge.source, edge.source), home.get(edge.target, edge.target)
            if ends[0] != ends[1]:
                sums[ends] = sums.get(ends, 0.0) + edge.weight
        joined = (Edge(*ends, weight) for ends, weight in sums.items())
        return tuple(sorted(joined, key=lambda edge: -abs(edge.weight)))

    def summary(self) -> str:
        """Return the graph's size and scores in one sentence.

        >>> print(graph.summary().partition(";")[0])
        10 of 48 active latents and 1 errors hold 80% of the influence on 1 targets, with 60 edges
        """
        counts = {kind: self.kind.count(kind) for kind in KINDS}
        return (
            f"{counts['latent']} of {self.n_active:,} active latents and {counts['error']} errors hold "
            f"{self.node_share:.0%} of the influence on {counts['target']} targets, with {len(self.weight):,} edges; "
            f"replacement {self.replacement:.2f}, completeness {self.completeness:.2f}, error share "
            f"{self.error_share:.2f}."
        )

    def table(self, k: int = 20) -> Table:
        """Return the k latents and errors of most influence.

        >>> graph.table(1).columns
        ('node', 'token', 'label', 'value', 'influence', 'not listed')
        """
        order = [i for i in np.argsort(-self.influence, kind="stable") if self.kind[i] in ("latent", "error")]
        rows = []
        for i in order[: whole(k, "k", 0)]:
            node = self.nodes[i]
            token = self.tokens[node.position]
            rows.append((node.id, token, node.label, node.value, node.influence, node.pruned + node.bias))
        columns = ("node", "token", "label", "value", "influence", "not listed")
        formats = {"value": "+.3f", "influence": ".4f", "not listed": "+.3f"}
        return Table(columns, tuple(rows), self.summary(), formats, tokens=("token",))

    def figure(self, k: int = 20) -> Figure:
        """Return bars of the k latents and errors of most influence.

        >>> graph.figure(5)
        Figure(influence: Bars of influence; the first is MLP1.f4@3.)
        """
        from interp.report.figures import bars

        order = [i for i in np.argsort(-self.influence, kind="stable") if self.kind[i] in ("latent", "error")]
        order = order[: whole(k, "k", 1)]
        return bars(
            "influence",
            [f"{self.ids[i]} {self.label[i]}".strip() for i in order],
            [float(self.influence[i]) for i in order],
            caption=f"The {len(order)} latents and errors of most influence on the targets. {self.summary()}",
            alt=f"Bars of influence; the first is {self.ids[order[0]] if order else 'none'}.",
            axes=("node", "influence (share of the targets' probability)"),
        )

    def explorer(self) -> Explorer:
        """Return the graph as an interactive element of a page.

        Of more than `MOST_DRAWN` edges the largest are drawn; what the others add to a node is one of its details.

        >>> type(graph.explorer()).__name__
        'Explorer'
        """
        largest = sorted(self.edges, key=lambda edge: -abs(edge.weight))
        left_out: dict[str, float] = {}
        for edge in largest[MOST_DRAWN:]:
            left_out[edge.target] = left_out.get(edge.target, 0.0) + edge.weight
        drawn = [
            DrawnNode(
                node.id,
                _drawn_name(node),
                node.influence if node.kind != "target" else self.probabilities[self._target_number(node)],
                layer=float(node.layer) + 0.5 * node.name.startswith("MLP"),
                position=node.position,
                kind=DRAWN[node.kind],
                open=node.kind == "error",
                details=(
                    *((("label", node.label),) if node.label else ()),
                    ("value", node.value),
                    ("influence", node.influence),
                    *((("inputs pruned", node.pruned), ("biases", node.bias)) if node.kind != "token" else ()),
                    *((("inputs not drawn", left_out[node.id]),) if node.id in left_out else ()),
                ),
                examples=tuple(
                    Strip("strongest", each["tokens"], each["values"], int(np.argmax(each["values"])))
                    for each in self.examples.get(node.id, ())
                ),
            )
            for node in self.nodes
        ]
        edges = tuple(DrawnEdge(edge.source, edge.target, edge.weight) for edge in largest[:MOST_DRAWN])
        fewer = f" Of {len(largest):,} edges the {MOST_DRAWN:,} largest are drawn." if left_out else ""
        groups = tuple(Group(name, nodes) for name, nodes in self.supernodes.items())
        return Explorer(
            "attribution-graph",
            tuple(drawn),
            edges,
            caption=(
                "Active latents, errors, tokens and targets. A node's size is its influence: the share of the "
                "targets' probability that paths carry from it. An edge is a direct effect, in units of the value of "
                "the node it enters; what is missing from the sum is given as pruned inputs and biases." + fewer
            ),
            alt=self.summary(),
            tokens=self.tokens,
            unit=self.unit,
            groups=groups,
        )

    def _target_number(self, node: Node) -> int:
        return self.ids.index(node.id) - self.kind.index("target")

    def to_neuronpedia(self, slug: str = "graph", scan: str | None = None) -> dict[str, Any]:
        """Return the graph in the JSON form of Neuronpedia and circuit-tracer.

        See `graphs.export`.

        >>> list(graph.to_neuronpedia("towers"))
        ['metadata', 'qParams', 'nodes', 'links']
        """
        from interp.attribution.graphs.export import to_neuronpedia

        return to_neuronpedia(self, slug, scan or self.model)


def _drawn_name(node: Node) -> str:
    """Return the text drawn for a node.

    Its label for targets, else name and label.
    """
    if node.kind in ("target", "token"):
        return node.label or node.name
    return node.id.rpartition("@")[0] + (f" {node.label}" if node.label else "")
