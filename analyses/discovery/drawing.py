"""The circuit drawn: nodes at their layer and position, lines for its strongest edges."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from interp.discovery.graph import ARROW
from interp.report import Figure, Table, visible
from interp.report.parts import axis_title, plot
from interp.report.text import plotly_text
from interp.report.theme import CATEGORIES

if TYPE_CHECKING:
    from analyses.discovery.result import Discovery

EDGES = 300
"""Lines drawn; the table has every edge."""
SPREAD = 0.32
"""How far heads lie from the middle of their position's column."""
LISTED = 5
"""Edges in and out that a node's label lists."""


@dataclass(frozen=True)
class Line:
    """One edge at the position where it matters most: from a writer to the component that reads."""

    name: str
    score: float
    start: tuple[str, int]
    stop: tuple[str, int]


def figure(result: Discovery) -> Figure:
    """Layers upwards, positions from left to right; blue lines support the answer, red ones work against it."""
    found = lines_of(result)
    nodes = sorted({end for line in found for end in (line.start, line.stop)})
    n_layer, n_head = result.circuit.graph.n_layer, result.circuit.graph.n_head
    columns = sorted({position for _, position in nodes})
    spot = {node: _spot(node, columns, n_layer, n_head) for node in nodes}
    traces = [
        _edges([line for line in found if (line.score < 0) == supports], spot, supports) for supports in (True, False)
    ]
    traces.append(_nodes(nodes, found, spot, result.places))
    layout = {
        "xaxis": {
            "title": axis_title("position"),
            "tickvals": list(range(len(columns))),
            "ticktext": [plotly_text(f"{at} {visible(result.places[at])}") for at in columns],
            "range": [-0.6, max(1, len(columns)) - 0.4],
            "showgrid": False,
            "zeroline": False,
        },
        "yaxis": {"title": axis_title("layer"), "range": [-1.7, n_layer + 0.8], "zeroline": False},
        "showlegend": True,
        "height": 720,
        "hovermode": "closest",
    }
    rows = tuple((line.name, result.places[line.start[1]], line.score) for line in found)
    caption = (
        f"The {len(found)} strongest of the circuit's {result.circuit.size:,} edges, each at the position where it "
        "matters most; positions without any are left out. The embedding stands at layer −1, the logits on top. In a "
        "column an MLP stands left of the heads, and heads in the order of their numbers. A line into a key or value "
        "ends where that head's output matters most. Scores are changes of the log odds in nats when an edge alone is "
        "corrupted: blue edges support the answer, red ones work against it. A node's label lists its edges in and out."
    )
    alt = (
        f"Graph of {len(nodes)} nodes; the strongest edge is {found[0].name}." if found else "A circuit without edges."
    )
    table = Table(("edge", "position", "score"), rows, formats={"score": "+.4f"}, tokens=("position",))
    return Figure("graph", plot(traces, layout), caption, alt, table)


def lines_of(result: Discovery) -> list[Line]:
    """The strongest edges of the circuit, the largest first."""
    graph, chosen = result.circuit.graph, np.flatnonzero(result.circuit.included)
    where = result.by_position
    if not len(chosen) or not where.shape[1]:
        return []
    peaks = np.abs(where).argmax(1)
    out: dict[str, np.ndarray] = {}
    for row, edge in enumerate(chosen):
        writer = graph.writers[graph.writer[edge]]
        out[writer] = out.get(writer, 0.0) + where[row]
    home = {writer: int(np.abs(values).argmax()) for writer, values in out.items()}
    order = np.argsort(-np.abs(where.sum(1)), kind="stable")[:EDGES]
    found = []
    for row in order.tolist():
        edge, at = int(chosen[row]), int(peaks[row])
        name = graph.edges[edge]
        writer, reader = name.split(ARROW)
        component = graph.writers[graph.owners[graph.reader[edge]][0]] if reader != "logits" else reader
        stop = home.get(component, at) if reader.endswith((".k", ".v")) else at
        found.append(Line(name, float(where[row].sum()), (writer, at), (component, max(stop, at))))
    return found


def _spot(node: tuple[str, int], columns: list[int], n_layer: int, n_head: int) -> tuple[float, float]:
    """A node's place: in each position's column heads lie in the order of their numbers, MLPs left of them."""
    name, position = node
    column = float(columns.index(position))
    if name in ("embed", "logits"):
        return column, -1.0 if name == "embed" else float(n_layer)
    if name.startswith("MLP"):
        return column - SPREAD - 0.08, _layer(name) + 0.5
    head = int(name.split("H")[1])
    return column + SPREAD * (2 * head / max(1, n_head - 1) - 1), float(_layer(name))


def _layer(name: str) -> int:
    return int(name.removeprefix("MLP")) if name.startswith("MLP") else int(name[1:].split("H", maxsplit=1)[0])


def _edges(found: list[Line], spot: dict[tuple[str, int], tuple[float, float]], supports: bool) -> dict[str, Any]:
    x: list[float | None] = []
    y: list[float | None] = []
    for line in found:
        (x0, y0), (x1, y1) = spot[line.start], spot[line.stop]
        x += [x0, x1, None]
        y += [y0, y1, None]
    return {
        "type": "scatter",
        "mode": "lines",
        "x": x,
        "y": y,
        "name": "supports the answer" if supports else "works against it",
        "line": {"color": CATEGORIES[0] if supports else CATEGORIES[1], "width": 1},
        "opacity": 0.45,
        "hoverinfo": "skip",
    }


def _nodes(
    nodes: list[tuple[str, int]],
    found: list[Line],
    spot: dict[tuple[str, int], tuple[float, float]],
    places: tuple[str, ...],
) -> dict[str, Any]:
    into = {node: [line for line in found if line.stop == node] for node in nodes}
    out = {node: [line for line in found if line.start == node] for node in nodes}
    strength = {node: sum(abs(line.score) for line in into[node] + out[node]) for node in nodes}
    most = max(strength.values(), default=1.0) or 1.0
    labels = [
        f"<b>{name}</b> at {plotly_text(visible(places[at]))}<br>"
        + "<br>".join(_listed(word, lines) for word, lines in (("in", into[name, at]), ("out", out[name, at])) if lines)
        for name, at in nodes
    ]
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [spot[node][0] for node in nodes],
        "y": [spot[node][1] for node in nodes],
        "marker": {"size": [5 + 11 * (strength[node] / most) ** 0.5 for node in nodes], "color": CATEGORIES[2]},
        "hovertext": labels,
        "hovertemplate": "%{hovertext}<extra></extra>",
        "name": "node",
        "showlegend": False,
    }


def _listed(word: str, lines: list[Line]) -> str:
    more = f"<br>… and {len(lines) - LISTED} more" if len(lines) > LISTED else ""
    return f"{word}:<br>" + "<br>".join(f"{line.name} {line.score:+.3f}" for line in lines[:LISTED]) + more
