"""Blocks as HTML.

Every string passes `escaped` (or `visible` and `escaped`) on its way; nothing is trusted.
"""

from __future__ import annotations

import base64
import gzip
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from html import escape
from typing import Any

from interp.provenance import Provenance
from interp.report import plotly_json
from interp.report.attention import Attention
from interp.report.blocks import LONG, Block, Download, Figure, How, Note, Page, Section, Tokens
from interp.report.cards import Cards
from interp.report.explorer import Explorer
from interp.report.table import Table
from interp.report.text import escaped, plain, prose, visible

FOLDED = 600
"""Characters of a command that is shown at once."""
SEEN = 0.01
"""Attention of a token of a long text that is in the table beneath its viewer."""
LISTED = 60
"""Nodes of an explorer in the table beneath it."""


@dataclass
class Payload:
    """Data that the script of a page reads.

    Its elements by kind and id, and files; filled as the HTML is written.
    """

    figures: dict[str, Any] = field(default_factory=dict)
    files: list[dict[str, str]] = field(default_factory=list)
    decks: dict[str, str] = field(default_factory=dict)
    explorers: dict[str, str] = field(default_factory=dict)
    attentions: dict[str, str] = field(default_factory=dict)

    def offer(self, name: str, content: bytes, mime: str, words: str) -> str:
        """Return a button that saves `content` as a file.

        The content is carried compressed; equal content gives equal bytes.
        """
        packed = base64.b64encode(gzip.compress(content, 9, mtime=0)).decode()
        self.files.append({"name": name, "mime": mime, "gzip": packed})
        return f'<button type="button" data-download="{len(self.files) - 1}">{escaped(words)}</button>'


def page_body(page: Page, payload: Payload) -> str:
    """Return the header, navigation, main part and footer as HTML."""
    sections = "".join(section_html(section, payload) for section in page.sections)
    ends = "".join((_limitations(page.limitations), _downloads(page.downloads, payload), _provenance(page.provenance)))
    return (
        f'<a class="skip" href="#main">Skip to content</a>{_header(page, payload)}'
        f'<div class="columns">{_nav(page)}<main id="main" tabindex="-1">{sections}{ends}</main></div>'
        f"<footer><p>Made by interp from saved results; the file needs no network.</p></footer>"
    )


def section_html(section: Section, payload: Payload) -> str:
    """Return a section as HTML: claim, blocks, how computed."""
    drawn = [block_html(block, payload, f"{section.id}-table-{i}") for i, block in enumerate(section.blocks, 1)]
    open_, inside = _parted(section)
    rest = "".join(drawn[i] for i in inside) + _how(section.how)
    if inside:
        rest = f'<details class="more"><summary>{_named([section.blocks[i] for i in inside])}</summary>{rest}</details>'
    # Several warnings stand side by side, which half a page is too narrow for.
    wide = len(open_) > 1 or any(not isinstance(section.blocks[i], Note) for i in open_)
    folded = ' class="folded"' if inside and not wide else ""
    return (
        f'<section id="{section.id}"{folded} aria-labelledby="{section.id}-title"><h2 id="{section.id}-title">'
        f'{escaped(section.title)}</h2><p class="claim">{prose(section.claim)}</p>'
        f"{''.join(drawn[i] for i in open_)}{rest}</section>"
    )


def _parted(section: Section) -> tuple[list[int], list[int]]:
    """Return the blocks that stand open, as warnings do, and the others."""
    shown = len(section.blocks) if section.shown is None else section.shown
    warns = [isinstance(block, Note) and block.kind == "warning" for block in section.blocks]
    open_ = [i for i, warning in enumerate(warns) if i < shown or warning]
    return open_, [i for i in range(len(section.blocks)) if i not in open_]


