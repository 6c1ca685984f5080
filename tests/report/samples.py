"""Pages to test with: every kind of block and figure, and one in which every string is hostile."""

from __future__ import annotations

import json

import numpy as np

from interp.provenance import Provenance
from interp.report import Download, Figure, How, Note, Page, Section, Table, Tokens, figures, visible

PROVENANCE = Provenance(
    command="interp explain 'The city of' --target ' Paris' --out out/explain",
    started="2026-01-02T03:04:05+00:00",
    duration=1.5,
    versions={"python": "3.11.7", "interp": "0.1.0"},
    model="tiny",
    weights_sha256="ab" * 32,
    seed=0,
    commit="0123456789abcdef",
    dirty=False,
    host="Linux x86_64",
)

HOSTILE = (
    "<script>window.PWNED=1</script>",
    '<img src=x onerror="window.PWNED=1">',
    "</script>",
    "</title></style><svg onload=window.PWNED=1>",
    "<b>bold</b>",
    "&lt;",
    "&amp;lt;i&gt;",
    '<a href="javascript:window.PWNED=1">l</a>',
    "javascript:window.PWNED=1",
    "abc\u202edef",
    "a\n\nb",
    "\t",
    "",
    "🎉",
    "x" * 400,
    " " * 40,
    "\x00\x1b[31m",
    "\ufffd",
    "\udce2\udc96",
    '" onfocus="window.PWNED=1',
    "%{y}<extra></extra>",
    "$x^2$",
    "]]>",
    "<!--",
)


def page(*sections: Section, title: str = "A page", **changes) -> Page:
    """A page around some sections."""
    facts = {"finding": "One finding (n = 3).", "status": (("n", "3"),), "limitations": ("One prompt.",), **changes}
    return Page(title=title, sections=sections, provenance=PROVENANCE, **facts)


def bars(name: str = "bars", **changes) -> Figure:
    """A small figure."""
    words = {"caption": "Three values, in logits.", "alt": "The first is the largest.", **changes}
    return figures.bars(name, ["a", "b", "b"], [2.0, -1.0, 0.5], **words)


def gallery() -> Page:
    """Every block and every figure."""
    rng = np.random.default_rng(0)
    steps = np.arange(12)
    noise = rng.normal(size=12)
    gap = np.where(steps == 5, np.nan, steps / 4.0)
    words = {"caption": "What is drawn, in logits; n = 12.", "alt": "What is to be seen."}
    attention = np.tril(rng.dirichlet(np.ones(12), 12))
    spiky = rng.normal(size=(30, 9)) ** 3
    spiky[0, 0], spiky[1, 1] = np.nan, np.inf
    tree = ("total", "MLP 0", "L23H4", "embed", "MLP 0"), (-1, 0, 0, 1, 1), (1.0, 1.5, -0.5, 1.0, 0.5)
    drawn = (
        figures.bars("bars-plain", [f"L{i}" for i in range(12)], noise, errors=np.abs(noise) / 4, **words),
        figures.bars("bars-upright", list("abcdefghijkl"), np.r_[noise[:10], np.nan, np.inf], vertical=True, **words),
        figures.heatmap("signed", spiky, **words),
        figures.heatmap("magnitude", attention, rows=["the"] * 12, columns=["the"] * 12, signed=False, **words),
        figures.lines(
            "lines", steps, {"Paris": noise, "London": gap}, bands={"Paris": (noise - 1, noise + 1)}, **words
        ),
        figures.lines("long-line", np.arange(100), {"loss": 1 / (1 + np.arange(100))}, **words),
        figures.scatter("scatter", noise, noise[::-1], groups=["true", "false"] * 6, **words),
        figures.icicle("tree", tree[0], tree[1], tree[2], unit="logits", **words),
        figures.histogram("histogram", {"true": rng.normal(size=90), "false": rng.normal(1, 1, size=90)}, **words),
    )
    line = Tokens("line", ("The", " city", " of"), (0.5, -1.0, float("nan")), "By token.", "logits", "contribution")
    table = Table(("token", "p", "ok", "note"), ((" Paris", 0.25, True, None),), "One row.", {"p": ".2f"}, ("token",))
    how = How("As written.\n\nTwice.", "y = W x", "arXiv:2112.00114")
    download = Download("result.json", json.dumps({"value": 1.5}).encode(), "application/json")
    sections = (
        Section("tokens", "Tokens", "The second token lowers it.", (line, table, Note("Frozen norm."))),
        Section("figures", "Figures", "Every kind is drawn.", (*drawn, Note("An estimate.", "warning")), how),
    )
    return page(*sections, title="Every figure", downloads=(download,))


def hostile() -> Page:
    """A hostile string in every place that takes one."""
    bad = " ".join(HOSTILE)
    count = len(HOSTILE)
    shown = [visible(token) for token in HOSTILE]
    values = np.linspace(-1, 1, count)
    words = {"caption": bad, "alt": bad}
    pair = (HOSTILE[0], HOSTILE[4])
    matrix = np.outer(values, values)
    blocks = (
        Tokens("hostile-line", HOSTILE, tuple(values.tolist()), bad, HOSTILE[0], HOSTILE[4]),
        Table(("t", HOSTILE[0]), tuple((token, token) for token in HOSTILE), bad, tokens=("t",)),
        Note(bad),
        figures.bars("hostile-bars", shown, values, axes=pair, **words),
        figures.heatmap("hostile-heatmap", matrix, rows=shown, columns=shown, axes=(*pair, HOSTILE[7]), **words),
        figures.lines("hostile-lines", [0, 1], {token or "empty": [0, 1] for token in HOSTILE[:8]}, axes=pair, **words),
        figures.scatter("hostile-scatter", values, values, groups=HOSTILE, labels=HOSTILE, axes=pair, **words),
        figures.icicle("hostile-tree", shown, [-1] + [0] * (count - 1), np.ones(count), unit=HOSTILE[4], **words),
        figures.histogram("hostile-histogram", {HOSTILE[0]: values, HOSTILE[4]: values}, axes=pair, **words),
    )
    record = Provenance(
        bad, bad, 0.0, {HOSTILE[0]: HOSTILE[1]}, *[bad] * 5, seed=None, commit=bad, dirty=True, host=bad
    )
    section = Section("hostile", bad, bad, blocks, How(bad, bad, bad))
    return Page(bad, bad, ((HOSTILE[0], HOSTILE[1]),), (section,), (bad,), record, kind=HOSTILE[4])
