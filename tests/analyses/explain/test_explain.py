"""The explanation of one prediction: its numbers, its files, and a page that is a pure function of them."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analyses.explain import Config, Explanation, run
from interp import results
from interp.errors import UsageError
from interp.report import Attention, render, write
from tests import models
from tests.report import browser as checks

HOSTILE = "the </script><b> \n naïve 🗼 is in"
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def model():
    return models.load("gemma2", text=True)


@pytest.fixture(scope="module")
def explanation(model) -> Explanation:
    return run(model, Config(HOSTILE, " Paris", " London", top=4, max_expansions=20), command="interp explain", seed=0)


def test_the_numbers_are_the_models(model, explanation):
    logits = model(model.to_tokens(HOSTILE))[0, -1]
    paris, london = (model.to_single_token(word) for word in (" Paris", " London"))
    assert explanation.direct.value == pytest.approx(float(logits[paris] - logits[london]), rel=1e-6)
    # float32 through three layers; the target itself is a difference of two logits.
    assert explanation.total == pytest.approx(explanation.direct.value, rel=1e-4)
    assert explanation.error < 1e-4
    assert explanation.error >= explanation.direct.error
    assert explanation.next_tokens[0] == model.to_str_tokens(logits.argmax()[None])[0]
    assert explanation.next_probabilities[0] == pytest.approx(float(logits.softmax(-1).max()), rel=1e-5)
    assert explanation.tokens == tuple(model.to_str_tokens(HOSTILE))
    assert explanation.position == len(explanation.tokens) - 1


def test_heads_are_the_strongest_and_split_over_their_sources(explanation):
    heads = explanation.direct.by_head()
    strongest = np.sort(np.abs(heads).ravel())[::-1]
    np.testing.assert_allclose([abs(view.contribution) for view in explanation.heads], strongest[:4], rtol=1e-6)
    for view in explanation.heads:
        assert view.by_source.total == pytest.approx(view.contribution, rel=1e-4, abs=1e-5)
        np.testing.assert_allclose(view.pattern.sum(-1), 1, rtol=1e-5)
        np.testing.assert_array_equal(view.attention, view.pattern[explanation.position])


def test_without_versus_the_logit_itself_is_explained(model):
    result = run(model, Config("the tower is in", " Paris", top=2, max_expansions=5))
    logits = model(model.to_tokens("the tower is in"))[0, -1]
    assert result.total == pytest.approx(float(logits[model.to_single_token(" Paris")]), rel=1e-4)
    assert "rather than" not in result.page().title


def test_of_a_long_prompt_the_page_has_one_row_of_each_head(model, explanation, monkeypatch):
    monkeypatch.setattr("analyses.explain.study.PATTERN_TOKENS", 2)
    long = run(model, explanation.config, seed=0)
    assert [view.pattern for view in long.heads] == [None] * len(explanation.heads)
    for result, rows in ((long, 1), (explanation, len(explanation.tokens))):
        section = next(one for one in result.page().sections if one.id == "heads")
        viewer = section.blocks[0]
        assert isinstance(viewer, Attention)
        assert [len(head.pattern) for head in viewer.texts[0].heads] == [rows] * len(explanation.heads)
        drawn = {head.name: head.taken for head in viewer.texts[0].heads}
        assert drawn == {view.name: tuple(view.by_source.array.tolist()) for view in result.heads}


def test_another_position_sees_nothing_behind_it(model):
    whole = run(model, Config("the tower is in", " Paris", " London", position=1, top=2, max_expansions=5))
    cut = run(model, Config("the tower", " Paris", " London", top=2, max_expansions=5))
    # Two runs of different lengths: other sums in float32.
    np.testing.assert_allclose(whole.direct.array, cut.direct.array, rtol=1e-4, atol=1e-5)


def test_to_dict_is_plain_and_complete(explanation):
    plain = json.loads(json.dumps(explanation.to_dict()))
    assert plain["total"] == pytest.approx(explanation.total)
    assert plain["model_value"] == explanation.direct.value
    assert plain["error"] == explanation.error
    assert plain["contributions"] == dict(explanation.direct.top(4))
    assert explanation.summary().splitlines()[0] == plain["finding"]


def test_saved_is_loaded_and_the_page_is_the_same_bytes_each_time(explanation, tmp_path):
    page = render(explanation.page())
    assert render(explanation.page()) == page
    loaded = results.load(explanation.save(tmp_path))
    assert loaded == explanation
    assert render(loaded.page()) == page
    assert replace(explanation, position=0) != explanation


def test_a_saved_explanation_is_read_and_drawn_without_torch(explanation, tmp_path):
    explanation.save(tmp_path)
    code = (
        "import sys, hashlib; from interp import report, results\n"
        f"page = report.render(results.load({str(tmp_path)!r}).page())\n"
        "assert not {'torch', 'transformers', 'transformer_lens'} & set(sys.modules)\n"
        "print(hashlib.sha256(page.encode()).hexdigest())"
    )
    # Another process has another hash seed: a set in the way of the page would show here.
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == hashlib.sha256(render(explanation.page()).encode()).hexdigest()


def test_a_hostile_prompt_stays_text(explanation):
    text = render(explanation.page())
    assert "</script><b>" not in text
    assert "&lt;/script&gt;&lt;b&gt;" in text


@pytest.mark.parametrize(("changes", "text"), [
    ({"prompt": ""}, "The prompt is empty"),
    ({"prompt": "the " * 41}, "reads at most 40: shorten it"),
    ({"target": "the tower"}, "'the tower' is not one token but 2: 'the', ' tower'"),
    ({"versus": " Paris"}, "two tokens of a logit difference are the same"),
    ({"position": 7}, "Position 7 is outside the prompt, which has 4 tokens"),
])  # fmt: skip
def test_refusals(model, changes, text):
    with pytest.raises(UsageError, match=text):
        run(model, replace(Config("the tower is in", " Paris", " London"), **changes))


def test_progress_counts_up_to_its_end(model):
    seen: list[tuple[int, int]] = []
    config = Config("the tower", " Paris", top=2, max_expansions=5)
    run(model, config, progress=lambda done, total, step: seen.append((done, total)))
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    assert seen[-1][0] == seen[-1][1]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with checks.launched() as running:
        yield running


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_of_a_hostile_prompt_in_a_browser(explanation, tmp_path, chromium, scheme):
    path = write(explanation.page(), tmp_path)
    checks.check_page(path, scheme, browser=chromium, layout=True, screens=5)


@pytest.mark.browser
def test_the_page_on_a_narrow_screen(explanation, tmp_path, chromium):
    path = write(explanation.page(), tmp_path)
    checks.check_page(path, browser=chromium, width=390, axe=False, layout=True)


def test_without_a_target_the_likeliest_token_is_explained():
    result = run(models.load("llama", text=True), Config("the tower is in", top=2, max_expansions=5))
    assert result.config.target == result.next_tokens[0]
    assert result.direct.target == f"logit of {result.next_tokens[0]!r}"


def test_a_prompt_of_one_token_is_explained_and_its_paths_certified():
    config = Config("the", " Paris", top=2, max_expansions=20, certify=True)
    result = run(models.load("llama", text=True), config)
    assert result.tokens == ("the",)
    assert result.tree.certified(2) == 2
    assert result.verification is not None
    assert result.verification.baseline == "zero"
    assert "no other path is larger" in result.summary()
