"""The page of a training run: its curves, and nothing that would need an evaluation."""

from __future__ import annotations

import numpy as np
import pytest

from analyses.dictionary import training
from interp.provenance import Stopwatch
from interp.report import write
from saes.config import METRICS
from tests.report import browser as checks


def history(n: int, start: float = 0.8) -> dict[str, np.ndarray]:
    steps = np.arange(1, n + 1)
    changing = {"step": steps, "fvu": start / np.sqrt(steps), "l0": 32 + np.cos(steps), "lr": 1e-3 * (1 - steps / 99)}
    return {name: np.asarray(changing.get(name, np.zeros(n)), float) for name in METRICS}


def page(histories):
    return training.page(histories, 50, Stopwatch().provenance(command="interp sae train", seed=0))


def test_it_says_how_far_the_run_has_come():
    assert "at step 10 of 50" in page({"": history(10)}).finding
    assert "finished" in page({"": history(50)}).finding
    slow = page({"blocks.0.mlp": history(50), "blocks.1.mlp": history(20)})
    assert "at step 20 of 50" in slow.finding and "blocks.1.mlp" in slow.finding


def test_its_curves_hold_the_metrics_and_leave_out_what_does_not_change():
    drawn = page({"": history(10)})
    lead = drawn.lead[0]
    np.testing.assert_allclose([row[1] for row in lead.table.rows], history(10)["fvu"], rtol=1e-6)
    assert [figure.id for figure in drawn.sections[0].blocks] == ["curve-l0", "curve-lr"]  # none died


def test_of_a_large_set_some_are_drawn_and_all_are_listed():
    many = {f"blocks.{i}.mlp": history(5 + i) for i in range(9)}
    drawn = page(many)
    assert "6 of 9 dictionaries" in drawn.lead[0].caption
    assert [row[0] for row in drawn.sections[1].blocks[0].rows] == list(many)


@pytest.mark.browser
def test_the_page_in_a_browser(tmp_path):
    path = write(page({f"blocks.{i}.mlp": history(5 + i) for i in range(9)}), tmp_path, plotlyjs="directory")
    with checks.launched() as browser:
        checks.check_page(path, browser=browser, layout=True, screens=5)
        checks.check_page(path, "dark", browser=browser, axe=False)
        checks.check_page(path, browser=browser, width=390, axe=False, layout=True)
