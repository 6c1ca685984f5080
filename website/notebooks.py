"""The notebooks on the site, as Markdown with what they print and draw.

Run as `python -m website.notebooks build/notebooks/*.ipynb`, it executes those that were not, in place.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from interp.files import write_atomic
from interp.report.notebook import PLOTLY

FOLDER = "notebooks"
SOURCES = Path("notebooks")
BUILT = Path("build/notebooks")
ANSI = re.compile(r"\x1b\[[0-9;]*m")
LONG = 60
"""Lines of printed output that are shown."""


@dataclass
class Rendered:
    """A notebook as a page: Markdown with a mark for each piece of HTML, which Markdown must not touch."""

    text: str = ""
    pieces: dict[str, str] = field(default_factory=dict)

    def html(self, html: str) -> str:
        """Keep a piece of HTML and return the mark that stands for it."""
        mark = f"<!--piece {len(self.pieces)}-->"
        self.pieces[mark] = html
        return f"\n{mark}\n"


def names() -> list[str]:
    """Return the names of all notebooks, in the order of the site."""
    return sorted(source.stem for source in SOURCES.glob("*.py"))


def read(name: str) -> dict[str, Any]:
    """Return a notebook as JSON: the built one, with its outputs, or else its source without any."""
    built = BUILT / f"{name}.ipynb"
    if built.is_file():
        return json.loads(built.read_text(encoding="utf-8"))
    import jupytext

    return json.loads(jupytext.writes(jupytext.read(SOURCES / f"{name}.py"), fmt="ipynb"))


def text(notebook: dict[str, Any]) -> str:
    """Return a notebook as the text of an `.ipynb` file."""
    return json.dumps(notebook, ensure_ascii=False, indent=1)


def rendered(name: str, notebook: dict[str, Any]) -> Rendered:
    """Return the page of a notebook."""
    page = Rendered()
    for index, cell in enumerate(notebook["cells"]):
        if cell["cell_type"] == "markdown":
            page.text += f"{_source(cell)}\n\n"
            page.text += f"[Download this notebook]({name}.ipynb)\n\n" if index == 0 else ""
            continue
        page.text += f"```python\n{_source(cell).strip()}\n```\n\n"
        for output in cell["outputs"]:
            page.text += f"{_output(page, output)}\n\n"
    if not is_executed(notebook):
        page.text += "*Outputs are shown when `make docs` has run this notebook.*\n"
    return page


def is_executed(notebook: dict[str, Any]) -> bool:
    """Return whether a notebook was executed to its end."""
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    failed = any(output["output_type"] == "error" for cell in code for output in cell["outputs"])
    return not failed and all(cell["execution_count"] for cell in code)


def execute(file: Path) -> None:
    """Run a notebook in this folder and write it with its outputs, whole or not at all."""
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(file, as_version=4)
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": "."}}).execute()
    write_atomic(file, nbformat.writes(notebook).encode())


def _source(part: dict[str, Any]) -> str:
    return _joined(part["source"])


def _joined(text: Any) -> str:
    return "".join(text) if isinstance(text, list) else str(text)


def _output(page: Rendered, output: dict[str, Any]) -> str:
    """Return the Markdown of one output: a figure, HTML, a picture or text, the first that there is."""
    if output["output_type"] == "stream":
        return "" if output["name"] == "stderr" else page.html(_text(_joined(output["text"])))
    if output["output_type"] == "error":
        return page.html(_text("\n".join(output["traceback"])))
    data = output["data"]
    if PLOTLY in data:
        return page.html(_figure(data[PLOTLY]))
    if "text/html" in data:
        return page.html(f'<div class="output html">{_joined(data["text/html"])}</div>')
    if "image/png" in data:
        return page.html(
            f'<img class="output" alt="output" src="data:image/png;base64,{_joined(data["image/png"]).strip()}">'
        )
    return page.html(_text(_joined(data.get("text/plain", ""))))


def _text(text: str) -> str:
    lines = ANSI.sub("", text).rstrip().splitlines()
    shown = lines if len(lines) <= LONG else [*lines[:LONG], f"... {len(lines) - LONG} more lines"]
    return f'<pre class="output">{escape(chr(10).join(shown))}</pre>'


def _figure(figure: dict[str, Any]) -> str:
    """Return a plotly figure as JSON that docs/assets/figures.js draws."""
    text = json.dumps({"data": figure["data"], "layout": figure["layout"]}).replace("</", "<\\/")
    height = int(figure["layout"].get("height", 450))
    return (
        f'<div class="output plotly-figure" style="min-height: {height}px">'
        f'<script type="application/json">{text}</script></div>'
    )


def _not_executed(files: list[Path]) -> Iterator[Path]:
    for file in files:
        if not is_executed(json.loads(file.read_text(encoding="utf-8"))):
            yield file


if __name__ == "__main__":
    for given in _not_executed([Path(name) for name in sys.argv[1:]]):
        sys.stderr.write(f"executing {given}\n")
        execute(given)