def _named(blocks: Sequence[Block]) -> str:
    """Name the contents of a fold: "Show 2 figures and a table"."""
    figures = sum(isinstance(block, Figure | Tokens | Cards | Explorer | Attention) for block in blocks)
    tables = sum(isinstance(block, Table) for block in blocks)
    counts = [(figures, "a figure", "figures"), (tables, "a table", "tables")]
    parts = [one if count == 1 else f"{count} {many}" for count, one, many in counts if count]
    return f"Show {' and '.join(parts) or 'more'}"


def block_html(block: Block, payload: Payload, name: str) -> str:
    """Return a block as HTML; a table is saved under `name`."""
    if isinstance(block, Table):
        return (
            f'<div class="table">{_scroll(block, f"Table {name}: {block.caption}")}{_csv(block, name, payload)}</div>'
        )
    if isinstance(block, Note):
        return f'<p class="note {escape(block.kind)}">{prose(block.text)}</p>'
    makers = {Figure: _figure, Tokens: _tokens, Cards: _cards, Explorer: _explorer, Attention: _attention}
    return makers[type(block)](block, payload)


def _figure(figure: Figure, payload: Payload) -> str:
    payload.figures[figure.id] = plotly_json.payload(figure.plotly)
    marks, height = plotly_json.marks(figure.plotly), plotly_json.height(figure.plotly)
    return (
        f'<figure id="{figure.id}"><div class="plot" data-fig="{figure.id}" data-marks="{marks}" role="group" '
        f'aria-label="{escaped(figure.alt)}" style="min-height:{height}px">'
        "<noscript><p>The drawing needs JavaScript; the table below lists its numbers.</p></noscript></div>"
        f"<figcaption>{prose(figure.caption)}</figcaption>{_twin(figure.table, figure.id, payload)}</figure>"
    )


def _tokens(line: Tokens, payload: Payload) -> str:
    what = f"{line.label or 'value'}{f' ({line.unit})' if line.unit else ''}"
    scale = (
        f'<p class="scale{" fraction" if line.fraction else ""}" aria-hidden="true">'
        f"<span>{'0' if line.fraction else f'−{line.limit:.3g}'}</span><i></i>"
        f"<span>{'1' if line.fraction else f'+{line.limit:.3g}'}</span> "
        f"<span>{escaped(what)}</span></p>"
        if line.values is not None
        else ""
    )
    return (
        f'<figure id="{line.id}" class="line"><div class="tokens" role="group" data-tokens="{len(line.tokens)}" '
        f'aria-label="{escaped(f"Tokens: {line.caption}")}">{_token_spans(line)}</div>'
        f'<p class="readout" aria-live="polite">Point at a token, or use the arrow keys, to read its value.</p>{scale}'
        f"<figcaption>{prose(line.caption)}</figcaption>{_whole_text(line)}"
        f"{_twin(line.table, line.id, payload, line.excerpt)}</figure>"
    )


def _token_spans(line: Tokens) -> str:
    """Return the excerpt's tokens as HTML, with counts of those left out."""
    spans, last = [], -1
    for i in line.excerpt:
        if i > last + 1:
            spans.append(f'<span class="gap">… {i - last - 1} …</span>')
        spans.append(_token(line, i, line.tokens[i], None if line.values is None else line.values[i]))
        last = i
    return "".join(spans)


def _whole_text(line: Tokens) -> str:
    """Return the text of a line of which an excerpt is drawn."""
    if len(line.excerpt) == len(line.tokens):
        return ""
    text = escaped(plain("".join(line.tokens)))
    count = len(line.tokens)
    return f'<details class="data"><summary>All {count} tokens</summary><p class="whole">{text}</p></details>'


def _token(line: Tokens, position: int, token: str, value: float | None) -> str:
    shown = escaped(visible(token))
    # One stop for the tab key; the arrow keys go on from there.
    stop = 0 if position == 0 else -1
    if value is None:
        return f'<span class="token" tabindex="{stop}" title="position {position}">{shown}</span>'
    if not math.isfinite(value):
        sign, strength, number = "undefined", 0.0, {"nan": "NaN", "inf": "∞", "-inf": "−∞"}[str(float(value))]
    else:
        sign, strength = ("negative" if value < 0 else "positive"), abs(value) / line.limit
        number = f"{value:+.4g}".replace("-", "−")
    title = escaped(f"position {position}: {line.label or 'value'} {number} {line.unit}".rstrip())
    return (
        f'<span class="token {sign}" tabindex="{stop}" style="--strength:{strength:.3f}" title="{title}">{shown}'
        f'<span class="hidden"> {escaped(number)} </span></span>'
    )


