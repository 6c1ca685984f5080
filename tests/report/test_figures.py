"""The figure builders: what they draw, what their captions must add, what they refuse."""

from __future__ import annotations

import re

import numpy as np
import pytest

from interp.errors import UsageError
from interp.report import cells, figures, parts, plotly_json
from interp.report.theme import CATEGORIES, DARK, NEGATIVE, POSITIVE

WORDS = {"caption": "Values in logits.", "alt": "What is seen."}


def test_bars_are_coloured_by_sign_and_keep_their_order_and_repeats():
    figure = figures.bars("b", ["x", "x", "y"], [1.0, -2.0, 0.0], **WORDS)
    trace = figure.plotly.data[0]
    assert trace.marker.color == (POSITIVE, NEGATIVE, POSITIVE)
    assert list(trace.y) == [0, 1, 2]
    assert figure.plotly.layout.yaxis.ticktext == ("x", "x", "y")
    assert figure.table.rows == (("x", 1.0), ("x", -2.0), ("y", 0.0))
    assert figure.caption == "Values in logits."


def test_vertical_bars_are_the_same_bars_upright():
    lying = figures.bars("b", ["x", "y"], [1.0, -2.0], **WORDS)
    upright = figures.bars("b", ["x", "y"], [1.0, -2.0], vertical=True, **WORDS)
    assert list(lying.plotly.data[0].x) == list(upright.plotly.data[0].y)
    assert lying.table == upright.table


def test_errors_may_differ_below_and_above():
    figure = figures.bars("b", ["x", "y"], [1.0, 2.0], errors=[[0.1, 0.2], [0.3, 0.4]], **WORDS)
    assert list(figure.plotly.data[0].error_x.array) == [0.2, 0.4]
    assert list(figure.plotly.data[0].error_x.arrayminus) == [0.1, 0.3]
    assert figure.table.rows[1] == ("y", 2.0, 0.3, 0.4)


def test_undefined_bars_are_written_and_counted():
    figure = figures.bars("b", ["x", "y", "z"], [1.0, np.nan, -np.inf], **WORDS)
    assert list(figure.plotly.data[1].text) == ["NaN", "−∞"]
    assert list(figure.plotly.data[1].y) == [1, 2]
    assert figure.caption.endswith(" Not drawn as numbers: 1 NaN and 1 infinite of 3 values.")


def test_labels_are_escaped_for_plotly():
    figure = figures.bars("b", ["<b>x</b>"], [1.0], axes=("<i>a</i>", "b&c"), **WORDS)
    assert figure.plotly.layout.yaxis.ticktext == ("&lt;b&gt;x&lt;/b&gt;",)
    assert figure.plotly.layout.yaxis.title.text == "&lt;i&gt;a&lt;/i&gt;"
    assert figure.plotly.layout.xaxis.title.text == "b&amp;c"
    assert figure.table.rows[0][0] == "<b>x</b>"


def test_single_precision_is_written_with_its_own_digits():
    figure = figures.bars("b", ["x"], np.array([0.1], np.float32), **WORDS)
    assert figure.table.rows[0][1] == 0.1
    assert np.float32(figure.table.rows[0][1]) == np.float32(0.1)


def test_a_signed_heatmap_is_symmetric_about_zero_and_clips_at_three_deviations():
    values = np.zeros((10, 10))
    values[0, 0], values[1, 1] = 10.0, -1.0
    figure = figures.heatmap("h", values, **WORDS)
    trace = figure.plotly.data[0]
    deviation = np.sqrt(np.square(values).mean())
    assert trace.zmax == -trace.zmin == pytest.approx(3 * deviation)
    assert "three standard deviations (cells beyond: 1)." in figure.caption
    assert figure.table.rows[0][1] == 10.0


def test_a_heatmap_without_outliers_says_nothing_of_clipping():
    figure = figures.heatmap("h", [[1.0, -2.0], [0.5, 2.0]], **WORDS)
    assert figure.plotly.data[0].zmax == 2.0
    assert figure.caption == "Values in logits."


def test_a_heatmap_of_magnitudes_starts_at_zero():
    figure = figures.heatmap("h", [[0.5, 0.7], [0.6, 0.9]], signed=False, **WORDS)
    assert (figure.plotly.data[0].zmin, figure.plotly.data[0].zmax) == (0.0, 0.9)
    assert figure.caption == "Values in logits."


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("value", [0.0, 3.0, np.nan])
def test_a_constant_heatmap_has_a_scale(value, signed):
    trace = figures.heatmap("h", np.full((2, 2), value), signed=signed, **WORDS).plotly.data[0]
    assert trace.zmin < trace.zmax


def test_undefined_cells_are_drawn_by_kind_and_counted():
    figure = figures.heatmap("h", [[np.nan, np.inf], [-np.inf, 1.0]], **WORDS)
    assert [trace.hovertemplate.split("<br>")[-1] for trace in figure.plotly.data[1:]] == [
        "NaN<extra></extra>",
        "∞<extra></extra>",
        "−∞<extra></extra>",
    ]
    assert "Mauve: 1 NaN and 2 infinite of 4 values." in figure.caption
    assert plotly_json.marks(figure.plotly) == 4


