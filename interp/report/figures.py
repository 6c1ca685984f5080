"""Functions that draw data as a `Figure` with its table.

Signed numbers are red below zero and blue above, on scales symmetric about zero; magnitudes are cividis; categories
have colours and markers. NaN and infinities are never blank: they are drawn as such, or counted in the caption.
Labels are plain text: they are escaped here against plotly's own markup, and may repeat, since positions are numbers.
Tokens go through `interp.report.visible` first.
"""
# ruff: noqa: PLR0913 (what follows the data is keyword-only and named at every call)

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from interp.errors import UsageError
from interp.report import cells, parts
from interp.report.bars import bars, grouped_bars
from interp.report.blocks import Figure
from interp.report.table import Cell, Table
from interp.report.text import plotly_text, shortened
from interp.report.theme import CATEGORIES, DIVERGING, MAGNITUDE

__all__ = ["bars", "grouped_bars", "heatmap", "histogram", "icicle", "lines", "scatter"]


def heatmap(
    id: str,
    values: ArrayLike,
    *,
    caption: str,
    alt: str,
    rows: Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    axes: tuple[str, str, str] = ("row", "column", "value"),
    signed: bool = True,
    limits: tuple[float, float] | None = None,
    centre: float = 0.0,
    cell_text: bool = False,
    categories: Sequence[str] = (),
) -> Figure:
    """Draw a matrix as colours.

    The scale is diverging about `centre` when `signed`, cividis when not.

    With `limits`, the natural range of the values, figures share their colours and none is cut off. Without, colours
    end at three standard deviations (about zero when signed, else about the mean) if values lie beyond. A matrix with
    more than 256 rows or columns is reduced to the entry of largest magnitude of each block; NaN and infinities are
    mauve. The caption states each of these where it applies.

    Args:
        id: The figure's id on the page.
        values: (rows, columns) numbers.
        caption: What the cells are.
        alt: One sentence saying what is to be seen.
        rows: A label for each row, from the top; they may repeat. Row numbers by default.
        columns: A label for each column.
        axes: Names of rows, columns and values, the last with its unit.
        signed: Whether the sign of a value means something.
        limits: Ends of the colour scale, such as (0, 1) for attention; a value beyond them moves the ends out.
        centre: The value of the middle colour of a signed scale, such as 0.5 for chance.
        cell_text: Whether every cell has its value written in it.
        categories: Names of the values 0, 1, ... where they are kinds and not sizes: each has a colour of its own, and
            a legend takes the place of the scale.

    Raises:
        UsageError: Not a matrix, empty, a wrong number of labels, a value without a category, or caption or alt empty.
    """
    whole = np.asarray(values)
    if whole.ndim != 2 or whole.size == 0:
        raise UsageError(f'The heatmap "{id}" has shape {whole.shape}; expected a matrix with rows and columns.')
    names = [parts.names(id, rows, whole.shape[0]), parts.names(id, columns, whole.shape[1])]
    matrix, steps = cells.reduced(whole)
    names = [name[::step] for name, step in zip(names, steps, strict=True)]
    ends = cells.limits(matrix, signed, limits, centre)
    kinds = cells.kinds(id, matrix, categories)
    hover = "".join(f"{plotly_text(axis)} %{{{letter}}}<br>" for axis, letter in zip(axes, "yx", strict=False))
    trace = {
        "type": "heatmap",
        "z": np.where(np.isfinite(matrix), matrix, np.nan).astype(np.float32),
        "zmin": ends[0],
        "zmax": ends[1],
        "colorscale": [list(stop) for stop in DIVERGING] if signed else MAGNITUDE,
        "colorbar": parts.colorbar(axes[2]),
        "hovertemplate": f"{hover}%{{z:{'+' if signed and not centre else ''}.4g}}<extra></extra>",
        "hoverongaps": False,
        **({"texttemplate": "%{z:.2f}"} if cell_text else {}),
        **({**kinds.colours, "hovertemplate": f"{hover}%{{text}}<extra></extra>"} if kinds else {}),
    }
    height = int(np.clip(110 + matrix.shape[0] * min(26, 620 / matrix.shape[1]), 220, 680))
    layout = {
        "xaxis": {**parts.ticks(names[1]), "title": parts.axis_title(axes[1]), "showgrid": False, "zeroline": False},
        "yaxis": {**parts.ticks(names[0]), "title": parts.axis_title(axes[0]), "showgrid": False, "zeroline": False},
        "height": height + 30 * bool(kinds),
        "showlegend": bool(kinds),
    }
    layout["yaxis"]["range"] = [len(matrix) - 0.5, -0.5]
    notes = cells.heatmap_notes(matrix, steps, ends)
    table = cells.matrix_table(axes[0], names, matrix, kinds.names if kinds else None)
    data = [trace, *cells.undefined_cells(matrix), *(kinds.legend if kinds else ())]
    return Figure(id, parts.plot(data, layout), parts.joined(caption, notes), alt, table)


