"""The index page of a folder of reports: each one's finding, model, date and picture."""

from __future__ import annotations

import os
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote

from interp.errors import MissingInputError
from interp.report.page import document
from interp.report.text import escaped, prose
from interp.report.thumbnail import CLASSES, svg
from interp.results import writable_folder, write_atomic

NAME = "index.html"
LISTED = ("report.html", "training.html")
"""File names of the pages that an index lists."""
INTRODUCTION = (
    "Each page below answers one question about a language model; its finding is the sentence next to the picture.",
    "A page opens with the figure that carries the finding; tables, equations and files are one click deeper.",
    "Where there are nodes, heads or tokens to choose from, choose by pointer or with the arrow keys.",
    "Blue is above zero and red below, on every page; shares run from 0 to 1.",
    "Every page ends in the command that makes it again, and reads without a network.",
)
_HEAD = 65536
"""Characters at the start of a page that contain its `<meta>` tags."""


@dataclass(frozen=True)
class _Entry:
    link: str
    facts: dict[str, str]


def write_index(folder: str | os.PathLike[str]) -> Path:
    """Write `index.html` into a folder of reports and return its path.

    It lists every `report.html` and every `training.html` below `folder`, the newest first.

    Title, finding, kind, model, date and picture come from the `<meta>` tags the pages carry; a file without them is
    not one of ours and is left out. The index needs no script.

    Raises:
        MissingInputError: The folder is not there.
        UsageError: It cannot be written to.

    >>> _ = report.write(page, folder / "first")
    >>> report.write_index(folder).name
    'index.html'
    """
    root = Path(folder)
    if not root.is_dir():
        raise MissingInputError(f"There is no folder {root} to index: give a folder that an analysis wrote into.")
    pages = sorted(path for name in LISTED for path in root.rglob(name) if path.is_file())
    entries = [_Entry(path.relative_to(root).as_posix(), _facts(path)) for path in pages]
    entries = [entry for entry in entries if "title" in entry.facts]
    entries.sort(key=lambda entry: entry.facts.get("date", ""), reverse=True)
    body = _body(root.resolve().name, entries)
    write_atomic(writable_folder(root) / NAME, document("Reports", body, meta={"kind": "index"}).encode())
    return root / NAME


def home(folder: str | os.PathLike[str]) -> Path:
    """Return the folder whose index lists a study.

    This is the folder above if it was made for studies, else the study's own.

    The one above was made for them where `folder` is a relative path of two parts or more, such as "out/explain", or
    where it has an index of ours already.

    >>> report.home("out/explain").as_posix()
    'out'
    """
    own = Path(folder)
    above = own.parent
    made = not own.is_absolute() and above != Path() and ".." not in own.parts
    return above if made or _is_ours(above / NAME) else own


def _is_ours(index: Path) -> bool:
    return index.is_file() and "kind" in _facts(index) and _facts(index)["kind"] == "index"


def _body(name: str, entries: list[_Entry]) -> str:
    count = f"{len(entries)} report{'' if len(entries) == 1 else 's'} in {name}, the newest first."
    items = "".join(map(_item, entries))
    listed = f'<ul class="reports">{items}</ul>' if entries else "<p>No report has been written here yet.</p>"
    lines = "".join(f"<li>{escaped(line)}</li>" for line in INTRODUCTION)
    first = sorted(entries, key=lambda entry: entry.facts.get("kind") != "explain")
    drawn = next((picture for picture in map(_picture, first) if picture), "")
    return (
        '<a class="skip" href="#main">Skip to content</a>'
        f'<header class="home"><div><p class="kind">interp</p><h1>Reports</h1><p class="finding">{escaped(count)}</p>'
        f'<ul class="introduction">{lines}</ul></div>{drawn}</header>'
        f'<main id="main" class="columns list" tabindex="-1">{listed}</main>'
    )


def _item(entry: _Entry) -> str:
    facts = entry.facts
    date = facts.get("date", "")[:16].replace("T", " ")
    line = " · ".join(escaped(part) for part in (facts.get("kind"), facts.get("model"), date and f"{date} UTC") if part)
    return (
        f"<li>{_picture(entry) or '<span></span>'}<div>"
        f'<h2><a href="{escaped(quote(entry.link))}">{escaped(facts["title"])}</a></h2>'
        f'<p>{prose(facts.get("finding", ""))}</p><p class="facts-line">{line}</p>'
        f'<p class="folder"><code>{escaped(entry.link)}</code></p></div></li>'
    )


def _picture(entry: _Entry) -> str:
    drawn = svg({name: entry.facts.get(f"drawn-{name}", "") for name in CLASSES})
    return f'<div class="thumbnail">{drawn}</div>' if drawn else ""


def _facts(path: Path) -> dict[str, str]:
    reader = _MetaReader()
    with path.open(encoding="utf-8", errors="replace") as file:
        reader.feed(file.read(_HEAD))
    return reader.facts


class _MetaReader(HTMLParser):
    """Collects `<meta name="interp-…" content="…">`."""

    def __init__(self) -> None:
        super().__init__()
        self.facts: dict[str, str] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Record the fact in an opening tag; called by the parser."""
        values = dict(attrs)
        name = values.get("name") or ""
        if tag == "meta" and name.startswith("interp-"):
            self.facts[name.removeprefix("interp-")] = values.get("content") or ""