def test_a_large_heatmap_shows_the_largest_of_each_block_and_says_so():
    rng = np.random.default_rng(0)
    values = rng.uniform(-1, 1, size=(600, 257))
    values[599, 256] = -5.0
    values[7, 8] = np.nan
    figure = figures.heatmap("h", values, rows=[f"r{i}" for i in range(600)], **WORDS)
    shown = np.array([row[1:] for row in figure.table.rows], float)
    assert shown.shape == (200, 129)
    assert shown[-1, -1] == -5.0
    assert np.isnan(shown[2, 4])
    assert figure.table.rows[1][0] == "r3"
    assert "the entry of largest magnitude in a block of 3 by 2" in figure.caption
    # The table has four significant digits.
    assert shown[0, 0] == pytest.approx(max(values[:3, :2].ravel(), key=abs), rel=5e-4)


def test_a_heatmap_of_256_a_side_is_not_reduced():
    values = np.random.default_rng(0).normal(size=(256, 4))
    matrix, steps = cells.reduced(values)
    assert steps == (1, 1)
    assert np.array_equal(matrix, values)


def test_lines_differ_in_colour_dash_and_marker():
    figure = figures.lines("l", [0, 1], {"a": [1, 2], "b": [2, 1]}, bands={"b": ([1, 0], [3, 2])}, **WORDS)
    a, band, b = figure.plotly.data
    assert (a.line.color, a.line.dash, a.marker.symbol) != (b.line.color, b.line.dash, b.marker.symbol)
    assert a.line.dash != b.line.dash
    assert a.marker.symbol != b.marker.symbol
    assert band.fillcolor == b.line.color
    assert figure.table.columns == ("x", "a", "b", "b, lower", "b, upper")
    assert figure.table.rows == ((0, 1, 2, 1.0, 3.0), (1, 2, 1, 0.0, 2.0))


def test_a_gap_in_a_line_is_counted_and_its_neighbours_marked():
    figure = figures.lines("l", np.arange(100), {"a": np.where(np.arange(100) == 50, np.nan, 1.0)}, **WORDS)
    assert "1 NaN of 100 values" in figure.caption
    assert figure.plotly.data[0].mode == "lines+markers"
    # 99 markers and two pieces of line.
    assert plotly_json.marks(figure.plotly) == 101


def test_a_scatter_plot_is_decimated_by_group_and_says_so():
    count = 20_000
    groups = ["rare" if i % 5000 == 0 else "common" for i in range(count)]
    figure = figures.scatter("s", np.arange(count), np.arange(count), groups=groups, **WORDS)
    drawn = plotly_json.marks(figure.plotly)
    assert 4900 <= drawn <= 5001
    assert f"Drawn: {drawn} of 20000 points" in figure.caption
    assert {trace.name for trace in figure.plotly.data} == {"rare", "common"}
    assert len({trace.marker.symbol for trace in figure.plotly.data}) == 2
    small = figures.scatter("s", [1, 2], [1, 2], **WORDS)
    assert "Drawn:" not in small.caption
    assert not small.plotly.layout.showlegend


def test_the_tiles_of_a_tree_fit_into_their_parent():
    parents, values = [-1, 0, 0, 1, 1, 4], [1.0, 2.0, -1.0, 5.0, -3.0, 0.5]
    widths = parts.widths(parents, np.array(values))
    for node in range(len(values)):
        assert widths[node] >= abs(values[node])
        assert widths[node] >= sum(w for w, parent in zip(widths, parents, strict=True) if parent == node)
    figure = figures.icicle("t", list("abcdef"), parents, values, unit="logits", **WORDS)
    assert figure.plotly.data[0].marker.cmin == -5.0
    assert figure.plotly.data[0].marker.cmax == 5.0
    assert figure.table.rows[5] == (5, "f", 4, 0.5)