def _cards(deck: Cards, payload: Payload) -> str:
    """Return the placeholder of a deck, which its script fills."""
    payload.decks[deck.id] = deck.packed()
    what = escaped(deck.what)
    return (
        f'<figure id="{deck.id}" class="deck" data-deck="{deck.id}" data-cards="{len(deck.cards)}">'
        f'<div class="seek" role="search" aria-label="Search {what}"><label>Search <input type="search" '
        f'placeholder="a token or a number" autocomplete="off" spellcheck="false"></label>'
        f'<label>Order <select></select></label></div><p class="counted" role="status"></p><ol></ol>'
        f'<div class="turn" role="group" aria-label="Pages of {what}"><button type="button" data-turn="-1">Previous'
        f'</button><button type="button" data-turn="1">Next</button></div>'
        f"<noscript><p>The cards need JavaScript.</p></noscript>"
        f"<figcaption>{escaped(deck.caption)}</figcaption></figure>"
    )


_TOOLS = (
    ("path", "Strongest path", "Strongest path: follow it"),
    ("back", "Back", "Back one step"),
    ("group", "Group pinned", "Group pinned nodes"),
    ("fit", "Fit", "Fit all that is shown"),
    ("out", "−", "Zoom out"),
    ("in", "+", "Zoom in"),
    ("svg", "Save SVG", "Save SVG of the drawing"),
)
"""Buttons: what each does, its text, and what it is called."""
_KEYS = (
    "Arrow keys go up to what a node feeds, down to what feeds it, and sideways; Enter shows its inputs, Space pins "
    "it, Escape goes back, p follows the strongest path, g groups pinned nodes, plus and minus zoom, slash searches."
)


def _explorer(explorer: Explorer, payload: Payload) -> str:
    """Return the placeholder of an explorer, which its script fills, with controls."""
    payload.explorers[explorer.id] = explorer.packed()
    name = explorer.id
    buttons = "".join(
        f'<button type="button" data-do="{act}" title="{what}" aria-label="{what}">{text}</button>'
        for act, text, what in _TOOLS
    )
    return (
        f'<figure id="{name}" class="explorer" data-explorer="{name}"><div class="tools">'
        f'<label>Search <input type="search" data-ask="search" autocomplete="off" spellcheck="false"></label>'
        f'<label>Collapse by <select data-ask="how"></select></label>'
        f'<label>Show <input type="range" data-ask="amount"><span class="count"></span></label>'
        f'<div class="buttons">{buttons}</div></div><div class="walk">'
        f'<canvas tabindex="0" role="application" aria-label="{escaped(explorer.alt)}" aria-describedby="{name}-keys">'
        f'</canvas><div class="panel" role="region" tabindex="0" aria-label="The selected node of {name}"></div></div>'
        f'<p class="said hidden" role="status"></p><p class="hidden" id="{name}-keys">{_KEYS}</p>'
        "<noscript><p>The drawing needs JavaScript; the tables below list its numbers.</p></noscript>"
        f"{_explorer_legend(explorer)}<figcaption>{escaped(explorer.caption)}</figcaption>"
        f"{_explorer_twin(explorer)}</figure>"
    )