def lines(
    id: str,
    x: ArrayLike,
    series: Mapping[str, ArrayLike],
    *,
    caption: str,
    alt: str,
    axes: tuple[str, str] = ("x", "value"),
    bands: Mapping[str, tuple[ArrayLike, ArrayLike]] | None = None,
    log: str = "",
    height: int | None = None,
) -> Figure:
    """Draw several series over one axis.

    They differ in colour, dash and marker.

    Args:
        id: The figure's id on the page.
        x: (n,) positions.
        series: Name -> (n,) values; a NaN leaves a gap that the caption counts.
        caption: What the lines are, and what the bands.
        alt: One sentence saying what is to be seen.
        axes: Names of both axes with units.
        bands: Name of a series -> its (lower, upper) bounds, each (n,), drawn as a tinted band.
        log: The axes with a logarithmic scale: "x", "y" or "xy".
        height: In pixels; by default that of every figure.

    Raises:
        UsageError: Lengths differ, there is no series, a band belongs to none, or caption or alt are empty.
    """
    positions = parts.vector(id, x)
    if not series or not len(positions):
        raise UsageError(f'The line plot "{id}" has nothing to draw: give x and at least one series.')
    if unknown := [name for name in bands or {} if name not in series]:
        raise UsageError(f'The line plot "{id}" has a band "{unknown[0]}" but no such series.')
    values = {name: parts.vector(id, numbers, len(positions)) for name, numbers in series.items()}
    data: list[dict[str, Any]] = []
    columns: list[str] = [axes[0]]
    body: list[list[Cell]] = [[parts.number(value) for value in parts.flat(x)]]
    for index, (name, numbers) in enumerate(values.items()):
        columns.append(name)
        body.append([parts.number(value) for value in parts.flat(series[name])])
        if bands and name in bands:
            low, high = (parts.vector(id, bound, len(positions)) for bound in bands[name])
            data.append(parts.band(positions, low, high, CATEGORIES[index % len(CATEGORIES)]))
            columns += [f"{name}, lower", f"{name}, upper"]
            body += [low.tolist(), high.tolist()]
        data.append(parts.line(positions, numbers, name, index))
    layout = {
        "xaxis": {"title": parts.axis_title(axes[0]), "showgrid": False, "zeroline": False},
        "yaxis": {"title": parts.axis_title(axes[1])},
        "hovermode": "x",
        "showlegend": len(series) > 1,
        **({} if height is None else {"height": height}),
    }
    bounds = [np.asarray(bound, float) for both in (bands or {}).values() for bound in both]
    parts.set_scales(id, layout, log, positions, np.concatenate([*values.values(), *bounds]))
    table = Table(tuple(columns), tuple(zip(*body, strict=True)))
    return Figure(
        id, parts.plot(data, layout), caption + parts.undefined(np.concatenate(list(values.values()))), alt, table
    )


def scatter(
    id: str,
    x: ArrayLike,
    y: ArrayLike,
    *,
    caption: str,
    alt: str,
    axes: tuple[str, str] = ("x", "y"),
    groups: Sequence[str] | None = None,
    labels: Sequence[str] | None = None,
    written: bool = False,
    diagonal: str = "",
    log: str = "",
) -> Figure:
    """Draw points, by group in colour and marker.

    Beyond 5000 points, evenly spaced points of each group are drawn, and the caption states it.

    Args:
        id: The figure's id on the page.
        x: (n,) numbers.
        y: (n,) numbers.
        caption: What a point is, and how many there are.
        alt: One sentence saying what is to be seen.
        axes: Names of both axes with units.
        groups: The group of each point.
        labels: What the point is, read on hovering and in the table.
        written: Whether the labels are drawn next to the points too; for a dozen points at most.
        diagonal: Name of the line on which both axes are equal; none is drawn where it is empty.
        log: The axes with a logarithmic scale: "x", "y" or "xy".

    Raises:
        UsageError: Lengths differ, there is no point, or caption or alt are empty.
    """
    across, up = parts.vector(id, x), parts.vector(id, y, np.size(x))
    group = np.array(parts.names(id, groups, len(across)) if groups is not None else [""] * len(across), object)
    label = np.array(parts.names(id, labels, len(across)), object)
    rows = parts.decimated(group)
    data = []
    for index, name in enumerate(dict.fromkeys(group[rows])):
        of_group = rows[group[rows] == name]
        data.append(parts.points(across[of_group], up[of_group], str(name), label[of_group], index, written))
    if diagonal:
        data.insert(0, parts.diagonal(across[rows], up[rows], diagonal))
    notes = (
        f" Drawn: {len(rows)} of {len(across)} points, evenly spaced in their order." if len(rows) < len(across) else ""
    )
    shown = [
        (str(label[i]), str(group[i]), parts.number(parts.flat(x)[i]), parts.number(parts.flat(y)[i])) for i in rows
    ]
    layout = {
        "xaxis": {"title": parts.axis_title(axes[0])},
        "yaxis": {"title": parts.axis_title(axes[1])},
        "showlegend": groups is not None,
        "height": 440,
    }
    if written:
        margin = 0.15 * (np.ptp(across) or 1)
        layout["xaxis"]["range"] = [across.min() - margin, across.max() + margin]
    parts.set_scales(id, layout, log, across, up)
    table = Table(("point", "group", *axes), tuple(shown))
    return Figure(
        id, parts.plot(data, layout), parts.joined(caption, notes + parts.undefined(np.r_[across, up])), alt, table
    )


