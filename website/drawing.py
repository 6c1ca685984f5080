"""Small SVG drawings of boxes, arrows and text, in colours that follow the page's light or dark scheme."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from math import hypot

TEXT = "var(--md-default-fg-color, #1d2127)"
MUTED = "var(--md-default-fg-color--light, #59616d)"
PAPER = "var(--md-default-bg-color, #ffffff)"
BLUE = "var(--picture-blue, #2166ac)"
RED = "var(--picture-red, #b2182b)"
GREEN = "var(--picture-green, #00806f)"
FAINT = "var(--picture-faint, #dfe6ee)"


@dataclass
class Drawing:
    """A drawing of a size in pixels; every method adds one element."""

    width: int
    height: int
    title: str
    parts: list[str] = field(default_factory=list)

    def text(
        self, x: float, y: float, text: str, *, size: int = 14, colour: str = TEXT, anchor: str = "middle"
    ) -> None:
        """Add a line of text whose middle is at `y`."""
        place = f'x="{x:g}" y="{y:g}" text-anchor="{anchor}" dominant-baseline="central"'
        self.parts.append(f'<text {place} font-size="{size}" fill="{colour}">{escape(text)}</text>')

    def box(
        self, x: float, y: float, width: float, height: float, text: str = "", *, colour: str = BLUE, fill: str = PAPER
    ) -> None:
        """Add a box with a text in its middle."""
        place = f'x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="5"'
        self.parts.append(f'<rect {place} fill="{fill}" stroke="{colour}" stroke-width="1.5"/>')
        if text:
            self.text(x + width / 2, y + height / 2, text)

    def line(
        self, points: Sequence[tuple[float, float]], *, colour: str = MUTED, width: float = 1.5, dash: str = ""
    ) -> None:
        """Add a line through points."""
        path = " ".join(f"{x:g},{y:g}" for x, y in points)
        dashes = f' stroke-dasharray="{dash}"' if dash else ""
        self.parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width:g}"{dashes}/>')

    def arrow(
        self, start: tuple[float, float], end: tuple[float, float], *, colour: str = MUTED, width: float = 1.5
    ) -> None:
        """Add a line that ends in a head."""
        self.line([start, end], colour=colour, width=width)
        (x0, y0), (x1, y1) = start, end
        length = hypot(x1 - x0, y1 - y0)
        ux, uy = (x1 - x0) / length, (y1 - y0) / length
        left, right = ((x1 - 8 * ux - s * 4 * uy, y1 - 8 * uy + s * 4 * ux) for s in (1, -1))
        corners = " ".join(f"{x:g},{y:g}" for x, y in ((x1, y1), left, right))
        self.parts.append(f'<polygon points="{corners}" fill="{colour}"/>')

    def dot(self, x: float, y: float, radius: float = 4, *, colour: str = BLUE) -> None:
        """Add a filled circle."""
        self.parts.append(f'<circle cx="{x:g}" cy="{y:g}" r="{radius:g}" fill="{colour}"/>')

    def svg(self) -> str:
        """Return the drawing as an SVG document."""
        body = "\n".join(self.parts)
        font = "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif"
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" role="img" '
            f'aria-label="{escape(self.title)}" font-family="{font}" class="picture">\n{body}\n</svg>\n'
        )
