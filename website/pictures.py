"""The pictures of docs/concepts.md: `python -m website.pictures docs/images`."""

from __future__ import annotations

import math
import sys
from pathlib import Path

from website.drawing import BLUE, FAINT, GREEN, MUTED, RED, Drawing


def residual() -> Drawing:
    """The residual stream, read and written by every block."""
    d = Drawing(720, 190, "Each block reads the residual stream and adds to it; the unembedding reads its end")
    d.line([(90, 120), (610, 120)], colour=BLUE, width=3)
    d.arrow((600, 120), (628, 120), colour=BLUE, width=3)
    d.box(10, 102, 80, 36, "embed")
    d.box(630, 102, 80, 36, "logits")
    for x, name in ((150, "heads 0"), (260, "MLP 0"), (390, "heads l"), (500, "MLP l")):
        d.box(x, 28, 80, 36, name, colour=GREEN)
        d.arrow((x + 14, 120), (x + 14, 66))
        d.arrow((x + 66, 64), (x + 66, 110), colour=GREEN)
        d.dot(x + 66, 120, 9, colour=FAINT)
        d.text(x + 66, 119, "+", size=15)
    d.text(365, 46, "…", size=22, colour=MUTED)
    d.text(
        360,
        165,
        "one vector for each position; writing is adding, so the end is the sum of all writes",
        size=13,
        colour=MUTED,
    )
    return d


def freezing() -> Drawing:
    """Draw what is fixed, and what stays linear."""
    d = Drawing(
        720, 210, "Attention pattern, norm scale and gate are fixed at their values; all other steps are linear"
    )
    steps = (
        ("÷ scale", True),
        ("W_V", False),
        ("pattern", True),
        ("W_O", False),
        ("÷ scale", True),
        ("W_in", False),
        ("gate", True),
        ("W_out", False),
    )
    d.text(10, 20, "a head", size=13, colour=MUTED, anchor="start")
    d.text(372, 20, "an MLP", size=13, colour=MUTED, anchor="start")
    for index, (name, fixed) in enumerate(steps):
        x = 10 + 88 * index + (10 if index > 3 else 0)
        d.box(x, 40, 74, 40, name, colour=RED if fixed else BLUE, fill=FAINT if fixed else "none")
        if index not in (3, 7):
            d.arrow((x + 74, 60), (x + 87, 60))
    d.box(10, 110, 20, 16, colour=RED, fill=FAINT)
    d.text(40, 118, "fixed at its value on this input", size=13, anchor="start")
    d.box(260, 110, 20, 16, colour=BLUE, fill="none")
    d.text(290, 118, "a weight matrix", size=13, anchor="start")
    d.text(
        10,
        160,
        "A product of weight matrices and fixed numbers is linear: answer = Σ contributions, exactly.",
        anchor="start",
    )
    d.text(
        10,
        186,
        "Valid for this run; another input would change the fixed values.",
        size=13,
        colour=MUTED,
        anchor="start",
    )
    return d


def secant() -> Drawing:
    """A function, its tangent at one run, and the chord between two."""
    d = Drawing(
        560, 260, "The chord between the two runs gives their exact difference; the tangent at one of them does not"
    )
    d.arrow((40, 225), (530, 225))
    d.arrow((40, 225), (40, 20))
    f = lambda x: 210 - 170 / (1 + math.exp(-(x - 260) / 55))  # noqa: E731
    d.line([(x, f(x)) for x in range(50, 520, 6)], colour=MUTED, width=2)
    a, b = 150, 400
    slope = (f(a + 1) - f(a - 1)) / 2
    d.line([(a - 70, f(a) - 70 * slope), (a + 330, f(a) + 330 * slope)], colour=RED, dash="5 4")
    d.line([(a, f(a)), (b, f(b))], colour=BLUE, width=2.5)
    for x, name in ((a, "counterfactual run"), (b, "clean run")):
        d.dot(x, f(x), 5)
        d.line([(x, f(x)), (x, 225)], dash="2 4")
        d.text(x, 242, name, size=13)
    d.text(b - 90, f(b) + 20, "chord: Δf = slope · Δx", size=13, colour=BLUE, anchor="end")
    d.text(a + 330, f(a) + 330 * slope + 18, "tangent at one run", size=13, colour=RED)
    return d


def tree() -> Drawing:
    """A tree of paths whose nodes are sums of their children."""
    d = Drawing(720, 250, "A tree of paths: every node is the sum of its children, what is not expanded is a remainder")
    d.box(20, 105, 120, 38, "answer  +8.76")
    first = ((30, "L29H1  +3.11"), (105, "L23H4  +2.06"), (180, "299 others  +3.59"))
    for y, name in first:
        d.arrow((140, 124), (228, y + 19))
        d.box(230, y, 150, 38, name, colour=MUTED if "others" in name else BLUE)
    for y, name in ((55, "MLP0@iffel"), (105, "MLP0@Tower"), (155, "remainder")):
        d.arrow((380, 124), (468, y + 19))
        d.box(470, y, 165, 38, name, colour=MUTED if "remainder" in name else BLUE)
    d.text(360, 238, "every node is the sum of its children; the largest is expanded next", size=13, colour=MUTED)
    return d


