"""Drawings of networks as their wires.

Layers are drawn one above another and neurons at their places. Red wires are negative and blue ones positive.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from interp.report import Figure, Table
from interp.report.parts import plot
from interp.report.theme import NEGATIVE, NEUTRAL, POSITIVE

WIDE, HIGH = 1.25, 1.0
"""Distance of panels, and height of a panel, in units of a layer's width."""
PENS = (0.08, 0.3, 0.6)
"""Lower bounds of the three widths of wires, as shares of the panel's heaviest. Lighter wires have the thinnest."""


@dataclass(frozen=True)
class Panel:
    """Network to draw: its matrices and the places of its neurons.

    Matrices are (out, in). Places are those of every layer's neurons, the inputs' first.
    """

    title: str
    matrices: Sequence[np.ndarray]
    places: Sequence[np.ndarray]


def connectome(
    id: str,
    panels: Sequence[Panel],
    *,
    caption: str,
    alt: str,
    inputs: Sequence[str] = (),
    outputs: Sequence[str] = (),
) -> Figure:
    """Draw networks side by side, with the inputs at the bottom.

    The table lists every wire of nonzero weight.

    Args:
        id: id of the figure.
        panels: networks to draw.
        caption: text below the figure.
        alt: description for readers who cannot see it.
        inputs: names of the input neurons.
        outputs: names of the output neurons.
    """
    data = [_neurons(panels)]
    for sign, colour in ((-1, NEGATIVE), (1, POSITIVE)):
        data += [_wires(panels, sign, pen, colour) for pen in range(len(PENS))]
    data += [_words(panels, inputs, outputs)]
    hidden = {"visible": False, "showgrid": False, "zeroline": False}
    layout = {
        "xaxis": {**hidden, "range": [-0.08, WIDE * len(panels) - 0.17]},
        "yaxis": {**hidden, "range": [-0.3, HIGH + 0.16]},
        "height": 380,
        "showlegend": False,
    }
    return Figure(id, plot(data, layout), caption, alt, _table(panels))


def _heights(panel: Panel) -> np.ndarray:
    return np.linspace(0, HIGH, len(panel.places))


def _neurons(panels: Sequence[Panel]) -> dict[str, Any]:
    x = [WIDE * i + float(p) for i, panel in enumerate(panels) for places in panel.places for p in places]
    y = [
        float(height)
        for panel in panels
        for places, height in zip(panel.places, _heights(panel), strict=True)
        for _ in places
    ]
    marker = {"color": NEUTRAL, "size": 4}
    return {"type": "scatter", "mode": "markers", "x": x, "y": y, "marker": marker, "hoverinfo": "skip"}


def _wires(panels: Sequence[Panel], sign: int, pen: int, colour: str) -> dict[str, Any]:
    """Return all wires of one sign and width as one broken line."""
    x: list[float | None] = []
    y: list[float | None] = []
    for i, panel in enumerate(panels):
        heights, top = _heights(panel), max(np.abs(w).max() for w in panel.matrices) or 1.0
        for k, matrix in enumerate(panel.matrices):
            weight = np.sign(matrix) == sign
            thick = np.searchsorted(PENS, np.abs(matrix) / top, side="right").clip(1) - 1
            for target, source in np.argwhere(weight & (thick == pen)):
                x += [WIDE * i + float(panel.places[k][source]), WIDE * i + float(panel.places[k + 1][target]), None]
                y += [float(heights[k]), float(heights[k + 1]), None]
    line = {"color": colour, "width": (0.5, 1.2, 2.4)[pen]}
    return {"type": "scatter", "mode": "lines", "x": x or [None], "y": y or [None], "line": line, "hoverinfo": "skip"}


def _words(panels: Sequence[Panel], inputs: Sequence[str], outputs: Sequence[str]) -> dict[str, Any]:
    x, y, words = [], [], []
    for i, panel in enumerate(panels):
        for names, places, height in ((inputs, panel.places[0], -0.09), (outputs, panel.places[-1], HIGH + 0.08)):
            x += [WIDE * i + float(p) for p, _ in zip(places, names, strict=False)]
            y += [height] * min(len(names), len(places))
            words += list(names[: len(places)])
        x, y, words = [*x, WIDE * i + 0.5], [*y, -0.24], [*words, panel.title]
    font = {"color": NEUTRAL, "size": 12}
    style = {"type": "scatter", "mode": "text", "hoverinfo": "skip", "textfont": font}
    return {**style, "x": x, "y": y, "text": words}


def _table(panels: Sequence[Panel]) -> Table:
    rows = tuple(
        (panel.title, k + 1, int(source), int(target), float(matrix[target, source]))
        for panel in panels
        for k, matrix in enumerate(panel.matrices)
        for target, source in np.argwhere(matrix != 0)
    )
    return Table(("network", "layer", "from neuron", "to neuron", "weight"), rows, formats={"weight": "+.3f"})
