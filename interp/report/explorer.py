"""An explorer of graphs and trees, in which a reader follows what feeds what.

Tokens run from left to right, layers upwards; the reader moves by click or key. One element serves path trees,
contrasts, circuits and attribution graphs. Python gives nodes and edges; the page carries them once, compressed, and
its script draws those that are looked at.

    from interp.report import Edge, Explorer, Node

    Explorer(
        "circuit",
        nodes=(
            Node("e0", "embed", value=0.9, layer=-1, position=0, kind="embed"),
            Node("h", "L0H1", value=0.9, layer=0, position=1, kind="head", details=(("attention", 0.8),)),
            Node("out", "logit of Paris", value=1.4, layer=2, position=1, kind="target"),
        ),
        edges=(Edge("e0", "h", 0.9), Edge("h", "out", 0.9, parts=(("value", 0.7), ("key", 0.2)))),
        tokens=("The", " city"),
        caption="Contributions to the logit.",
        alt="A chain from the first token to the logit.",
        unit="logits",
    )
"""

from __future__ import annotations

import base64
import gzip
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from interp.errors import UsageError
from interp.report.cards import Strip, packed_strip, short
from interp.report.shown import Framed
from interp.report.table import Table
from interp.report.text import check_id, plain, visible

DIGITS = 7
"""Significant digits of the numbers a page carries: as many as a 32-bit float has."""
FIRST = 40
"""Nodes shown at first; the reader adds more."""


@dataclass(frozen=True)
class Node:
    """Node of a graph: one component, feature or token.

    Attributes:
        id: unique in the explorer.
        label: its name without its token, such as "L23H4". Nodes of a tree that have the same label, layer and
            position are the same component, and are drawn as one until the reader separates them.
        value: signed; the node's size. Of a tree's node, the sum of all paths through it.
        layer: its row: −1 the embedding, l block l, l + 0.5 what block l computes after its attention (MLPs), and
            n_layer the target. Any numbers that grow from inputs to outputs do.
        position: the index of its token; None where it stands for all positions.
        kind: a category: "head", "mlp", "embed", "bias", "target", "feature", "error", or a word of your own.
        open: whether what feeds it was not resolved, such as the node of a tree that was not expanded.
        details: (label, text or number) pairs that are shown when it is selected.
        examples: strips of tokens that are shown when it is selected, such as a feature's strongest contexts.

    >>> report.Node("a", "L0H1", value=0.5, layer=0, position=1, details=(("norm", 2.5),)).label
    'L0H1'
    """

    id: str
    label: str
    value: float
    layer: float
    position: int | None = None
    kind: str = "head"
    open: bool = False
    details: tuple[tuple[str, str | float], ...] = ()
    examples: tuple[Strip, ...] = ()


@dataclass(frozen=True)
class Edge:
    """Edge of a graph: the contribution of one node to another.

    Attributes:
        source: id of the node it leaves.
        target: id of the node it enters.
        value: signed, in the explorer's unit; the edge's width.
        parts: (label, number) pairs it is made of, such as query, key and value.

    >>> report.Edge(source="a", target="b", value=0.5).value
    0.5
    """

    source: str
    target: str
    value: float
    parts: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Group:
    """Nodes that the reader may collapse into one.

    It has the sum of their values.

    >>> report.Group("names", ("a", "b")).nodes
    ('a', 'b')
    """

    name: str
    nodes: tuple[str, ...]


