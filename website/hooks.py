"""What mkdocs calls while it builds the site: pages of the API and of the notebooks are added to those of docs/."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from website import notebooks, reference

PICTURE = re.compile(r'<img alt="[^"]*" src="(?:[^"]*/)?images/(\w+)\.svg"\s*/?>')
"""A drawing of `website.pictures`; it is put into the page, so that its colours follow the page's."""
PIECES: dict[str, dict[str, str]] = {}
"""HTML of the notebooks by page and mark."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add the sections of generated pages to the navigation."""
    names = {"Names in examples": "examples", **{name: name for name in reference.public_modules()}}
    api = [{title: f"{reference.FOLDER}/{name}.md"} for title, name in names.items()]
    books = [f"{notebooks.FOLDER}/{name}.md" for name in notebooks.names()]
    config.nav = [*(config.nav or []), {"Notebooks": books}, {"API": api}]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages, the notebooks as files and the plotting library."""
    files.append(File.generated(config, f"{reference.FOLDER}/examples.md", content=reference.examples()))
    for name in reference.public_modules():
        files.append(File.generated(config, f"{reference.FOLDER}/{name}.md", content=reference.page(name)))
    for name in notebooks.names():
        source = notebooks.read(name)
        page = notebooks.rendered(name, source)
        PIECES[f"{notebooks.FOLDER}/{name}.md"] = page.pieces
        files.append(File.generated(config, f"{notebooks.FOLDER}/{name}.md", content=page.text))
        files.append(File.generated(config, f"{notebooks.FOLDER}/{name}.ipynb", content=notebooks.text(source)))
    files.append(File.generated(config, "assets/plotly.min.js", abs_src_path=str(_plotly())))
    return files


def on_page_content(html: str, page: Page, **_: Any) -> str:
    """Put drawings and the outputs of notebooks into the page."""
    for mark, piece in PIECES.get(page.file.src_uri, {}).items():
        html = html.replace(mark, piece)
    return PICTURE.sub(lambda match: _drawing(match[1]), html)


def _drawing(name: str) -> str:
    return Path(f"docs/images/{name}.svg").read_text(encoding="utf-8")


def _plotly() -> Path:
    import plotly

    return Path(plotly.__file__).parent / "package_data" / "plotly.min.js"