def _explorer_legend(explorer: Explorer) -> str:
    """Return what sizes, shapes and colours mean, for the kinds present."""
    shapes = {"head": "● head", "mlp": "■ MLP", "embed": "▲ embedding", "bias": "▲ bias", "target": "◆ target"}
    shapes |= {"feature": "● feature", "error": "◇ error"}
    kinds = [shapes.get(kind, f"● {kind}") for kind in dict.fromkeys(node.kind for node in explorer.nodes)]
    opened = " · ○ not resolved further" if any(node.open for node in explorer.nodes) else ""
    signs = '<span class="positive">positive</span> · <span class="negative">negative</span>'
    return (
        f'<p class="legend">{escaped(" · ".join(kinds))}{opened} · size: |value| · {signs} · drag to move, Ctrl and '
        "wheel to zoom</p>"
    )


def _explorer_twin(explorer: Explorer) -> str:
    """Return the largest nodes as a table, with buttons that save all.

    The files of all nodes and edges are made of the data the page already has.
    """
    table, name = explorer.table, explorer.id
    caption = f"The {LISTED} largest of {len(table.rows):,} nodes." if len(table.rows) > LISTED else ""
    listed = replace(table, rows=table.rows[:LISTED], caption=caption)
    buttons = "".join(
        f'<button type="button" data-do="{what}">Save {name}-{what}.csv</button> ' for what in ("nodes", "edges")
    )
    return (
        f'<details class="data"><summary>Data table</summary>{_scroll(listed, f"Data of {name}")}'
        f'<p class="save">{buttons}</p></details>'
    )


def _attention(viewer: Attention, payload: Payload) -> str:
    """Return the placeholder of a viewer of attention; its script fills it."""
    payload.attentions[viewer.id] = viewer.packed()
    table = viewer.table
    strong = [i for i, row in enumerate(table.rows) if any(isinstance(v, float) and v >= SEEN for v in row[3:])]
    rows = strong if len(table.rows) > LONG else None
    return (
        f'<figure id="{viewer.id}" class="attention" data-attention="{viewer.id}"><div class="tools">'
        '<div class="heads" role="group" aria-label="Heads"></div>'
        '<label>Text <select data-ask="text"></select></label>'
        '<label>Show <select data-ask="what"><option value="attention">attention</option>'
        '<option value="taken">what it takes</option></select></label>'
        '<label><input type="checkbox" data-ask="only"> only where it looks</label></div>'
        '<p class="readout" role="status"></p><div class="lines"></div>'
        "<noscript><p>The lines need JavaScript; the table below lists their numbers.</p></noscript>"
        '<p class="scale fraction" aria-hidden="true"><span>0</span><i></i><span>1</span> <span>attention</span></p>'
        f"<figcaption>{escaped(viewer.caption)}</figcaption>{_twin(table, viewer.id, payload, rows)}</figure>"
    )


def _twin(table: Table, name: str, payload: Payload, rows: Sequence[int] | None = None) -> str:
    """Return the table beneath a figure.

    Of a long one it shows the given rows or the first; the file has all.
    """
    listed = table
    if rows is None:
        rows = range(min(LONG, len(table.rows)))
    if len(rows) < len(table.rows):
        caption = f"{len(rows)} of {len(table.rows):,} rows; the file has all."
        listed = replace(table, rows=tuple(table.rows[i] for i in rows), caption=caption)
    return (
        f'<details class="data"><summary>Data table</summary>{_scroll(listed, f"Data of {name}")}'
        f"{_csv(table, name, payload)}</details>"
    )


def _scroll(table: Table, label: str) -> str:
    return f'<div class="scroll" role="region" tabindex="0" aria-label="{escaped(label)}">{table.to_html()}</div>'


def _csv(table: Table, name: str, payload: Payload) -> str:
    return (
        f'<p class="save">{payload.offer(f"{name}.csv", table.to_csv().encode(), "text/csv", f"Save {name}.csv")}</p>'
    )


def _how(how: How | None) -> str:
    if how is None:
        return ""
    equation = f'<pre class="equation">{escaped(how.equation)}</pre>' if how.equation else ""
    reference = f'<p class="reference">{escaped(how.reference)}</p>' if how.reference else ""
    text = "".join(f"<p>{escaped(part)}</p>" for part in how.text.split("\n\n"))
    return f'<details class="how"><summary>How computed</summary>{text}{equation}{reference}</details>'


