"""The plotting library that pages embed: the part of plotly.js that draws the trace types of pages."""

from __future__ import annotations

import re

from plotly.offline import get_plotlyjs

from interp.report import library
from interp.report.plotly_json import TYPES

DECLARED = re.compile(r'moduleType:"trace",name:"(\w+)"')


def test_only_trace_types_of_pages_remain():
    text = library.library().decode()
    assert set(DECLARED.findall(get_plotlyjs())) > set(TYPES)
    assert sorted(DECLARED.findall(text)) == sorted(TYPES)
    assert "plotly.js v" in text
    # Gzip in base64: with 0.8 MB of it a page has 1.7 MB for its data and tables.
    assert len(library.packed_library()) < 800_000


def test_modules_without_a_caller_are_dropped_and_others_remain():
    # "scatter" belongs to plotly.js itself and stays.
    few = library.reduced(get_plotlyjs(), ("bar", "scatter"))
    assert sorted(DECLARED.findall(few)) == ["bar", "scatter"]
    assert len(few) < len(library.library())
    assert library.reduced(few, ("bar", "scatter")) == few


def test_a_version_that_was_not_tested_is_embedded_whole(monkeypatch):
    other = get_plotlyjs().replace("plotly.js v4", "plotly.js v9", 1)
    monkeypatch.setattr("plotly.offline.get_plotlyjs", lambda: other)
    library.library.cache_clear()
    try:
        assert library.library() == other.encode()
    finally:
        library.library.cache_clear()
