"""The study of all heads: its numbers, its files, its page in a browser, and its command."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from analyses.circuits import Circuits, Config, run
from interp import circuits, results
from interp.circuits.texts import natural
from interp.errors import UsageError
from interp.report import render, write
from tests import models
from tests.report import browser as checks

SMALL = Config(n_text=4, length=8, n_controls=3, ablated=2)


@pytest.fixture(scope="module")
def model():
    return models.load("gemma2", text=True)


@pytest.fixture(scope="module")
def study(model) -> Circuits:
    return run(model, SMALL, command="interp circuits", seed=0)


def test_its_numbers_are_those_of_the_functions(model, study: Circuits) -> None:
    assert study.scores == circuits.head_scores(model, n_text=4, length=8, seed=0)
    assert study.check.worst == study.error < 1e-4
    assert study.definiteness == circuits.definiteness(model, seed=0)
    whole = circuits.composition(model, "K")
    reading = study.compositions[1]
    assert reading.pairs == whole.top(40)
    above = whole.array[whole.possible]
    assert reading.n_possible == above.size
    np.testing.assert_allclose(reading.quantiles[[0, 50, 100]], [above.min(), np.median(above), above.max()], rtol=1e-6)


def test_it_shows_the_most_remarkable_heads_or_those_asked_for(model, study: Circuits) -> None:
    layer, head = np.unravel_index(study.scores.induction.argmax(), (3, 4))
    assert study.heads[0].name == f"L{layer}H{head}"
    assert "strongest induction score" in study.heads[0].shown_for
    asked = run(model, Config(heads=("L2H3",), n_text=4, length=8, n_controls=1, ablated=1))
    assert [view.name for view in asked.heads] == ["L2H3"]
    assert asked.heads[0].copying == pytest.approx(circuits.ov(model, 2, 3).copying_score)


def test_it_saves_and_loads_equal_and_draws_the_same_page(study: Circuits, tmp_path) -> None:
    loaded = results.load(study.save(tmp_path))
    assert loaded == study
    assert render(loaded.page()) == render(study.page())


def test_the_attention_of_its_heads_can_be_looked_at(model, study: Circuits) -> None:
    repeats, prose = study.texts
    assert {view.name for view in study.heads} <= set(repeats.heads)
    assert repeats.tokens[:8] == repeats.tokens[8:]
    np.testing.assert_allclose(repeats.patterns[0], study.heads[0].pattern, atol=1e-3)
    np.testing.assert_allclose(prose.patterns.sum(-1), 1, atol=0.05)
    tokens = natural(model)[:1, : len(prose.tokens)]
    layer, head = int(prose.heads[-1][1]), int(prose.heads[-1][3])
    _, cache = model.run_with_cache(tokens, [f"blocks.{layer}.attn.hook_pattern"])
    np.testing.assert_allclose(prose.patterns[-1], cache[f"blocks.{layer}.attn.hook_pattern"][0, head], atol=1e-3)


def test_a_result_of_before_numbers_the_tokens(study: Circuits) -> None:
    section = replace(study, texts=()).page().sections[0]
    assert section.blocks[0].texts[0].tokens[:3] == ("0", "1", "2")
    assert section.blocks[0].texts[0].heads[0].name == study.heads[0].name


def test_composition_is_one_graph_of_all_its_pairs(study: Circuits) -> None:
    wiring = next(section for section in study.page().sections if section.id == "wiring")
    graph, listed = wiring.blocks[:2]
    pairs = {pair[:2] for one in study.compositions for pair in one.pairs}
    assert {(edge.source, edge.target) for edge in graph.edges} == pairs >= {row[1:3] for row in listed.rows}
    layers = {node.id: node.layer for node in graph.nodes}
    assert all(layers[edge.source] < layers[edge.target] for edge in graph.edges)


def test_a_model_without_text_or_rotation_has_a_page_too(tmp_path) -> None:
    result = run(models.load("gpt2"), SMALL)
    assert result.scores.texts == ("repeated",)
    assert len(render(result.page())) < checks.BUDGET["inline"]


@pytest.mark.parametrize("name", ["L9H0", "H1", "L0H9"])
def test_a_head_that_is_none_is_refused_before_any_work(model, name: str) -> None:
    with pytest.raises(UsageError, match=r"does not exist|names no head"):
        run(model, Config(heads=(name,)))


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    with checks.launched() as running:
        yield running


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_in_a_browser(study: Circuits, tmp_path, chromium, scheme: str) -> None:
    checks.check_page(write(study.page(), tmp_path), scheme, browser=chromium, layout=True, screens=7)
