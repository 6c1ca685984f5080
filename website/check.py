"""Checks of the built site: every link and every anchor leads somewhere, and no page asks anything of a network.

python -m website.check build/site
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}
"""Elements whose address a browser fetches by itself."""
PLACES = {"__skip", "__top"}
"""Anchors that the theme makes while a page is read."""
HARMLESS = ("canonical", "prev", "next")
"""Kinds of `link` that are not fetched."""


class Addresses(HTMLParser):
    """The addresses, anchors and fetched resources of one page."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the addresses of one element."""
        values = {name: value or "" for name, value in attrs}
        self.anchors.update(values[name] for name in ("id", "name") if name in values)
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        address = values.get(LOADED.get(tag, ""), "")
        if address and not (tag == "link" and values.get("rel") in HARMLESS):
            self.loaded.append(address)


def faults(site: Path) -> list[str]:
    """Return every broken link and every resource from outside, a sentence each."""
    pages = {page.resolve(): _addresses(page) for page in sorted(site.rglob("*.html"))}
    root = site.resolve()
    return [f"{page.relative_to(root)}: {fault}" for page in pages for fault in _faults(page, pages, root)]


def _addresses(page: Path) -> Addresses:
    parser = Addresses()
    parser.feed(page.read_text(encoding="utf-8"))
    return parser


def _faults(page: Path, pages: dict[Path, Addresses], root: Path) -> Iterator[str]:
    result = pages[page]
    for address in result.loaded:
        if urlsplit(address).scheme not in ("", "data") or address.startswith("//"):
            yield f"it loads {address} from a network"
    for address in dict.fromkeys([*result.links, *result.loaded]):
        parts = urlsplit(address)
        if parts.scheme or parts.netloc:
            continue
        folder = root if parts.path.startswith("/") else page.parent
        target = (folder / unquote(parts.path).lstrip("/")).resolve() if parts.path else page
        if not target.exists():
            yield f"{address} does not exist"
        elif (
            parts.fragment
            and target in pages
            and unquote(parts.fragment) not in {*pages[target].anchors, "__skip", "__top"}
        ):
            yield f"{address} names no place of that page"


if __name__ == "__main__":
    result = faults(Path(sys.argv[1]))
    sys.stderr.write("".join(f"{fault}\n" for fault in result))
    sys.exit(f"{len(result)} broken links or outside resources" if result else 0)
