"""The index of a folder of reports: what was found, about which model, when."""

from __future__ import annotations

import os
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote

from interp.errors import MissingInputError
from interp.report.page import document
from interp.report.text import escaped
from interp.results import writable_folder, write_atomic

NAME = "index.html"
_HEAD = 65536
"""Characters of a page that hold its `<meta>` tags."""


@dataclass(frozen=True)
class _Entry:
    link: str
    facts: dict[str, str]


def write_index(folder: str | os.PathLike[str]) -> Path:
    """Write `index.html` into `folder`, listing every `report.html` below it, the newest first; return its path.

    Title, finding, kind, model and date come from the `<meta>` tags the pages carry; a `report.html` without them is
    not one of ours and is left out. The index needs no script.

    Raises:
        MissingInputError: The folder is not there.
        UsageError: It cannot be written to.
    """
    root = Path(folder)
    if not root.is_dir():
        raise MissingInputError(f"There is no folder {root} to index: give a folder that an analysis wrote into.")
    entries = [_Entry(path.relative_to(root).as_posix(), _facts(path)) for path in sorted(root.rglob("report.html"))]
    entries = [entry for entry in entries if "title" in entry.facts]
    entries.sort(key=lambda entry: entry.facts.get("date", ""), reverse=True)
    body = _body(root.resolve().name, entries)
    write_atomic(writable_folder(root) / NAME, document("Reports", body, meta={}).encode())
    return root / NAME


def _body(name: str, entries: list[_Entry]) -> str:
    count = f"{len(entries)} report{'' if len(entries) == 1 else 's'} in {name}, the newest first."
    items = "".join(map(_item, entries))
    listed = f'<ul class="reports">{items}</ul>' if entries else "<p>No report has been written here yet.</p>"
    return (
        '<a class="skip" href="#main">Skip to content</a>'
        f'<header><p class="kind">interp</p><h1>Reports</h1><p class="finding">{escaped(count)}</p></header>'
        f'<main id="main" class="columns list" tabindex="-1">{listed}</main>'
    )


def _item(entry: _Entry) -> str:
    facts = entry.facts
    date = facts.get("date", "")[:16].replace("T", " ")
    line = " · ".join(escaped(part) for part in (facts.get("kind"), facts.get("model"), date and f"{date} UTC") if part)
    return (
        f'<li><h2><a href="{escaped(quote(entry.link))}">{escaped(facts["title"])}</a></h2>'
        f'<p>{escaped(facts.get("finding", ""))}</p><p class="facts-line">{line}</p>'
        f'<p class="folder"><code>{escaped(entry.link)}</code></p></li>'
    )


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
        """Called by the parser for each opening tag."""
        found = dict(attrs)
        name = found.get("name") or ""
        if tag == "meta" and name.startswith("interp-"):
            self.facts[name.removeprefix("interp-")] = found.get("content") or ""
