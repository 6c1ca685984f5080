"""Reports: results as self-contained pages.

A `Page` is built of frozen values (`Section`, `Figure`, `Table`, `Tokens`, `Cards`, `Explorer`, `Attention`,
`Note`, `How`) and rendered to one self-contained file.

>>> table = report.Table(("head", "logits"), (("L0H1", 0.5),), formats={"logits": "+.2f"})
>>> section = report.Section("heads", "Heads", "One head matters.", (table,))
>>> section.title
'Heads'

The package needs numpy and plotly, never torch. Importing it does not import plotly.
"""

from interp.report import figures
from interp.report.attention import Attention, AttentionText, HeadPattern
from interp.report.blocks import Download, Figure, How, Note, Page, Section, Tokens
from interp.report.cards import Card, Cards
from interp.report.explorer import Edge, Explorer, Group, Node
from interp.report.index import home, write_index
from interp.report.page import NAME, render, write
from interp.report.shown import Shown
from interp.report.table import Table
from interp.report.text import visible

__all__ = [
    "Attention",
    "AttentionText",
    "Card",
    "Cards",
    "Download",
    "Edge",
    "Explorer",
    "Figure",
    "Group",
    "HeadPattern",
    "How",
    "NAME",
    "Node",
    "Note",
    "Page",
    "Section",
    "Shown",
    "Table",
    "Tokens",
    "figures",
    "home",
    "render",
    "visible",
    "write",
    "write_index",
]
