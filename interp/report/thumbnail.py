"""Thumbnails of pages for the index: a few SVG paths that a style sheet colours.

A thumbnail shows a page's first picture. A page carries them among its `<meta>` tags. They are path data and nothing
else, and the index takes no other text for a path, so that a page of unknown origin cannot bring markup into it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from interp.report.blocks import Block, Figure, Page, Tokens
from interp.report.explorer import Explorer
from interp.report.plotly_json import values_of

WIDTH, HEIGHT = 120, 72
CLASSES = ("line", "curve", "positive", "negative")
"""Classes of paths: thin and thick strokes, and shapes of values above and below zero."""
_PATH = re.compile(r"[MLHVZ0-9. -]*")
_LENGTH = 6000
"""Characters of a path that the index accepts."""
BARS, CELLS, POINTS, NODES = 60, (14, 24), 60, 40

Strokes = dict[str, list[str]]


def thumbnail(page: Page) -> dict[str, str]:
    """Return the paths of the page's first picture by class.

    Empty where it has none.
    """
    blocks = (*page.lead, *(block for section in page.sections for block in section.blocks))
    for block in sorted(blocks, key=_rank):
        strokes: Strokes = {name: [] for name in CLASSES}
        _draw(block, strokes)
        if any(strokes.values()):
            return {name: _joined(parts) for name, parts in strokes.items()}
    return {}


def svg(paths: dict[str, str]) -> str:
    """Return the drawing of the paths as SVG.

    Only paths that contain path data and nothing else are drawn; the result is empty where there are none.
    """
    sound = {name: paths[name] for name in CLASSES if paths.get(name) and _sound(paths[name])}
    drawn = "".join(f'<path class="{name}" d="{path}"/>' for name, path in sound.items())
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" aria-hidden="true">{drawn}</svg>' if drawn else ""


def _joined(parts: list[str]) -> str:
    """Join as many strokes as fit the longest path allowed."""
    fitting = np.cumsum([len(part) for part in parts]) <= _LENGTH
    return "".join(part for part, fits in zip(parts, fitting, strict=True) if fits)


def _sound(path: str) -> bool:
    return len(path) <= _LENGTH and _PATH.fullmatch(path) is not None


def _rank(block: Block) -> int:
    """Rank blocks by how much they show at a glance.

    Explorers come first, then figures, then lines of tokens; the sort is stable, so the order of the page remains.
    """
    return 0 if isinstance(block, Explorer) else 1 if isinstance(block, Figure) else 2


def _draw(block: Block, strokes: Strokes) -> None:
    if isinstance(block, Explorer):
        _graph(block, strokes)
    elif isinstance(block, Figure):
        _figure(block, strokes)
    elif isinstance(block, Tokens) and block.values is not None:
        _line_of_tokens(block, strokes)


def _figure(figure: Figure, strokes: Strokes) -> None:
    traces = figure.plotly.to_dict()["data"]
    kinds = {trace["type"] for trace in traces}
    if "heatmap" in kinds:
        _cells(next(trace for trace in traces if trace["type"] == "heatmap"), strokes)
    elif "bar" in kinds:
        _bars([trace for trace in traces if trace["type"] == "bar"], strokes)
    else:
        # The area of a band is not a curve.
        _curves([trace for trace in traces if trace["type"] == "scatter" and "fill" not in trace], strokes)


def _bars(traces: list[dict[str, Any]], strokes: Strokes) -> None:
    lying = traces[0].get("orientation") == "h"
    values = np.array([_floats(trace["x" if lying else "y"]) for trace in traces if len(trace)]).sum(0)[:BARS]
    top, bottom = max(0.0, values.max(initial=0)), min(0.0, values.min(initial=0))
    across, along = (HEIGHT, WIDTH) if lying else (WIDTH, HEIGHT)
    scale, step = along / ((top - bottom) or 1.0), across / max(1, len(values))
    for i, value in enumerate(values):
        start, size = (min(value, 0) - bottom) * scale, abs(value) * scale
        rect = (start, i * step, size, 0.7 * step) if lying else (i * step, along - start - size, 0.7 * step, size)
        strokes[_sign(value)].append(_rect(*rect))


def _cells(trace: dict[str, Any], strokes: Strokes) -> None:
    """Draw a matrix as squares, one for each part of it.

    Each is as large as the largest value of its part.
    """
    matrix = np.nan_to_num(np.asarray(values_of(trace["z"]), float))
    rows, columns = (min(n, most) for n, most in zip(matrix.shape, CELLS, strict=True))
    limit = float(np.abs(matrix).max()) or 1.0
    for i, band in enumerate(np.array_split(matrix, rows, axis=0)):
        for j, part in enumerate(np.array_split(band, columns, axis=1)):
            value = float(part.flat[np.abs(part).argmax()])
            share = abs(value) / limit
            if share > 0.08:
                width, height = WIDTH / columns, HEIGHT / rows
                x, y = (j + (1 - share) / 2) * width, (i + (1 - share) / 2) * height
                strokes[_sign(value)].append(_rect(x, y, share * width, share * height))


def _curves(traces: list[dict[str, Any]], strokes: Strokes) -> None:
    curves = []
    for trace in traces:
        y = _floats(trace["y"])
        x = _floats(trace["x"]) if "x" in trace else np.arange(len(y), dtype=float)
        keep = np.isfinite(x) & np.isfinite(y)
        some = np.flatnonzero(keep)[:: max(1, int(keep.sum()) // POINTS)]
        curves.append((x[some], y[some], "lines" in trace.get("mode", "lines")))
    points = np.concatenate([np.stack([x, y]) for x, y, _ in curves], axis=1) if curves else np.zeros((2, 0))
    if not points.shape[1]:
        return
    low, span = points.min(1), np.ptp(points, axis=1)
    span[span == 0] = 1
    for x, y, joined in curves:
        across = 3 + (x - low[0]) / span[0] * (WIDTH - 6)
        down = HEIGHT - 3 - (y - low[1]) / span[1] * (HEIGHT - 6)
        if joined:
            strokes["curve"].append(_polyline(zip(across, down, strict=True)))
        else:
            strokes["positive"] += [_rect(a - 1, b - 1, 2, 2) for a, b in zip(across, down, strict=True)]


def _graph(explorer: Explorer, strokes: Strokes) -> None:
    """Draw the largest components by token and layer, and their edges.

    They are placed as the explorer first draws them.
    """
    place = {
        node.id: (-1 if node.position is None else node.position, node.layer, node.label) for node in explorer.nodes
    }
    sums: dict[tuple[int, float, str], float] = {}
    for node in explorer.nodes:
        sums[place[node.id]] = sums.get(place[node.id], 0.0) + node.value
    largest = sorted(sums, key=lambda one: -abs(sums[one]))[:NODES]
    spot = _spots(largest)
    ends = dict.fromkeys((place[edge.source], place[edge.target]) for edge in explorer.edges)
    strokes["line"] += [_polyline((spot[a], spot[b])) for a, b in ends if a in spot and b in spot]
    limit = max(abs(sums[one]) for one in largest) or 1.0
    for one in largest:
        half = 1 + 2.2 * (abs(sums[one]) / limit) ** 0.5
        x, y = spot[one]
        strokes[_sign(sums[one])].append(_rect(x - half, y - half, 2 * half, 2 * half))


def _spots(components: list[tuple[int, float, str]]) -> dict[tuple[int, float, str], tuple[float, float]]:
    """Return where components stand.

    Tokens run from left to right, each as wide as its fullest layer; layers run upwards.
    """
    cells: dict[tuple[int, float], list[tuple[int, float, str]]] = {}
    for one in sorted(components):
        cells.setdefault(one[:2], []).append(one)
    widths: dict[int, int] = {}
    for (position, _), cell in cells.items():
        widths[position] = max(widths.get(position, 1), len(cell))
    ordered = sorted(widths)
    starts = dict(zip(ordered, np.cumsum([0, *(widths[position] for position in ordered)]).tolist(), strict=False))
    rows = {at: i for i, at in enumerate(sorted({layer for _, layer in cells}))}
    scale, step = WIDTH / sum(widths.values()), (HEIGHT - 8) / max(1, len(rows) - 1)
    return {
        one: ((starts[position] + (i + 0.5) / len(cell) * widths[position]) * scale, HEIGHT - 4 - rows[layer] * step)
        for (position, layer), cell in cells.items()
        for i, one in enumerate(cell)
    }


def _line_of_tokens(line: Tokens, strokes: Strokes) -> None:
    x, y = 0.0, 4.0
    for token, value in zip(line.tokens, line.values or (), strict=True):
        width = 6.0 + 3 * min(len(token), 12)
        if x + width > WIDTH:
            x, y = 0.0, y + 14
        if y > HEIGHT - 10:
            return
        share = abs(value) / line.limit if np.isfinite(value) else 0.0
        strokes["line"].append(_rect(x, y, width - 2, 10))
        strokes[_sign(value)].append(_rect(x, y + 10 * (1 - share), width - 2, 10 * share))
        x += width


def _floats(values: Any) -> np.ndarray:
    return np.array(
        [np.nan if value is None or isinstance(value, str) else value for value in values_of(values)], float
    )


def _sign(value: float) -> str:
    return "negative" if value < 0 else "positive"


def _rect(x: float, y: float, width: float, height: float) -> str:
    return f"M{x:.1f} {y:.1f}H{x + width:.1f}V{y + height:.1f}H{x:.1f}Z"


def _polyline(points: Iterable[Sequence[float]]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
