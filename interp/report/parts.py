"""Parts of figures: axes, traces, limits, and the sentences a caption must add."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from interp.errors import UsageError
from interp.report.table import Cell
from interp.report.text import plotly_text, shortened
from interp.report.theme import CATEGORIES, DASHES, NEGATIVE, NEUTRAL, POSITIVE, SYMBOLS

if TYPE_CHECKING:
    import plotly.graph_objects as go

POINTS = 5000
"""Points of a scatter plot; more are decimated."""
_TICKS = 48


def plot(data: list[dict[str, Any]], layout: dict[str, Any]) -> go.Figure:
    """Return a plotly figure without plotly's default template.

    The page adds the theme.
    """
    import plotly.graph_objects as go

    return go.Figure(data=data, layout={"template": "none", **layout})


def flat(values: ArrayLike) -> np.ndarray:
    """Return values as (n,) in the dtype given.

    So 32-bit numbers are not written with the digits of 64-bit ones.
    """
    return np.asarray(values).ravel()


def vector(id: str, values: ArrayLike, length: int | None = None) -> np.ndarray:
    """Return values as (n,) float64.

    Raises `UsageError` when it is empty or has another length than expected.
    """
    numbers = np.asarray(values, dtype=float)
    if numbers.ndim != 1 or not numbers.size or (length is not None and len(numbers) != length):
        expected = "a row of numbers" if length is None else f"{length} numbers, one for each label or position"
        raise UsageError(f'The figure "{id}" was given values of shape {numbers.shape}; expected {expected}.')
    return numbers


def names(id: str, given: Sequence[str] | None, length: int) -> list[str]:
    """Return the labels given, or positions.

    Raises `UsageError` when their number is wrong.
    """
    if given is not None and len(given) != length:
        raise UsageError(f'The figure "{id}" was given {len(given)} labels for {length} rows, columns or points.')
    return [str(name) for name in given] if given is not None else [str(number) for number in range(length)]


def number(value: Any) -> Cell:
    """Return a number as a table cell.

    Integers stay integers; 32-bit floats get the shortest decimal that reads back the same.
    """
    if isinstance(value, np.integer | np.bool_ | int):
        return int(value)
    return float(str(value)) if isinstance(value, np.floating) else float(value)


def signed(value: float) -> str:
    """Format a number with its sign, for hover text."""
    return f"{value:+.4g}".replace("-", "−") if np.isfinite(value) else kind(value)


def kind(value: float) -> str:
    """Return how NaN or an infinity is written."""
    return "NaN" if np.isnan(value) else "∞" if value > 0 else "−∞"


def interval(id: str, errors: ArrayLike, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Return lengths below and above, each (n,), from (n,) or (n, 2)."""
    lengths = np.asarray(errors, dtype=float)
    if lengths.shape not in ((length,), (length, 2)) or (lengths < 0).any():
        raise UsageError(
            f'The figure "{id}" was given errors of shape {lengths.shape}; expected lengths of zero or more, of shape '
            f"({length},), or ({length}, 2) for below and above."
        )
    return (lengths, lengths) if lengths.ndim == 1 else (lengths[:, 0], lengths[:, 1])


