"""Colours and the plot layout, for light and dark pages.

Figures are made in the light colours. A dark page swaps each colour of `DARK` for its partner, so that a figure has
one description and a colour one meaning: red below zero, blue above, the page's own ground at zero.
"""

from __future__ import annotations

NEGATIVE = "#b2182b"
POSITIVE = "#2166ac"
NEUTRAL = "#6b7280"
UNDEFINED = "#d9d0e3"
"""Cells that are NaN or infinite: a mauve, a hue that is on no scale."""

CATEGORIES = ("#0077bb", "#cc4e0c", "#00806f", "#aa3377", "#8a6d00", "#33a6d9", "#7a4fb5")
"""Distinct under the common colour-vision deficiencies, and always drawn with different markers too."""
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "star", "x", "triangle-down")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")

DIVERGING = ((0.0, NEGATIVE), (0.25, "#ef8f75"), (0.5, "#f7f7f6"), (0.75, "#6fa8d2"), (1.0, POSITIVE))
MAGNITUDE = "Cividis"

TEXT, _MUTED, _GRID, _ZERO, _PAPER = "#1d2127", "#59616d", "#e8eaed", "#a3aab4", "#fefefe"

DARK = {
    NEGATIVE: "#f0806c",
    POSITIVE: "#66adea",
    NEUTRAL: "#98a2ae",
    UNDEFINED: "#493d57",
    "#ef8f75": "#8d4038",
    "#f7f7f6": "#22272e",
    "#6fa8d2": "#2d5b85",
    "#0077bb": "#4ba9ea",
    "#cc4e0c": "#f79763",
    "#00806f": "#35c4b0",
    "#aa3377": "#ee86bb",
    "#8a6d00": "#d9bb52",
    "#33a6d9": "#8fd6f5",
    "#7a4fb5": "#b99aec",
    TEXT: "#e4e7eb",
    _MUTED: "#a2abb7",
    _GRID: "#2b3139",
    _ZERO: "#5b6470",
    _PAPER: "#15181d",
}
"""Light colour -> dark colour."""

_AXIS = {
    "automargin": True,
    "gridcolor": _GRID,
    "linecolor": _ZERO,
    "tickcolor": _ZERO,
    "ticklen": 4,
    "tickfont": {"size": 12, "color": _MUTED},
    "title": {"font": {"size": 13, "color": TEXT}, "standoff": 12},
    "zerolinecolor": _ZERO,
    "zerolinewidth": 1,
}

LAYOUT = {
    "autosize": True,
    "colorway": list(CATEGORIES),
    "font": {
        "family": "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif",
        "size": 13,
        "color": TEXT,
    },
    "height": 380,
    "hoverlabel": {"bgcolor": _PAPER, "bordercolor": _ZERO, "font": {"color": TEXT, "size": 13}, "align": "left"},
    "legend": {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "font": {"size": 12}},
    "modebar": {"bgcolor": "rgba(0,0,0,0)", "color": _ZERO, "activecolor": TEXT},
    "margin": {"l": 16, "r": 16, "t": 30, "b": 16, "pad": 2},
    "paper_bgcolor": "rgba(0,0,0,0)",
    "plot_bgcolor": "rgba(0,0,0,0)",
    "showlegend": False,
    "xaxis": _AXIS,
    "yaxis": _AXIS,
}


def themed(layout: dict[str, object]) -> dict[str, object]:
    """Return `layout` merged over the theme's defaults.

    Defaults are set for every axis it has; its template is dropped.
    """
    own = {name: value for name, value in layout.items() if name != "template"}
    axes = {name: _AXIS for name in own if name.startswith(("xaxis", "yaxis"))}
    return _merged({**LAYOUT, **axes}, own)


def _merged(base: dict, own: dict) -> dict:
    both = {**base, **own}
    for name in base.keys() & own.keys():
        if isinstance(base[name], dict) and isinstance(own[name], dict):
            both[name] = _merged(base[name], own[name])
    return both


def css() -> str:
    """Return the page's colours as CSS custom properties.

    Light, dark where the reader prefers it, light on paper.
    """
    names = {"text": TEXT, "muted": _MUTED, "rule": _GRID, "edge": _ZERO, "ground": _PAPER, "negative": NEGATIVE}
    names |= {"positive": POSITIVE}
    light = "".join(f"--{name}:{colour};" for name, colour in names.items())
    dark = "".join(f"--{name}:{DARK[colour]};" for name, colour in names.items())
    return f":root{{{light}}}@media screen and (prefers-color-scheme:dark){{:root{{{dark}}}}}"
