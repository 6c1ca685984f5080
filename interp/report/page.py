"""One page as one self-contained file, readable without a network.

It contains HTML, style, script, figures, files and the plotting library.

The library is the part of the `plotly` package's own `plotly.min.js` that pages need (see `library.py`), embedded
once as gzip and base64 and opened by the browser's `DecompressionStream`, or (`plotlyjs="directory"`) one file that the
pages of a folder share. A content security policy admits our script and that library by their SHA-256 and nothing else,
so that markup which slipped through the escaping would still not run. The same page gives the same bytes.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Literal

from interp.errors import UsageError
from interp.report.attention import Attention
from interp.report.blocks import Figure, Page, Tokens
from interp.report.explorer import Explorer
from interp.report.library import library, packed_library
from interp.report.markup import Payload, block_html, page_body
from interp.report.text import escaped
from interp.report.theme import DARK, css
from interp.report.thumbnail import thumbnail
from interp.results import writable_folder, write_atomic

PlotlyJS = Literal["inline", "directory"]
LIBRARY = "plotly.min.js"
NAME = "report.html"
"""File name of a page in the folder of its result."""


def render(page: Page, *, plotlyjs: PlotlyJS = "inline") -> str:
    """Return the page as HTML; equal pages give equal text.

    Args:
        page: What to show.
        plotlyjs: "inline" embeds the plotting library (0.6 MB of a page); "directory" loads `plotly.min.js` from the
            folder of the page, which `write` puts there.

    Raises:
        UsageError: `plotlyjs` is neither, or a figure has a trace type that cannot be drawn.

    >>> html = report.render(page)
    >>> html[:15]
    '<!doctype html>'
    """
    payload = Payload()
    body = page_body(page, payload)
    return document(page.title, body, payload, meta=_meta(page), plotlyjs=plotlyjs)


def write(page: Page, folder: str | os.PathLike[str], name: str = NAME, plotlyjs: PlotlyJS = "inline") -> Path:
    """Write the page into `folder` and return its path.

    The folder is made if missing; the file is complete or not there.

    Args:
        page: what to show.
        folder: made if missing.
        name: of the file.
        plotlyjs: as in `render`.

    Returns:
        The path of the file.

    Raises:
        UsageError: the folder cannot be written to, or the page cannot be rendered.

    >>> report.write(page, folder).name
    'report.html'
    """
    if Path(name).name != name or not name.endswith(".html"):
        raise UsageError(f'A page is written as a file of the folder, such as "report.html", not as "{name}".')
    content = render(page, plotlyjs=plotlyjs).encode()
    target = writable_folder(folder)
    if plotlyjs == "directory":
        write_atomic(target / LIBRARY, library())
    write_atomic(target / name, content)
    return target / name


def document(
    title: str, body: str, payload: Payload | None = None, *, meta: dict[str, str], plotlyjs: PlotlyJS = "inline"
) -> str:
    """Return a complete HTML document around `body`.

    The plotting library is included only where there is a figure to draw.
    """
    if plotlyjs not in ("inline", "directory"):
        raise UsageError(f'plotlyjs is "{plotlyjs}"; it must be "inline" or "directory".')
    script, style, scripts, allowed = _asset("page.js"), _asset("page.css"), "", ["'none'"]
    if payload is not None:
        library, allowed = _library_script(plotlyjs) if payload.figures else ("", [])
        data = {
            "attentions": payload.attentions,
            "dark": DARK,
            "decks": payload.decks,
            "explorers": payload.explorers,
            "figures": payload.figures,
            "files": payload.files,
        }
        script = "".join(map(_asset, _elements(payload, "js"))) + script
        scripts = (
            f'<script type="application/json" id="interp-data">{_json(data)}</script>{library}<script>{script}</script>'
        )
        style += "".join(map(_asset, _elements(payload, "css")))
        allowed = [_sha256(script.encode()), *allowed]
    policy = (
        f"default-src 'none'; script-src {' '.join(allowed)}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )
    metas = "".join(f'<meta name="interp-{name}" content="{escaped(meta[name])}">' for name in sorted(meta))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{escape(policy, quote=False)}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="color-scheme" content="light dark"><title>{escaped(title)}</title>{metas}'
        f"<style>{css()}{style}</style></head><body>{body}{scripts}</body></html>\n"
    )


_HEIGHTS: dict[type, int] = {Figure: 620, Explorer: 860, Attention: 460}
"""Pixels of a frame in a notebook; 320 for a line of tokens."""


def frame(shown: Page | Figure | Tokens | Explorer | Attention) -> str:
    """Return HTML that shows a page or block inside a notebook.

    It is a page of its own inside a frame, so that neither can disturb the other.
    """
    if isinstance(shown, Page):
        text, height = render(shown), 720
    else:
        payload = Payload()
        body = f'<main class="alone">{block_html(shown, payload, shown.id)}</main>'
        text, height = document(shown.id, body, payload, meta={}), _HEIGHTS.get(type(shown), 320)
    return (
        f'<iframe title="{escaped(shown.title if isinstance(shown, Page) else shown.caption)}" '
        f'sandbox="allow-scripts allow-downloads" style="width:100%;height:{height}px;border:0" '
        f'srcdoc="{escape(text)}"></iframe>'
    )


def _meta(page: Page) -> dict[str, str]:
    record = page.provenance
    facts = {"title": page.title, "finding": page.finding, "kind": page.kind, "model": record.model}
    drawn = {f"drawn-{name}": path for name, path in thumbnail(page).items() if path}
    return {**facts, "date": record.started, **drawn}


_ELEMENTS = {
    "decks": ("cards.js",),
    "explorers": (
        "explorer.css",
        "explorer-graph.js",
        "explorer-drawing.js",
        "explorer-panel.js",
        "explorer.js",
    ),
    "attentions": ("attention.css", "attention.js"),
}
"""The scripts and styles of each kind of element; all kinds need `shared.js`."""


def _elements(payload: Payload, suffix: str) -> tuple[str, ...]:
    """Return the script or style files that a page's elements need.

    `suffix` is "js" for scripts, "css" for styles.
    """
    own = tuple(name for kind, names in _ELEMENTS.items() if getattr(payload, kind) for name in names)
    return tuple(name for name in ("shared.js", *own) if own and name.endswith(suffix))


def _library_script(plotlyjs: PlotlyJS) -> tuple[str, list[str]]:
    """Return the library as script elements, with the policy sources they need."""
    if plotlyjs == "directory":
        return f'<script src="{LIBRARY}"></script>', ["'self'"]
    return f'<script type="text/plain" id="plotly-gzip">{packed_library()}</script>', [_sha256(library())]


def _json(value: object) -> str:
    """Return JSON that cannot end the script element that contains it."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c")


def _asset(name: str) -> str:
    return files("interp.report").joinpath("assets", name).read_text(encoding="utf-8")


def _sha256(content: bytes) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content).digest()).decode()}'"