def _header(page: Page, payload: Payload) -> str:
    lead = "".join(block_html(block, payload, f"lead-table-{i}") for i, block in enumerate(page.lead, 1))
    lead = f'<div id="lead">{lead}</div>' if lead else ""
    status = "".join(f"<div><dt>{escaped(name)}</dt><dd>{escaped(value)}</dd></div>" for name, value in page.status)
    status = f'<dl class="status">{status}</dl>' if status else ""
    return (
        f'<header><p class="kind">interp · {escaped(page.kind)}</p><h1>{escaped(page.title)}</h1>'
        f'<p class="finding">{prose(page.finding)}</p>{lead}{status}</header>'
    )


def _nav(page: Page) -> str:
    entries = [(section.id, section.title) for section in page.sections]
    entries += [("limitations", "Limitations")] if page.limitations else []
    entries += [("downloads", "Downloads")] if page.downloads else []
    entries += [("provenance", "Provenance")]
    links = "".join(f'<li><a href="#{name}">{escaped(title)}</a></li>' for name, title in entries)
    return f'<nav aria-label="Sections"><ul>{links}</ul></nav>'


def _limitations(limitations: tuple[str, ...]) -> str:
    if not limitations:
        return ""
    items = "".join(f"<li>{escaped(text)}</li>" for text in limitations)
    return (
        '<section id="limitations" class="limits" aria-labelledby="limitations-title">'
        f'<h2 id="limitations-title">Limitations</h2><ul>{items}</ul></section>'
    )


def _downloads(downloads: tuple[Download, ...], payload: Payload) -> str:
    if not downloads:
        return ""
    items = "".join(
        f"<li>{payload.offer(file.name, file.content, file.mime, f'Save {file.name}')} {_size(len(file.content))}</li>"
        for file in downloads
    )
    return (
        '<section id="downloads" aria-labelledby="downloads-title"><h2 id="downloads-title">Downloads</h2>'
        f'<ul class="files">{items}</ul></section>'
    )


def _size(count: int) -> str:
    return f"{count} bytes" if count < 1000 else f"{count / 1000:.1f} kB" if count < 1e6 else f"{count / 1e6:.1f} MB"


def _command(command: str) -> str:
    """Return the command, folded if long, with a button that copies it."""
    shown = f'<pre id="command" tabindex="0"><code>{escaped(command)}</code></pre>'
    if len(command) > FOLDED:
        shown = f"<details><summary>{len(command):,} characters</summary>{shown}</details>"
    return f'<div class="command">{shown}<button type="button" data-copy="command">Copy</button></div>'


def _provenance(record: Provenance) -> str:
    dirty = {True: " with uncommitted changes", False: "", None: ""}[record.dirty]
    facts = (
        ("Model", record.model),
        ("Weights", record.weights),
        ("Weights (sha256)", record.weights_sha256),
        ("Tokenizer", record.tokenizer),
        ("Number format", record.dtype),
        ("Device", record.device),
        ("Seed", "none: nothing was drawn at random" if record.seed is None else str(record.seed)),
        ("Started", record.started),
        ("Duration", f"{record.duration:.1f} s"),
        ("Commit", record.commit + dirty if record.commit else ""),
        ("Host", record.host),
        ("Versions", ", ".join(f"{name} {record.versions[name]}" for name in sorted(record.versions))),
    )
    rows = "".join(f'<tr><th scope="row">{name}</th><td>{escaped(value)}</td></tr>' for name, value in facts if value)
    return (
        '<section id="provenance" aria-labelledby="provenance-title"><h2 id="provenance-title">Provenance</h2>'
        f"<h3>Command to reproduce</h3>{_command(record.command)}"
        f'<details class="more"><summary>Show the record</summary><table class="facts"><tbody>{rows}</tbody></table>'
        "</details></section>"
    )