def test_a_histogram_counts_every_finite_value_once():
    rng = np.random.default_rng(0)
    groups = {"a": rng.normal(size=500), "b": np.r_[rng.normal(size=300), np.nan]}
    figure = figures.histogram("h", groups, bins=17, **WORDS)
    assert [sum(trace.y) for trace in figure.plotly.data] == [500, 300]
    assert len(figure.table.rows) == 17
    assert [sum(row[2 + i] for row in figure.table.rows) for i in (0, 1)] == [500, 300]
    assert "1 NaN of 801 values" in figure.caption


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: figures.bars("b", ["x"], [1.0, 2.0], **WORDS), 'The figure "b" was given values of shape (2,)'),
        (lambda: figures.bars("b", [], [], **WORDS), "was given values of shape (0,)"),
        (lambda: figures.bars("b", ["x"], [1.0], errors=[-1.0], **WORDS), "expected lengths of zero or more"),
        (lambda: figures.bars("b", ["x"], [np.nan], caption=" ", alt="a"), 'The figure "b" has no caption'),
        (lambda: figures.heatmap("h", [1.0], **WORDS), "has shape (1,); expected a matrix"),
        (lambda: figures.heatmap("h", [[1.0]], rows=["a", "b"], **WORDS), "was given 2 labels for 1 rows"),
        (lambda: figures.lines("l", [0, 1], {}, **WORDS), 'The line plot "l" has nothing to draw'),
        (
            lambda: figures.lines("l", [0], {"a": [1]}, bands={"b": ([0], [1])}, **WORDS),
            'band "b" but no such series',
        ),
        (lambda: figures.scatter("s", [1, 2], [1], **WORDS), "was given values of shape (1,); expected 2 numbers"),
        (lambda: figures.icicle("t", ["a"], [0], [1.0], **WORDS), "a parent before it (-1: the root)"),
        (lambda: figures.icicle("t", ["a"], [-1], [np.nan], **WORDS), "NaN or infinite: it has no width"),
        (lambda: figures.histogram("h", [np.nan], **WORDS), "has no finite value"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_a_sentence(make, message):
    with pytest.raises(UsageError, match=re.escape(message)):
        make()


def test_every_category_has_a_dark_partner_and_none_is_shared():
    assert len({DARK[colour] for colour in CATEGORIES}) == len(CATEGORIES)
    assert not set(DARK) & set(DARK.values())


def test_a_natural_range_is_the_same_for_every_figure_and_cuts_nothing_off():
    low, high = np.full((3, 3), 0.1), np.full((3, 3), 0.1)
    high[0, 0] = 1.0
    ends = [(f.plotly.data[0].zmin, f.plotly.data[0].zmax) for f in (drawn(low), drawn(high))]
    assert ends == [(0.0, 1.0)] * 2
    assert "three standard deviations" not in drawn(high).caption
    assert "three standard deviations" in drawn(np.eye(30), limits=None).caption  # what happened to attention before
    beyond = drawn(np.array([[1.5, 0.2]]))
    assert (beyond.plotly.data[0].zmin, beyond.plotly.data[0].zmax) == (0.0, 1.5)


def drawn(values, limits=(0.0, 1.0), **more):
    return figures.heatmap("map", values, caption="Cells.", alt="Cells.", signed=False, limits=limits, **more)


def test_a_signed_scale_is_symmetric_about_its_centre():
    values = np.array([[0.2, 0.9]])
    result = figures.heatmap("map", values, caption="AUC.", alt="AUC.", limits=(0, 1), centre=0.5, cell_text=True)
    trace = result.plotly.data[0]
    assert (trace.zmin, trace.zmax, trace.texttemplate) == (0.0, 1.0, "%{z:.2f}")


@pytest.mark.parametrize("kind", ["lines", "scatter"])
def test_logarithmic_axes_are_asked_for_by_name(kind):
    def figure(log):
        if kind == "lines":
            return figures.lines("id", [1, 10], {"a": [1, 2]}, caption="A.", alt="A.", log=log)
        return figures.scatter("id", [1, 10], [1, 2], caption="A.", alt="A.", log=log)

    assert figure("x").plotly.layout.xaxis.type == "log"
    assert figure("x").plotly.layout.yaxis.type is None
    assert figure("xy").plotly.layout.yaxis.type == "log"
    with pytest.raises(UsageError, match='was given log="z"'):
        figure("z")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.5, 3.0, 30.0], [2, 5, 10, 20]),
        ([1.0, 50.0, np.nan, -3.0], [1, 2, 5, 10, 20, 50]),
        ([0.02, 0.1], [0.02, 0.05, 0.1]),
    ],
)
def test_ticks_of_a_logarithmic_axis_lie_within_its_values(values, expected):
    drawn = figures.lines("id", np.arange(len(values)), {"a": values}, caption="A.", alt="A.", log="y").plotly.layout
    np.testing.assert_allclose(drawn.yaxis.tickvals, expected)
    assert drawn.yaxis.ticktext == tuple(f"{value:g}" for value in expected)


def test_many_powers_of_ten_have_few_ticks_and_one_has_those_of_plotly():
    wide = figures.lines("id", [0, 1], {"a": [1e-12, 1e12]}, caption="A.", alt="A.", log="y").plotly.layout.yaxis
    assert (wide.tickvals, wide.dtick) == (None, 3)
    narrow = figures.lines("id", [0, 1], {"a": [2, 3]}, caption="A.", alt="A.", log="y").plotly.layout.yaxis
    assert (narrow.tickvals, narrow.dtick) == (None, None)


def test_categories_have_colours_of_their_own_and_names_in_legend_and_table():
    drawn = figures.heatmap("id", [[0, 2], [1, 0]], categories=["none", "one <b>", "both"], caption="A.", alt="A.")
    heat, *legend = drawn.plotly.data
    assert [one.name for one in legend] == ["none", "one &lt;b&gt;", "both"]
    assert len({one.marker.color for one in legend}) == 3
    assert [colour for _, colour in heat.colorscale[::2]] == [one.marker.color for one in legend]
    assert (heat.zmin, heat.zmax, heat.showscale) == (-0.5, 2.5, False)
    assert drawn.table.rows == (("0", "none", "both"), ("1", "one <b>", "none"))
    with pytest.raises(UsageError, match="2 categories; its values must be their numbers"):
        figures.heatmap("id", [[0, 2]], categories=["a", "b"], caption="A.", alt="A.")