def ticks(labels: Sequence[str]) -> dict[str, Any]:
    """Place labels at whole numbers, so that equal ones never merge.

    Where there are many, every k-th is shown.
    """
    step = -(-len(labels) // _TICKS)
    at = list(range(0, len(labels), step))
    return {"tickmode": "array", "tickvals": at, "ticktext": [plotly_text(shortened(labels[i])) for i in at]}


def set_scales(id: str, layout: dict[str, Any], log: str, x: np.ndarray, y: np.ndarray) -> None:
    """Give the axes named in `log` a logarithmic scale.

    Their ticks do not overlap.

    Raises `UsageError` for anything but "", "x", "y" and "xy".
    """
    if log not in ("", "x", "y", "xy"):
        raise UsageError(f'The figure "{id}" was given log="{log}"; expected "x", "y" or "xy".')
    for axis in log:
        layout[f"{axis}axis"] |= {"type": "log", **_log_ticks(x if axis == "x" else y)}


def _log_ticks(values: np.ndarray) -> dict[str, Any]:
    """Return ticks at 1, 2, 5, 10, 20, ..., at powers of ten where those would be too many.

    Within half a power of ten plotly's own ticks are better.
    """
    positive = values[np.isfinite(values) & (values > 0)]
    low, high = np.log10([positive.min(), positive.max()]) if positive.size else (0.0, 0.0)
    if high - low < 0.5:
        return {}
    if high - low > 3:
        return {"dtick": int(np.ceil((high - low) / 8))}
    steps = [step * 10.0**power for power in range(int(np.floor(low)), int(np.ceil(high)) + 1) for step in (1, 2, 5)]
    inside = [step for step in steps if positive.min() <= step * (1 + 1e-9) and step <= positive.max() * (1 + 1e-9)]
    if len(inside) < 2:
        return {}
    return {"tickmode": "array", "tickvals": inside, "ticktext": [f"{step:g}".replace("-", "−") for step in inside]}


def axis_title(text: str) -> dict[str, str]:
    """Return the title of an axis."""
    return {"text": plotly_text(text)}


def colorbar(title: str) -> dict[str, Any]:
    """Return a thin colour scale with its unit on top."""
    return {
        "thickness": 10,
        "outlinewidth": 0,
        "ticklen": 3,
        "title": {"text": plotly_text(title), "side": "top", "font": {"size": 12}},
    }


def sign_colours(values: np.ndarray) -> list[str]:
    """Return red for values below zero, blue from zero up."""
    return [NEGATIVE if value < 0 else POSITIVE for value in values]


def written(p: str, q: str, values: np.ndarray) -> list[dict[str, Any]]:
    """Return text in place of each bar that cannot be drawn.

    The text stands next to zero, where a bar would start.
    """
    at = np.flatnonzero(~np.isfinite(values))
    if not len(at):
        return []
    position = "middle right" if q == "x" else "top center"
    text = {"type": "scatter", "mode": "text", "textposition": position, "showlegend": False, "hoverinfo": "skip"}
    words = [kind(values[i]) for i in at]
    return [{**text, p: at.tolist(), q: [0] * len(at), "text": words, "textfont": {"color": NEUTRAL}}]


def joined(caption: str, note: str) -> str:
    """Join the author's caption and the sentences added to it.

    An empty caption stays empty, and is refused later.
    """
    caption = caption.strip()
    full_stop = "." if caption and note and caption[-1] not in ".!?" else ""
    return caption + full_stop + note if caption else ""


def undefined(values: np.ndarray) -> str:
    """Return the sentence that counts NaN and infinities, or an empty text."""
    nan, infinite = int(np.isnan(values).sum()), int(np.isinf(values).sum())
    parts = [f"{nan} NaN"] * bool(nan) + [f"{infinite} infinite"] * bool(infinite)
    return f" Not drawn as numbers: {' and '.join(parts)} of {values.size} values." if parts else ""


def line(x: np.ndarray, y: np.ndarray, name: str, index: int) -> dict[str, Any]:
    """Return a series as a line, with markers where points are few.

    There are markers up to 60 points, and always where the line has gaps.

    One that has the same value everywhere is a level to compare with, and has none.
    """
    level = len(y) > 2 and np.isfinite(y).all() and np.ptp(y) == 0
    markers = (len(x) <= 60 and not level) or not np.isfinite(y).all()
    colour = CATEGORIES[index % len(CATEGORIES)]
    return {
        "type": "scatter",
        "mode": "lines+markers" if markers else "lines",
        "name": plotly_text(name),
        "x": x,
        "y": y,
        "line": {"color": colour, "width": 2, "dash": DASHES[index % len(DASHES)]},
        "marker": {"symbol": SYMBOLS[index % len(SYMBOLS)], "size": 6, "color": colour},
        "hovertemplate": f"%{{y:.4g}} {plotly_text(name)}<extra></extra>",
    }


def band(x: np.ndarray, low: np.ndarray, high: np.ndarray, colour: str) -> dict[str, Any]:
    """Return the tinted area between two bounds."""
    known = np.isfinite(low) & np.isfinite(high)
    return {
        "type": "scatter",
        "mode": "lines",
        "x": np.r_[x[known], x[known][::-1]],
        "y": np.r_[low[known], high[known][::-1]],
        "fill": "toself",
        "fillcolor": colour,
        "line": {"width": 0, "color": colour},
        "opacity": 0.18,
        "showlegend": False,
        "hoverinfo": "skip",
    }


def points(
    x: np.ndarray, y: np.ndarray, name: str, labels: np.ndarray, index: int, written: bool = False
) -> dict[str, Any]:
    """Return the points of one group, with their labels if `written`.

    Labels stand in turn above and below their points.
    """
    text = {
        "text": [plotly_text(shortened(str(label), 28)) for label in labels],
        "textposition": [("top center", "bottom center")[int(rank) % 2] for rank in np.argsort(np.argsort(x))],
        "textfont": {"size": 11},
        "cliponaxis": False,
    }
    return {
        "type": "scatter",
        "mode": "markers+text" if written else "markers",
        **(text if written else {}),
        "name": plotly_text(name),
        "x": x,
        "y": y,
        "hovertext": [plotly_text(shortened(str(label), 80)) for label in labels],
        "hovertemplate": "%{hovertext}<br>%{x:.4g}, %{y:.4g}<extra></extra>",
        "marker": {
            "color": CATEGORIES[index % len(CATEGORIES)],
            "symbol": SYMBOLS[index % len(SYMBOLS)],
            "size": 6 if len(x) <= 1000 else 4,
            "opacity": 0.8,
        },
    }


def diagonal(x: np.ndarray, y: np.ndarray, name: str) -> dict[str, Any]:
    """Return the line on which both axes are equal.

    It spans the range of the points.
    """
    ends = np.array([min(x.min(), y.min()), max(x.max(), y.max())])
    return {
        "type": "scatter",
        "mode": "lines",
        "name": plotly_text(name),
        "x": ends,
        "y": ends,
        "line": {"color": NEUTRAL, "width": 1, "dash": "dash"},
        "hoverinfo": "skip",
    }


def decimated(groups: np.ndarray) -> np.ndarray:
    """Return indices of at most about 5000 points, from every group.

    They are evenly spaced within each group.
    """
    if len(groups) <= POINTS:
        return np.arange(len(groups))
    indices = []
    for name in dict.fromkeys(groups):
        of_group = np.flatnonzero(groups == name)
        count = max(1, len(of_group) * POINTS // len(groups))
        indices.append(of_group[np.linspace(0, len(of_group) - 1, count).round().astype(int)])
    return np.sort(np.concatenate(indices))


def widths(parents: Sequence[int], values: np.ndarray) -> list[float]:
    """Return each node's width in a tree of contributions.

    For each node the sum of magnitudes beneath it, or its own magnitude where that is larger.
    """
    below = np.zeros(len(values))
    sizes = np.abs(values)
    # Parents come before their children, so a walk from the end has seen all children of a node.
    for node in range(len(values) - 1, -1, -1):
        sizes[node] = max(sizes[node], below[node])
        if parents[node] >= 0:
            below[parents[node]] += sizes[node]
    return sizes.tolist()


def pattern(index: int) -> dict[str, Any]:
    """Return hatching that distinguishes a group of bars without its colour."""
    return {"shape": ("", "/", "x", ".", "\\", "-", "|")[index % 7], "solidity": 0.2, "fillmode": "overlay"}