@dataclass(frozen=True)
class Explorer(Framed):
    """Graph or tree that a reader explores node by node.

    It is a block of a page; a notebook shows it in a frame of its own.

    Attributes:
        id: of the block.
        nodes: at least one, in any order.
        edges: without cycles. In a tree every node feeds at most one other.
        caption: what a node's and an edge's value is.
        alt: one sentence saying what is to be seen.
        tokens: raw, one a position; empty where no node has a position.
        unit: of the values, such as "logits".
        groups: supernodes.
        conserved: whether a node's value is the sum of the edges that enter it. What is missing from that sum, because
            it is too small to be carried here, is then shown as the rest.

    Raises:
        UsageError: an id that is used twice or names no node, a position without a token, a value or layer that is
            not finite, an edge from a node to itself, or a caption or alt that is empty.

    >>> nodes = (report.Node("a", "embed", 0.5, layer=-1, position=0), report.Node("b", "logit", 0.5, layer=1))
    >>> edges = (report.Edge("a", "b", 0.5),)
    >>> explorer = report.Explorer("walk", nodes, edges, caption="Logits.", alt="One edge.", tokens=("the",))
    """

    id: str
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    caption: str
    alt: str
    tokens: tuple[str, ...] = ()
    unit: str = ""
    groups: tuple[Group, ...] = ()
    conserved: bool = False

    def __post_init__(self) -> None:
        check_id(self.id, "graph")
        for name in ("caption", "alt"):
            if not getattr(self, name).strip():
                raise UsageError(f'The explorer "{self.id}" has no {name}: write one.')
        if not self.nodes:
            raise UsageError(f'The explorer "{self.id}" has no nodes.')
        if len(self._rows) < len(self.nodes):
            raise UsageError(f'The explorer "{self.id}" has two nodes of one id.')
        for node in self.nodes:
            self._check_node(node)
        for edge in self.edges:
            self._check_edge(edge)
        for group in self.groups:
            self._check_known(group.nodes, f'the group "{group.name}"')

    def __repr__(self) -> str:
        return f"Explorer({self.id}: {len(self.nodes)} nodes, {len(self.edges)} edges)"

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {node.id: row for row, node in enumerate(self.nodes)}

    def _check_node(self, node: Node) -> None:
        if not (math.isfinite(node.value) and math.isfinite(node.layer)):
            raise UsageError(
                f'The node "{node.id}" of "{self.id}" has value {node.value} and layer {node.layer}: give finite ones.'
            )
        if node.position is not None and not 0 <= node.position < len(self.tokens):
            raise UsageError(
                f'The node "{node.id}" of "{self.id}" is at position {node.position}, but there are '
                f"{len(self.tokens)} tokens: count from 0, and give None for a node of all positions."
            )

    def _check_edge(self, edge: Edge) -> None:
        self._check_known((edge.source, edge.target), "an edge")
        if not math.isfinite(edge.value):
            raise UsageError(f'The edge {edge.source} → {edge.target} of "{self.id}" has the value {edge.value}.')
        if edge.source == edge.target:
            raise UsageError(f'An edge of "{self.id}" leads from "{edge.source}" to itself.')

    def _check_known(self, ids: Iterable[str], what: str) -> None:
        for name in ids:
            if name not in self._rows:
                raise UsageError(f'The explorer "{self.id}" has no node "{name}", which {what} names.')

    def name(self, node: Node) -> str:
        """Return a node's label and token, such as "L23H4 · of".

        >>> explorer.name(explorer.nodes[0])
        'embed @ the'
        """
        return plain(node.label) + ("" if node.position is None else f" @ {visible(self.tokens[node.position])}")

    @property
    def is_tree(self) -> bool:
        """Return whether every node feeds at most one other."""
        return len({edge.source for edge in self.edges}) == len(self.edges)

    @property
    def table(self) -> Table:
        """Nodes, the largest first: label, kind, layer, token and value."""
        column = f"value ({plain(self.unit)})" if self.unit else "value"
        rows = tuple(
            (
                plain(node.label),
                plain(node.kind),
                node.layer,
                node.position,
                None if node.position is None else self.tokens[node.position],
                node.value,
            )
            for node in sorted(self.nodes, key=lambda node: -abs(node.value))
        )
        columns = ("node", "kind", "layer", "position", "token", column)
        return Table(columns, rows, formats={"layer": "g", column: "+.4f"}, tokens=("token",))

    @property
    def links(self) -> Table:
        """Edges, the largest first: source, target and value."""
        column = f"value ({plain(self.unit)})" if self.unit else "value"
        names = {node.id: self.name(node) for node in self.nodes}
        rows = tuple(
            (names[edge.source], names[edge.target], edge.value)
            for edge in sorted(self.edges, key=lambda edge: -abs(edge.value))
        )
        return Table(("source", "target", column), rows, formats={column: "+.4f"})

    def packed(self) -> str:
        """Return the explorer as gzip and base64 of JSON.

        Equal explorers give equal text.

        >>> explorer.packed()[:4]
        'H4sI'
        """
        text = json.dumps(self._body(), separators=(",", ":"), ensure_ascii=True, allow_nan=False)
        return base64.b64encode(gzip.compress(text.encode(), 9, mtime=0)).decode()

    def _body(self) -> dict[str, Any]:
        words: dict[str, int] = {}
        labels, kinds = _numbered([plain(n.label) for n in self.nodes]), _numbered([plain(n.kind) for n in self.nodes])
        of_nodes = {
            "label": labels[1],
            "kind": kinds[1],
            "layer": [short(node.layer, DIGITS) for node in self.nodes],
            "position": [-1 if node.position is None else node.position for node in self.nodes],
            "value": [short(node.value, DIGITS) for node in self.nodes],
            "open": [int(node.open) for node in self.nodes],
        }
        examples = {
            row: [packed_strip(strip, words) for strip in node.examples]
            for row, node in enumerate(self.nodes)
            if node.examples
        }
        return {
            "labels": labels[0],
            "kinds": kinds[0],
            "nodes": of_nodes,
            "details": {row: _pairs(node.details) for row, node in enumerate(self.nodes) if node.details},
            "examples": examples,
            "words": [visible(word) for word in words],
            "edges": [
                [self._rows[edge.source], self._rows[edge.target], short(edge.value, DIGITS)] for edge in self.edges
            ],
            "parts": {row: _pairs(edge.parts) for row, edge in enumerate(self.edges) if edge.parts},
            "tokens": [visible(token) for token in self.tokens],
            "groups": [[plain(g.name), [self._rows[name] for name in g.nodes]] for g in self.groups],
            "unit": plain(self.unit),
            "conserved": int(self.conserved),
            "tree": int(self.is_tree),
            "first": FIRST,
        }


def _numbered(texts: Sequence[str]) -> tuple[list[str], list[int]]:
    """Return the distinct texts, and the number of each text among them."""
    known: dict[str, int] = {}
    numbers = [known.setdefault(text, len(known)) for text in texts]
    return list(known), numbers


def _pairs(pairs: Sequence[tuple[str, str | float]]) -> list[list[Any]]:
    return [[plain(label), plain(value) if isinstance(value, str) else short(value, DIGITS)] for label, value in pairs]
