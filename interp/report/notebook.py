"""Figures as notebooks draw them, in plotly's own MIME type.

So a document contains numbers and never the library.
"""

from __future__ import annotations

import json
import textwrap
from typing import TYPE_CHECKING, Any

from interp.report.text import escaped, plotly_text
from interp.report.theme import themed

if TYPE_CHECKING:
    from interp.report.blocks import Figure

PLOTLY = "application/vnd.plotly.v1+json"
"""JupyterLab, VS Code and Colab draw this with the plotting library that `plotly` installs for them."""
WIDTH = 130
"""Characters of a line of the caption."""


def bundle(figure: Figure, text: str) -> dict[str, Any]:
    """Return a figure by MIME type.

    Where plotly is not drawn, its caption and table are shown.

    Args:
        figure: what is drawn.
        text: its plain form, one line.
    """
    drawn = json.loads(str(figure.plotly.to_json()))
    layout = themed(drawn["layout"])
    caption = "<br>".join(plotly_text(line) for line in textwrap.wrap(figure.caption, WIDTH))
    layout["title"] = {
        "text": caption,
        "font": {"size": 12},
        "x": 0,
        "xanchor": "left",
        "y": 1,
        "yanchor": "top",
        "yref": "container",
        "automargin": True,
        "pad": {"t": 8, "b": 8},
    }
    layout |= {"paper_bgcolor": "#ffffff", "plot_bgcolor": "#ffffff"}  # readable on a dark notebook too
    fallback = f"<p>{escaped(figure.caption)}</p>{figure.table.to_html()}"
    return {PLOTLY: {"data": drawn["data"], "layout": layout}, "text/html": fallback, "text/plain": text}
