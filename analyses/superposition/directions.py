"""Small multiples of directions in the plane.

The paper shows features in two hidden dimensions in this way.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from interp.report import Figure, Table
from interp.report.parts import plot
from interp.report.theme import CATEGORIES, NEUTRAL, SYMBOLS

PER_ROW = 5
SPACING = 2.8


def stars(
    id: str,
    panels: Mapping[str, Float[np.ndarray, "features 2"]],
    *,
    caption: str,
    alt: str,
    groups: Sequence[str] | None = None,
) -> Figure:
    """Draw the directions of each panel as arrows from one point.

    Args:
        id: id of the figure.
        panels: title -> directions, a panel each.
        caption: text below the figure.
        alt: description for readers who cannot see it.
        groups: name of each feature; features of one name have one colour.
    """
    names = list(groups) if groups is not None else [f"feature {i}" for i in range(len(next(iter(panels.values()))))]
    kinds = list(dict.fromkeys(names))
    data = [_arrows(kind, index, names, panels) for index, kind in enumerate(kinds)]
    width, rows = min(PER_ROW, len(panels)), math.ceil(len(panels) / PER_ROW)
    data.append(_titles(panels))
    hidden = {"visible": False, "showgrid": False, "zeroline": False}
    layout = {
        "xaxis": {**hidden, "range": [-SPACING / 2, SPACING * (width - 0.5)]},
        "yaxis": {**hidden, "range": [-SPACING * (rows - 0.5), SPACING / 2 + 0.2], "scaleanchor": "x"},
        "height": 70 + 180 * rows,
        "showlegend": len(kinds) > 1,
    }
    cells = [
        (title, i, names[i], float(w[i, 0]), float(w[i, 1]), float(np.hypot(*w[i])))
        for title, w in panels.items()
        for i in range(len(w))
    ]
    table = Table(("panel", "feature", "group", "x", "y", "length"), tuple(cells))
    return Figure(id, plot(data, layout), caption, alt, table)


def _place(index: int) -> tuple[float, float]:
    return SPACING * (index % PER_ROW), -SPACING * (index // PER_ROW)


def _arrows(
    kind: str, index: int, names: list[str], panels: Mapping[str, Float[np.ndarray, "features 2"]]
) -> dict[str, Any]:
    """Return one trace for the features of one kind in every panel.

    It goes from the centre to each tip, with a gap after it.
    """
    x: list[float | None] = []
    y: list[float | None] = []
    for panel, w in enumerate(panels.values()):
        left, up = _place(panel)
        for i in (i for i, name in enumerate(names) if name == kind):
            x += [left, left + float(w[i, 0]), None]
            y += [up, up + float(w[i, 1]), None]
    colour = CATEGORIES[index % len(CATEGORIES)]
    marker = {"symbol": SYMBOLS[index % len(SYMBOLS)], "color": colour, "size": [0.1, 9, 0.1] * (len(x) // 3)}
    style = {"type": "scatter", "mode": "lines+markers", "name": kind, "line": {"color": colour, "width": 2}}
    return {**style, "x": x, "y": y, "marker": marker, "hoverinfo": "name"}


def _titles(panels: Mapping[str, Float[np.ndarray, "features 2"]]) -> dict[str, Any]:
    places = [_place(index) for index in range(len(panels))]
    style = {
        "type": "scatter",
        "mode": "text",
        "showlegend": False,
        "hoverinfo": "skip",
        "textfont": {"color": NEUTRAL},
    }
    return {**style, "x": [x for x, _ in places], "y": [y + SPACING / 2 for _, y in places], "text": list(panels)}
