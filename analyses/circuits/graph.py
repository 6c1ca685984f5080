"""The strongest pairs of composing heads drawn as a graph over layers and heads."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np

from interp.report import Figure, Table
from interp.report.parts import axis_title, plot
from interp.report.theme import CATEGORIES, NEUTRAL

if TYPE_CHECKING:
    from analyses.circuits.result import Reading

EDGES = 30


def graph(found: Reading, shape: tuple[int, ...]) -> Figure:
    """Lines from writers to readers, layers from left to right, of the strongest pairs."""
    pairs = found.pairs[:EDGES]
    ends = [(_place(writer), _place(reader)) for writer, reader, _ in pairs]
    x, y = ([value for ends_of in ends for value in (ends_of[0][i], ends_of[1][i], np.nan)] for i in range(2))
    places = sorted({place for both in ends for place in both})
    names = [f"L{layer}H{head}" for layer, head in places]
    data = [
        {
            "type": "scatter",
            "mode": "lines",
            "x": x,
            "y": y,
            "line": {"color": NEUTRAL, "width": 1},
            "hoverinfo": "skip",
        },
        {
            "type": "scatter",
            "mode": "markers",
            "x": [place[0] for place in places],
            "y": [place[1] for place in places],
            "marker": {"color": CATEGORIES[0], "size": 9},
            "hovertext": names,
            "hovertemplate": "%{hovertext}<extra></extra>",
        },
    ]
    layout = {
        "xaxis": {"title": axis_title("layer"), "range": [-0.5, shape[0] - 0.5], "showgrid": False, "zeroline": False},
        "yaxis": {"title": axis_title("head"), "range": [-0.5, shape[1] - 0.5], "dtick": 1, "zeroline": False},
        "showlegend": False,
        "height": 380,
    }
    table = Table(("writer", "reader", "score"), pairs, formats={"score": ".4f"})
    return Figure(
        f"graph-{found.kind.lower()}",
        plot(data, layout),
        f"The {len(pairs)} strongest pairs of {found.kind}-composition ({found.offset}): each line leads from a head "
        "that writes, on the left, to one of a later layer that reads.",
        f"Graph of {len(places)} heads; the strongest line leads from {pairs[0][0]} to {pairs[0][1]}."
        if pairs
        else "A graph without lines.",
        table,
    )


def _place(name: str) -> tuple[int, int]:
    layer, head = re.findall(r"\d+", name)
    return int(layer), int(head)
