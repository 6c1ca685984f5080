"""Figures of bars: signed ones about zero, and groups side by side. See `interp.report.figures`."""
# ruff: noqa: PLR0913 (what follows the data is keyword-only and named at every call)

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from interp.errors import UsageError
from interp.report import parts
from interp.report.blocks import Figure
from interp.report.table import Cell, Table
from interp.report.text import plotly_text
from interp.report.theme import CATEGORIES, TEXT


def bars(
    id: str,
    labels: Sequence[str],
    values: ArrayLike,
    *,
    caption: str,
    alt: str,
    axes: tuple[str, str] = ("component", "value"),
    errors: ArrayLike | None = None,
    vertical: bool = False,
) -> Figure:
    """Draw signed bars about zero, in the order given.

    Args:
        id: The figure's id on the page.
        labels: One a bar; they may repeat.
        values: (n,) numbers; a NaN or infinity is written in place of its bar.
        caption: What the bars are; the kind of error bar among it.
        alt: One sentence saying what is to be seen.
        axes: Names of the label and the value axis, the latter with its unit, such as "contribution (logits)".
        errors: (n,) half lengths of error bars, or (n, 2) lengths below and above.
        vertical: Upright bars; horizontal ones leave space for long labels.

    Raises:
        UsageError: Lengths differ, there is no bar, or caption or alt are empty.
    """
    numbers = parts.vector(id, values, len(labels))
    # The axis of the labels is `p`, that of the values `q`.
    p, q = ("x", "y") if vertical else ("y", "x")
    hover = [f"{plotly_text(name)}<br>{parts.signed(number)}" for name, number in zip(labels, numbers, strict=True)]
    style = {"type": "bar", "orientation": "v" if vertical else "h", "hovertext": hover}
    style |= {"hovertemplate": "%{hovertext}<extra></extra>", "marker": {"color": parts.sign_colours(numbers)}}
    positions = list(range(len(labels)))
    trace = {**style, p: positions, q: np.where(np.isfinite(numbers), numbers, np.nan)}
    columns: tuple[str, ...] = axes
    rows: list[tuple[Cell, ...]] = [
        (str(name), parts.number(x)) for name, x in zip(labels, parts.flat(values), strict=True)
    ]
    if errors is not None:
        low, high = parts.interval(id, errors, len(labels))
        trace[f"error_{q}"] = {"type": "data", "array": high, "arrayminus": low, "thickness": 1.2, "color": TEXT}
        columns = (*axes, "error below", "error above")
        rows = [(*row, float(a), float(b)) for row, a, b in zip(rows, low, high, strict=True)]
    layout = {
        f"{p}axis": {**parts.ticks(labels), "title": parts.axis_title(axes[0]), "showgrid": False, "zeroline": False},
        f"{q}axis": {"title": parts.axis_title(axes[1])},
        "bargap": 0.3,
        "height": 380 if vertical else min(760, 110 + 24 * len(labels)),
    }
    if not vertical:
        layout["yaxis"]["range"] = [len(labels) - 0.5, -0.5]
    data = [trace, *parts.written(p, q, numbers)]
    return Figure(
        id, parts.plot(data, layout), parts.joined(caption, parts.undefined(numbers)), alt, Table(columns, tuple(rows))
    )


def grouped_bars(
    id: str,
    labels: Sequence[str],
    series: Mapping[str, ArrayLike],
    *,
    caption: str,
    alt: str,
    axes: tuple[str, str] = ("group", "value"),
) -> Figure:
    """Draw upright bars side by side, grouped by label.

    Each group has one bar of every series, in the colour of the series.

    Args:
        id: The figure's id on the page.
        labels: One a group; they may repeat.
        series: Name -> (n,) values; a NaN has no bar and is counted in the caption.
        caption: What the bars are.
        alt: One sentence saying what is to be seen.
        axes: Names of the label and the value axis, the latter with its unit.

    Raises:
        UsageError: Lengths differ, there is no bar, or caption or alt are empty.
    """
    if not series or not labels:
        raise UsageError(f'The bars "{id}" have nothing to draw: give labels and at least one series.')
    values = {name: parts.vector(id, numbers, len(labels)) for name, numbers in series.items()}
    data = [
        {
            "type": "bar",
            "name": plotly_text(name),
            "x": list(range(len(labels))),
            "y": np.where(np.isfinite(numbers), numbers, np.nan),
            "marker": {"color": CATEGORIES[index % len(CATEGORIES)], "pattern": parts.pattern(index)},
            "hovertext": [
                f"{plotly_text(name)} {plotly_text(label)}<br>{parts.signed(x)}"
                for label, x in zip(labels, numbers, strict=True)
            ],
            "hovertemplate": "%{hovertext}<extra></extra>",
        }
        for index, (name, numbers) in enumerate(values.items())
    ]
    layout = {
        "xaxis": {**parts.ticks(labels), "title": parts.axis_title(axes[0]), "showgrid": False, "zeroline": False},
        "yaxis": {"title": parts.axis_title(axes[1])},
        "bargap": 0.25,
        "barmode": "group",
        "height": 340,
        "showlegend": len(series) > 1,
    }
    columns = [[parts.number(x) for x in parts.flat(numbers)] for numbers in series.values()]
    table = Table((axes[0], *series), tuple(zip(map(str, labels), *columns, strict=True)))
    notes = parts.undefined(np.concatenate(list(values.values())))
    return Figure(id, parts.plot(data, layout), parts.joined(caption, notes), alt, table)
