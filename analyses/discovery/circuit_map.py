"""Explorer of a circuit: components by layer and position, with edges."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from interp.discovery.graph import ARROW
from interp.report import Edge, Explorer, Node

if TYPE_CHECKING:
    from analyses.discovery.result import Discovery

LINES = 600
"""Largest number of edges at single positions in the explorer; the table has every edge."""
PARTS = {"q": "query", "k": "key", "v": "value"}
Place = tuple[str, int]
"""Component and position."""


@dataclass(frozen=True)
class Line:
    """Edge at one position, from a writer to a reading component.

    `part` is the input through which it reads.
    """

    name: str
    score: float
    start: Place
    stop: Place
    part: str


def explorer(result: Discovery) -> Explorer | None:
    """Return the strongest edges of the circuit by position.

    None for a circuit without edges.
    """
    lines = lines_of(result)
    if not lines:
        return None
    into, out = defaultdict(float), defaultdict(float)
    for line in lines:
        into[line.stop] -= line.score
        out[line.start] -= line.score
    looks = {view.name: _looks(view.attention, result.places) for view in result.heads}
    n_layer = result.circuit.graph.n_layer
    nodes = tuple(
        Node(
            _id(place),
            place[0],
            out.get(place, into[place]),
            _layer(place[0], n_layer),
            place[1],
            _kind(place[0]),
            details=(("looks at", looks[place[0]]),) if place[0] in looks else (),
        )
        for place in sorted({end for line in lines for end in (line.start, line.stop)})
    )
    total = int(np.count_nonzero(result.by_position))
    left = f", the {len(lines):,} strongest of {total:,}" if total > len(lines) else ""
    return Explorer(
        "graph",
        nodes,
        _edges(lines),
        caption=f"The circuit's {result.circuit.size:,} edges at each position{left}. The value of an edge is by how "
        "much it supports the answer: minus the change of the log odds when it alone is corrupted; a negative one "
        "works against it. A node's value is the sum of the edges that leave it; that of the logits, of those which "
        "enter. An edge into a key or value leaves where the key stands and enters the head where its output matters "
        "most; a key or value that heads share is drawn at the one whose output matters most.",
        alt=f"Graph of {len(nodes)} components by position and layer; the strongest edge is {lines[0].name}.",
        tokens=result.places,
        unit="nats",
    )


def lines_of(result: Discovery) -> list[Line]:
    """Return the circuit's strongest edges at single positions, largest first.

    >>> [line.name for line in lines_of(study)][:2]  # study = discovery.run(model, config)
    ['L1H0 → logits', 'embed → L0H0.v']
    """
    graph, chosen, where = result.circuit.graph, np.flatnonzero(result.circuit.included), result.by_position
    if not len(chosen) or not where.shape[1]:
        return []
    out: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(where.shape[1]))
    for row, edge in enumerate(chosen):
        out[graph.writers[graph.writer[edge]]] += where[row]
    order = np.argsort(-np.abs(where), axis=None, kind="stable")[:LINES]
    rows, positions = np.unravel_index(order, where.shape)
    lines = []
    for row, at in zip(rows.tolist(), positions.tolist(), strict=True):
        if where[row, at] == 0:
            break
        name, owners = graph.edges[chosen[row]], graph.owners[graph.reader[chosen[row]]]
        writer, reader = name.split(ARROW)
        component = max((graph.writers[i] for i in owners), key=lambda n: float(np.abs(out[n]).sum()), default=reader)
        branch = reader.partition(".")[2]
        stop = max(int(np.abs(out[component]).argmax()), at) if branch in ("k", "v") else at
        lines.append(Line(name, float(where[row, at]), (writer, at), (component, stop), PARTS.get(branch, "")))
    return lines


def _edges(lines: list[Line]) -> tuple[Edge, ...]:
    """Return one edge for each pair of nodes, with its parts.

    Parts are the inputs of the reading component through which the edge enters.
    """
    parts: dict[tuple[Place, Place], dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for line in lines:
        parts[line.start, line.stop][line.part] -= line.score
    return tuple(
        Edge(
            _id(start),
            _id(stop),
            sum(each.values()),
            tuple((part, value) for part, value in each.items() if part),
        )
        for (start, stop), each in parts.items()
    )


def _looks(attention: np.ndarray, places: tuple[str, ...]) -> str:
    best = np.argsort(-attention, kind="stable")[:3].tolist()
    return ", ".join(f"{places[at]} {attention[at]:.0%}" for at in best)


def _id(place: Place) -> str:
    return f"{place[0]}@{place[1]}"


def _kind(name: str) -> str:
    return {"embed": "embed", "logits": "target"}.get(name, "mlp" if name.startswith("MLP") else "head")


def _layer(name: str, n_layer: int) -> float:
    if name in ("embed", "logits"):
        return -1 if name == "embed" else n_layer
    if name.startswith("MLP"):
        return int(name.removeprefix("MLP")) + 0.5
    return int(name[1:].split("H", maxsplit=1)[0])
