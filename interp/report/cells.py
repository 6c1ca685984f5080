"""Cells of heat maps: the ends of their colours, reduction of large matrices, categories, and the table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from interp.errors import UsageError
from interp.report import parts
from interp.report.table import Table
from interp.report.text import plotly_text
from interp.report.theme import CATEGORIES, UNDEFINED

SIDE = 256
"""Cells of a heatmap per side; larger matrices are reduced."""


def undefined_cells(matrix: np.ndarray) -> list[dict[str, Any]]:
    """Return a layer of mauve cells for each kind of non-finite number.

    The kinds are NaN, infinity and minus infinity.
    """
    layers = (("NaN", np.isnan(matrix)), ("∞", np.isposinf(matrix)), ("−∞", np.isneginf(matrix)))
    return [
        {
            "type": "heatmap",
            "z": np.where(where, 0.0, np.nan).astype(np.float32),
            "zmin": 0,
            "zmax": 1,
            "colorscale": [[0, UNDEFINED], [1, UNDEFINED]],
            "showscale": False,
            "hoverongaps": False,
            "hovertemplate": f"%{{y}}<br>%{{x}}<br>{name}<extra></extra>",
        }
        for name, where in layers
        if where.any()
    ]


@dataclass(frozen=True)
class Kinds:
    """Colours and names of the categories of a matrix, and its legend."""

    colours: dict[str, Any]
    legend: tuple[dict[str, Any], ...]
    names: list[list[str]]


def kinds(id: str, matrix: np.ndarray, categories: Sequence[str]) -> Kinds | None:
    """Return how the categories of a matrix are drawn.

    None if it has none.

    Raises `UsageError` when a value is not the number of a category, or when there are more than colours.
    """
    if not categories:
        return None
    if len(categories) > len(CATEGORIES) or not np.isin(matrix, np.arange(len(categories))).all():
        raise UsageError(
            f'The heatmap "{id}" has {len(categories)} categories; its values must be their numbers from 0, and at '
            f"most {len(CATEGORIES)} have a colour."
        )
    n, colours = len(categories), CATEGORIES[: len(categories)]
    scale = [[(i + end) / n, colour] for i, colour in enumerate(colours) for end in (0, 1)]
    marker = {"mode": "markers", "x": [None], "y": [None], "showlegend": True, "hoverinfo": "skip"}
    legend = tuple(
        {
            "type": "scatter",
            **marker,
            "name": plotly_text(name),
            "marker": {"color": colour, "symbol": "square", "size": 12},
        }
        for name, colour in zip(categories, colours, strict=True)
    )
    names = [[categories[int(value)] for value in row] for row in matrix]
    text = [[plotly_text(name) for name in row] for row in names]
    drawn = {"zmin": -0.5, "zmax": n - 0.5, "colorscale": scale, "showscale": False, "text": text}
    return Kinds(drawn, legend, names)


def limits(
    matrix: np.ndarray, is_signed: bool, natural: tuple[float, float] | None = None, centre: float = 0.0
) -> tuple[float, float, int]:
    """Return a colour scale's ends and the number of cells beyond.

    The ends are the natural range, moved out where values lie beyond it; else three standard deviations, or the
    extremes if nearer. A signed scale is symmetric about `centre`.
    """
    if natural is not None:
        finite = matrix[np.isfinite(matrix)].astype(float)
        low, high = (min([natural[0], *finite]), max([natural[1], *finite])) if finite.size else natural
        if is_signed:
            reach = max(centre - low, high - centre)
            return centre - reach, centre + reach, 0
        return float(low), float(high), 0
    finite = matrix[np.isfinite(matrix)].astype(float)
    if not finite.size:
        return (-1.0, 1.0, 0) if is_signed else (0.0, 1.0, 0)
    if is_signed:
        end = min(float(np.abs(finite).max()), 3 * float(np.sqrt(np.square(finite).mean()))) or 1.0
        return -end, end, int((np.abs(finite) > end).sum())
    low, middle, spread = float(finite.min()), float(finite.mean()), float(finite.std())
    # A scale of values that cannot be negative starts at zero, so that equal colours mean equal sizes between figures.
    low = 0.0 if low >= 0 else max(low, middle - 3 * spread)
    high = min(float(finite.max()), middle + 3 * spread)
    # A constant matrix has no spread; any scale of positive length draws it.
    high = high if high > low else low + 1.0
    return low, high, int(((finite < low) | (finite > high)).sum()) if spread else 0


def reduced(matrix: np.ndarray) -> tuple[np.ndarray, tuple[int, int]]:
    """Return a matrix reduced to 256 by 256, and the block's sides.

    It has at most 256 rows and columns. Of each block the entry of largest magnitude is taken, a NaN before all.
    """
    rows, columns = (-(-side // SIDE) for side in matrix.shape)
    if rows == columns == 1:
        return matrix, (1, 1)
    fill = [(0, -matrix.shape[0] % rows), (0, -matrix.shape[1] % columns)]
    # Repeating the edge adds no new entry to the last block.
    padded = np.pad(matrix, fill, mode="edge")
    down, across = padded.shape[0] // rows, padded.shape[1] // columns
    blocks = padded.reshape(down, rows, across, columns).swapaxes(1, 2).reshape(down, across, rows * columns)
    size = np.where(np.isnan(blocks), np.inf, np.abs(blocks))
    nan_first = np.where(np.isnan(blocks).any(-1), np.isnan(blocks).argmax(-1), size.argmax(-1))
    return np.take_along_axis(blocks, nan_first[..., None], -1)[..., 0], (rows, columns)


def heatmap_notes(matrix: np.ndarray, steps: tuple[int, int], ends: tuple[float, float, int]) -> str:
    """Return the sentences a heatmap's caption must add.

    They name reduction, clipping and undefined cells.
    """
    low, high, clipped = ends
    notes = ""
    if steps != (1, 1):
        notes += f" Each cell is the entry of largest magnitude in a block of {steps[0]} by {steps[1]}."
    if clipped:
        ends_text = " and ".join(f"{end:.3g}".replace("-", "−") for end in (low, high) if end)
        notes += f" Colours end at {ends_text}, three standard deviations (cells beyond: {clipped})."
    missing = parts.undefined(matrix)
    return notes + (missing.replace("Not drawn as numbers:", "Mauve:") if missing else "")


def matrix_table(
    axis: str, labels: list[list[str]], matrix: np.ndarray, written: list[list[str]] | None = None
) -> Table:
    """Return the matrix as a table with its row labels.

    It has the texts of the cells if there are any.

    Large ones have four significant digits, and the caption of the table says so.
    """
    large = matrix.size > 64 * 64
    cells = written or [[float(f"{value:.4g}") if large else parts.number(value) for value in row] for row in matrix]
    rows = tuple((name, *row) for name, row in zip(labels[0], cells, strict=True))
    caption = "Four significant digits; the saved result has them all." if large else ""
    return Table((axis, *labels[1]), rows, caption)