def qkov() -> Drawing:
    """The two circuits of a head."""
    d = Drawing(720, 230, "The QK circuit determines what a head attends to, the OV circuit what it writes")
    for x, token in ((60, "The"), (170, "Tower"), (280, "in"), (390, "Paris"), (500, "The"), (610, "Tower")):
        d.box(x - 45, 150, 90, 34, token, colour=MUTED)
    d.line([(610, 148), (600, 60), (300, 40), (285, 60)], colour=RED, width=2)
    d.arrow((285, 60), (280, 146), colour=RED, width=2)
    d.text(445, 22, "QK: the query at the last token attends to keys", size=13, colour=RED)
    d.line([(280, 186), (300, 205), (590, 205)], colour=BLUE, width=2)
    d.arrow((590, 205), (608, 188), colour=BLUE, width=2)
    d.text(445, 220, "OV: the value at that key is written here", size=13, colour=BLUE)
    d.text(20, 100, "score = x W_Q R(i−j) W_Kᵀ y / √d", size=13, colour=MUTED, anchor="start")
    return d


def probe() -> Drawing:
    """Draw a probe's accuracy by layer with its controls."""
    d = Drawing(560, 260, "Accuracy of a probe by layer, above control labels, text baseline and chance")
    d.arrow((50, 220), (530, 220))
    d.arrow((50, 220), (50, 20))
    d.text(290, 244, "layer", size=13, colour=MUTED)
    d.text(58, 16, "held-out accuracy", size=13, colour=MUTED, anchor="start")
    xs = range(60, 500, 20)
    d.line(
        [(x, 190 - 130 / (1 + math.exp(-(x - 230) / 40)) + 18 / (1 + math.exp(-(x - 420) / 20))) for x in xs],
        colour=BLUE,
        width=2.5,
    )
    d.line([(x, 178 + 5 * math.sin(x / 17)) for x in xs], colour=RED, dash="5 4")
    d.line([(60, 150), (490, 150)], colour=GREEN)
    d.line([(60, 196), (490, 196)], dash="2 4")
    d.text(350, 48, "probe", size=13, colour=BLUE)
    d.text(495, 150, "words", size=13, colour=GREEN, anchor="start")
    d.text(470, 168, "control labels", size=13, colour=RED)
    d.text(495, 196, "chance", size=13, colour=MUTED, anchor="start")
    d.text(290, 256, "schematic", size=11, colour=MUTED)
    return d


def sae() -> Drawing:
    """An activation as a sparse sum."""
    d = Drawing(
        720,
        210,
        "An activation is encoded into many latents of which few are on, and decoded as a sum of their directions",
    )
    for index in range(9):
        d.box(20, 30 + 16 * index, 46, 14, colour=MUTED, fill=FAINT)
    d.text(43, 190, "x  (d = 576)", size=13)
    d.arrow((76, 102), (150, 102))
    d.text(113, 84, "encode", size=13, colour=MUTED)
    on = {4, 11, 17}
    for index in range(24):
        x, y = 165 + 22 * (index % 12), 60 + 52 * (index // 12)
        d.box(x, y, 16, 36, colour=BLUE if index in on else MUTED, fill=BLUE if index in on else "none")
    d.text(296, 190, "codes: 2,304 latents, 32 on", size=13)
    d.arrow((440, 102), (514, 102))
    d.text(477, 84, "decode", size=13, colour=MUTED)
    d.text(525, 74, "f₄ · d₄", colour=BLUE, anchor="start")
    d.text(525, 100, "+ f₁₁ · d₁₁", colour=BLUE, anchor="start")
    d.text(525, 126, "+ f₁₇ · d₁₇ + b", colour=BLUE, anchor="start")
    d.text(525, 152, "≈ x, with an error", anchor="start")
    return d


NODES = {
    "embed@Tower": (120, 235),
    "embed@of": (420, 235),
    "MLP2.f12": (90, 165),
    "MLP3.f40": (220, 165),
    "MLP3.error": (420, 165),
    "MLP15.f7": (220, 95),
    "MLP21.f88": (420, 95),
    "MLP21.error": (560, 95),
    "Paris − London": (420, 28),
}
"""Middles of the nodes of `graph`."""
EDGES = {
    "embed@Tower": {"MLP2.f12": 3, "MLP3.f40": 2},
    "embed@of": {"MLP3.error": 1},
    "MLP2.f12": {"MLP15.f7": 2},
    "MLP3.f40": {"MLP15.f7": 2, "MLP21.f88": 1},
    "MLP3.error": {"MLP21.f88": 1, "MLP21.error": 1},
    "MLP15.f7": {"Paris − London": 3},
    "MLP21.f88": {"Paris − London": 2},
    "MLP21.error": {"Paris − London": 1},
}
"""Its edges, with their widths."""


def graph() -> Drawing:
    """Latents of several layers, errors, tokens and a target."""
    d = Drawing(720, 270, "Tokens, latents and error nodes linked to the target by direct effects")
    for start, ends in EDGES.items():
        for end, width in ends.items():
            (x0, y0), (x1, y1) = NODES[start], NODES[end]
            d.arrow((x0, y0 - 14), (x1, y1 + 16), colour=RED if "error" in start else BLUE, width=width)
    for name, (x, y) in NODES.items():
        d.box(x - 58, y - 14, 116, 28, colour=RED if "error" in name else BLUE)
        d.text(x, y, name, size=12)
    d.text(700, 165, "errors: what the", size=13, colour=RED, anchor="end")
    d.text(700, 183, "dictionaries miss", size=13, colour=RED, anchor="end")
    return d


PICTURES = {draw.__name__: draw for draw in (residual, freezing, secant, tree, qkov, probe, sae, graph)}


def main(folder: Path) -> None:
    """Write every picture into a folder."""
    for name, draw in PICTURES.items():
        (folder / f"{name}.svg").write_text(draw().svg(), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