def icicle(
    id: str,
    labels: Sequence[str],
    parents: Sequence[int],
    values: ArrayLike,
    *,
    caption: str,
    alt: str,
    unit: str = "",
) -> Figure:
    """Draw a tree of signed contributions, with the root on top.

    Colour is value, width the sum of magnitudes beneath.

    Args:
        id: The figure's id on the page.
        labels: One a node; they may repeat.
        parents: For each node the index of its parent, which comes before it; -1 for the root.
        values: (n,) signed values.
        caption: What a node's value is.
        alt: One sentence saying what is to be seen.
        unit: Unit of the values.

    Raises:
        UsageError: Lengths differ, a parent does not come before its child, a value is not finite, or caption or alt
            are empty.
    """
    numbers = parts.vector(id, values, len(labels))
    if not np.isfinite(numbers).all():
        raise UsageError(f'The tree "{id}" has a value that is NaN or infinite: it has no width and cannot be drawn.')
    if len(parents) != len(labels) or any(not -1 <= parent < node for node, parent in enumerate(parents)):
        raise UsageError(
            f'The tree "{id}" needs for each of its {len(labels)} nodes a parent before it (-1: the root).'
        )
    limit = float(np.abs(numbers).max()) or 1.0
    trace = {
        "type": "icicle",
        "ids": [str(node) for node in range(len(labels))],
        "labels": [plotly_text(shortened(name, 60)) for name in labels],
        "parents": ["" if parent < 0 else str(parent) for parent in parents],
        "values": parts.widths(parents, numbers),
        "branchvalues": "total",
        "text": [f"{parts.signed(number)} {plotly_text(unit)}".rstrip() for number in numbers],
        "textinfo": "label+text",
        "hovertemplate": "%{label}<br>%{text}<extra></extra>",
        "marker": {
            "colors": numbers,
            "colorscale": [list(stop) for stop in DIVERGING],
            "cmin": -limit,
            "cmax": limit,
            "showscale": True,
            "colorbar": parts.colorbar(unit),
            "line": {"width": 1},
        },
        "tiling": {"orientation": "v", "pad": 1},
        "pathbar": {"visible": False},
        "sort": False,
    }
    value = f"value ({unit})" if unit else "value"
    nodes = zip(labels, parents, parts.flat(values), strict=True)
    rows = tuple((i, str(name), None if up < 0 else int(up), parts.number(x)) for i, (name, up, x) in enumerate(nodes))
    layout = {"height": 460, "margin": {"b": 8}, "uniformtext": {"minsize": 10, "mode": "hide"}}
    return Figure(id, parts.plot([trace], layout), caption, alt, Table(("node", "label", "parent", value), rows))


def histogram(
    id: str,
    values: ArrayLike | Mapping[str, ArrayLike],
    *,
    caption: str,
    alt: str,
    axes: tuple[str, str] = ("value", "count"),
    bins: int = 40,
) -> Figure:
    """Draw how often values fall into each of `bins` equal intervals.

    Several groups share the intervals.

    Raises `UsageError` when no value is finite, or caption or alt are empty.
    """
    groups = dict(values) if isinstance(values, Mapping) else {axes[1]: values}
    arrays = {name: np.asarray(numbers, dtype=float).ravel() for name, numbers in groups.items()}
    every = np.concatenate(list(arrays.values())) if arrays else np.zeros(0)
    if bins < 1 or not np.isfinite(every).any():
        raise UsageError(f'The histogram "{id}" has no finite value, or fewer than one bin: there is nothing to count.')
    edges = np.histogram_bin_edges(every[np.isfinite(every)], bins)
    counts = {name: np.histogram(numbers[np.isfinite(numbers)], edges)[0] for name, numbers in arrays.items()}
    centres, width = (edges[:-1] + edges[1:]) / 2, edges[1] - edges[0]
    data = [
        {
            "type": "bar",
            "name": plotly_text(name),
            "x": centres,
            "y": count,
            "width": float(width),
            "opacity": 0.62 if len(counts) > 1 else 1.0,
            "marker": {"color": CATEGORIES[index % len(CATEGORIES)], "pattern": parts.pattern(index)},
            "hovertemplate": "%{x:.4g}: %{y}<extra></extra>",
        }
        for index, (name, count) in enumerate(counts.items())
    ]
    layout = {
        "barmode": "overlay",
        "showlegend": len(counts) > 1,
        "xaxis": {"title": parts.axis_title(axes[0]), "showgrid": False, "zeroline": False},
        "yaxis": {"title": parts.axis_title(axes[1])},
    }
    body = zip(edges[:-1].tolist(), edges[1:].tolist(), *(count.tolist() for count in counts.values()), strict=True)
    table = Table(("from", "to", *counts), tuple(body))
    return Figure(id, parts.plot(data, layout), parts.joined(caption, parts.undefined(every)), alt, table)
