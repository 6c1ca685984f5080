"""What a notebook holds of the objects shown in it: numbers and a caption, never the plotting library."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from interp.report import Shown, Table, figures
from interp.report.notebook import PLOTLY
from interp.results import Result
from tests.report import samples

SIX_OUTPUTS = 1_000_000
"""Bytes."""


@dataclass(frozen=True, eq=False)
class Map(Shown, Result):
    """As large as a study's: every head of a model of 30 layers, and a matrix that a page must reduce."""

    values: np.ndarray

    def table(self) -> Table:
        return Table(("layer", "value"), tuple((i, float(row[0])) for i, row in enumerate(self.values)))

    def figure(self) -> Any:
        return figures.heatmap("map", self.values, caption="All heads. " * 30, alt="Heads.")


def shown(value: Any) -> dict[str, Any]:
    """By MIME type, as IPython asks for it."""
    formatter = pytest.importorskip("IPython.core.formatters").DisplayFormatter()
    return formatter.format(value)[0]


def test_six_figures_take_less_than_a_megabyte() -> None:
    values = np.random.default_rng(0).normal(size=(30, 9))
    bundles = [shown(value) for value in (Map(values), samples.bars(), *(Map(values + i) for i in range(4)))]
    assert sum(len(json.dumps(bundle)) for bundle in bundles) < SIX_OUTPUTS
    assert all(set(bundle) == {PLOTLY, "text/html", "text/plain"} for bundle in bundles)
    assert 6 * len(samples.bars()._repr_html_()) > 3 * SIX_OUTPUTS  # what six pages of their own would take


def test_a_frontend_without_plotly_shows_caption_and_numbers() -> None:
    html = shown(Map(np.ones((2, 2))))["text/html"]
    assert "All heads." in html
    assert "<table" in html
    assert "<script" not in html


def test_a_caption_is_text_and_not_markup() -> None:
    figure = figures.bars("id", ["a"], [1.0], caption="<b>bold</b>", alt="A bar.")
    assert shown(figure)[PLOTLY]["layout"]["title"]["text"] == "&lt;b&gt;bold&lt;/b&gt;"


def test_a_result_is_one_short_line() -> None:
    text = repr(Map(np.zeros((400, 400))))
    assert text == "Map(values=array(400, 400))"
    assert shown(Map(np.zeros((3, 3))))["text/plain"] == "Map(values=array(3, 3))"
