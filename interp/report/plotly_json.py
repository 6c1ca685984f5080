"""Plotly figures as the JSON a page carries, and the number of marks in them.

A browser draws an empty plot without a message when a trace cannot be drawn. So each figure promises how many marks it
has; a test counts them. Only trace types whose marks are counted may go on a page.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from interp.errors import UsageError
from interp.report.theme import themed

if TYPE_CHECKING:
    import plotly.graph_objects as go

TYPES = ("bar", "heatmap", "icicle", "scatter")
_TYPED = {"f4": "<f4", "f8": "<f8", "i1": "<i1", "i2": "<i2", "i4": "<i4", "u1": "<u1", "u2": "<u2", "u4": "<u4"}
_COMPACT = 2048
"""Longer arrays of floats are sent as 32-bit: a screen shows no more, and the table keeps full precision."""


def payload(figure: go.Figure) -> dict[str, Any]:
    """Return a figure's data and layout in plain JSON values.

    The result is `{"data": [...], "layout": {...}}`; NaN and infinities become null.
    """
    content = figure.to_dict()
    return {"data": [_json(trace) for trace in content["data"]], "layout": _json(themed(content.get("layout", {})))}


def marks(figure: go.Figure) -> int:
    """Count the marks that the browser must draw for a figure.

    Marks are bars, points, lines, images and tiles. Raises `UsageError` for a type we do not count.
    """
    return sum(_marks(trace) for trace in figure.to_dict()["data"])


def height(figure: go.Figure) -> int:
    """Return the height in pixels that the page reserves for the figure.

    It is reserved before the figure is drawn, so that the page does not jump.
    """
    return int(figure.layout.height or themed({})["height"])  # type: ignore[call-overload]


def _marks(trace: dict[str, Any]) -> int:
    kind = trace["type"]
    if kind not in TYPES:
        raise UsageError(f'A page cannot draw a plotly "{kind}" trace: use one of {", ".join(TYPES)}.')
    if kind == "heatmap":
        return 1
    if kind == "icicle":
        return len(values_of(trace.get("labels", ())))
    if kind == "bar":
        # A bar that is zero or not a number still has its path.
        return len(values_of(trace["x" if trace.get("orientation") == "h" else "y"]))
    return _scatter_marks(trace)


def _scatter_marks(trace: dict[str, Any]) -> int:
    y = values_of(trace["y"])
    drawn = _finite(y) & _finite(values_of(trace["x"])) if "x" in trace else _finite(y)
    mode = trace.get("mode", "lines")
    pieces = int(drawn[0]) + int((drawn[1:] & ~drawn[:-1]).sum()) if len(drawn) else 0
    # A piece of one point alone is not a line.
    alone = int((drawn & ~np.r_[False, drawn[:-1]] & ~np.r_[drawn[1:], False]).sum())
    return int(drawn.sum()) * (("markers" in mode) + ("text" in mode)) + (pieces - alone) * ("lines" in mode)


def _finite(values: Sequence[Any] | np.ndarray) -> np.ndarray:
    return np.array([value is not None and (isinstance(value, str) or math.isfinite(value)) for value in values], bool)


def values_of(value: Any) -> Sequence[Any] | np.ndarray:
    """Return the numbers of a trace's field, packed or not."""
    return _array(value) if isinstance(value, dict) else value


def _array(value: dict[str, Any]) -> np.ndarray:
    """Return the numpy array behind plotly's `{"dtype", "bdata", "shape"}`."""
    flat = np.frombuffer(base64.b64decode(value["bdata"]), _TYPED[value["dtype"]])
    return flat.reshape([int(n) for n in str(value["shape"]).split(",")]) if "shape" in value else flat


def _json(value: Any) -> Any:
    if isinstance(value, dict):
        return _packed(_array(value)) if "bdata" in value else {str(key): _json(value[key]) for key in value}
    if isinstance(value, np.ndarray):
        return _json(value.tolist())
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, np.integer | np.bool_):
        return value.item()
    return [_json(item) for item in value] if isinstance(value, Iterable) and not isinstance(value, str) else value


def _packed(array: np.ndarray) -> Any:
    if array.size <= _COMPACT or array.dtype.kind != "f":
        return _json(array)
    if array.ndim == 2:
        return _halves(array)
    return {"dtype": "f4", "bdata": base64.b64encode(array.astype("<f4").tobytes()).decode()}


def _halves(matrix: np.ndarray) -> dict[str, Any]:
    """Return colours as 16-bit floats within −1 and 1, with their scale.

    They are right to three digits; the page unpacks and scales them.
    """
    finite = np.abs(matrix[np.isfinite(matrix)])
    scale = float(finite.max(initial=0.0)) or 1.0
    body = np.where(np.isfinite(matrix), matrix / scale, np.nan).astype("<f2")
    return {"halves": base64.b64encode(body.tobytes()).decode(), "scale": scale, "width": matrix.shape[1]}
