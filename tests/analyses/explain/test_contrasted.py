"""The explanation of a difference: both runs, the map of what changed, the paths, and a page made of them alone."""

from __future__ import annotations

import numpy as np
import pytest

from analyses.explain import Config, run
from interp import results
from interp.errors import UsageError
from interp.report import render
from tests import models
from tests.report.browser import check_study

PROMPT, OTHER = "the tower is in Paris in", "the tower is in London in"


@pytest.fixture(scope="module")
def model():
    return models.load("gemma2", text=True)


@pytest.fixture(scope="module")
def explanation(model):
    return run(model, Config(PROMPT, " a", " b", top=4, max_expansions=40, counterfactual=OTHER), seed=0)


def test_the_change_is_that_of_the_two_runs(model, explanation):
    view = explanation.contrasted
    logits = model(model.to_tokens(PROMPT))[0, -1] - model(model.to_tokens(OTHER))[0, -1]
    a, b = (model.to_single_token(word) for word in (" a", " b"))
    # Two float32 runs, subtracted.
    assert view.sources.value == pytest.approx(float(logits[a] - logits[b]), abs=1e-5)
    assert view.tree.total == pytest.approx(view.sources.total, abs=1e-5)
    assert view.differing() == (4,) and np.flatnonzero(view.sources.by_token()).tolist() == [4]
    assert view.change.shape == (4, 6) and not view.change[:, :4].any() and view.change[:, 4].all()
    assert view.verification is not None and view.verification.baseline.startswith("the counterfactual")
    assert explanation.error >= view.largest_error


def test_it_saves_loads_and_is_on_the_page(explanation, tmp_path):
    explanation.save(tmp_path)
    loaded = results.load(tmp_path)
    assert loaded == explanation
    text = render(loaded.page())
    assert text == render(explanation.page())
    for section in ("contrast", "contrast-change", "contrast-paths", "contrast-cuts"):
        assert f'id="{section}"' in text
    assert "Against the counterfactual" in explanation.summary()
    assert explanation.to_dict()["contrast"]["change"] == explanation.contrasted.sources.value


def test_without_a_counterfactual_nothing_is_added(model):
    result = run(model, Config(PROMPT, " a", top=2, max_expansions=5))
    assert result.contrasted is None and 'id="contrast' not in render(result.page())


def test_another_length_is_refused_with_both_tokenisations(model):
    with pytest.raises(UsageError, match=r"has 6 tokens and the counterfactual 5(.|\n)*the \|  tower"):
        run(model, Config(PROMPT, " a", top=2, max_expansions=5, counterfactual="the tower is in Paris"))


@pytest.mark.browser
def test_the_page_in_a_browser(explanation, tmp_path):
    check_study(explanation, tmp_path, screens=6)
