"""The study of faithfulness: a planted circuit is ranked first, its page says what won, and where the secant lost."""

from __future__ import annotations

from dataclasses import replace

import pytest

from analyses import faithful
from interp import report
from interp.errors import UsageError
from interp.results import load
from tests.discovery import planted
from tests.report.browser import check_study


@pytest.fixture(scope="module")
def result():
    """Induction on a planted model, whose task replaces that of the catalogue."""
    case = planted.induction()
    patch = pytest.MonkeyPatch()
    patch.setattr("analyses.faithful.study.tasks.make", lambda *_, **__: case.task)
    config = faithful.Config(("induction",), ("secant", "eap-ig-inputs", "random"), 8, ("induction",))
    try:
        return faithful.run(case.model, config, command="python -m analyses.faithful")
    finally:
        patch.undo()


def test_the_secant_ranks_planted_edges_and_nodes_and_random_scores_do_not(result):
    secant, _, random = result.rows
    # The planted circuit has fewer edges than the smallest sizes of the curve, so that f is 1 at nearly all of them.
    assert secant.cmd[0] < 0.1 < random.cmd[0]
    assert secant.pearson > 0.9 > random.pearson
    assert secant.cpr[1] <= secant.cpr[0] <= secant.cpr[2]


def test_saved_and_drawn(result, tmp_path):
    result.save(tmp_path)
    assert load(tmp_path) == result
    text = report.render(result.page())
    assert result.finding() in text and "every method on induction" in text
    assert "python -m analyses.faithful" in result.markdown() and result.markdown().count("\n| ") == 1 + len(
        result.rows
    )


def test_where_the_secant_loses_the_page_says_so(result):
    secant, other, random = result.rows
    assert secant.cpr_more is None and other.cpr_more[1] <= other.cpr_more[0] <= other.cpr_more[2]
    worse = replace(result, rows=(secant, replace(other, cpr_more=(2.0, 1.0, 3.0)), random))
    assert worse.losses()[0].method == "eap-ig-inputs" and worse.finding().startswith("On 0 of 1 tasks")
    assert (
        "CPR of secant is smaller" in (page := report.render(worse.page()).replace("\n", " "))
        and "(against eap-ig-inputs)" in page
    )
    unclear = replace(result, rows=(secant, replace(other, cpr_more=(0.1, -0.1, 0.3)), random))
    assert not unclear.losses() and "CPR of secant is smaller" not in report.render(unclear.page())
    assert unclear.finding().startswith("On 0 of 1 tasks")  # few pairs: it may be worse by more than the margin
    level = replace(
        result, rows=(secant, replace(other, cpr_more=(0.0, -0.1, 0.04), cmd_more=(0.0, -0.04, 0.1)), random)
    )
    assert level.finding().startswith("On 1 of 1 tasks")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tasks": ("inductoin",)}, 'Unknown task "inductoin"'),
        ({"methods": ("secnt",)}, "Unknown method"),
        ({"pairs": 3}, "at least 4"),
        ({"pairs": 8, "judged": 7}, "and 2 score"),
    ],
)
def test_what_cannot_be_compared_is_refused(change, message):
    with pytest.raises(UsageError, match=message):
        faithful.run(planted.induction().model, replace(faithful.Config(), **change))


@pytest.mark.browser
def test_the_page_in_a_browser(result, tmp_path):
    check_study(result, tmp_path, screens=4)
