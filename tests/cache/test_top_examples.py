"""Top examples of a direction in a store: those of all rows, planted ones recovered, and a page of them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from analyses import attention, examples
from interp import cache, report, results
from interp.errors import UsageError
from tests import models
from tests.report.browser import check_study, launched

HOOK, EMBEDDED = "blocks.1.hook_resid_post", "blocks.0.hook_resid_pre"


@pytest.fixture(scope="module")
def model():
    return models.load("llama", text=True)


@pytest.fixture(scope="module")
def store(model, tmp_path_factory):
    tokens = models.tokens(30, 12).int()
    config = cache.Config(hooks=(HOOK, EMBEDDED), context=12)
    return cache.harvest(model, tokens, config, tmp_path_factory.mktemp("store") / "acts")


def test_they_are_the_largest_of_all_rows_one_of_each_context(model, store):
    direction = torch.randn(24, generator=torch.Generator().manual_seed(0))
    result = cache.top_examples(store, direction, 10, hook=HOOK, model=model)
    every = store.tensor(HOOK, 0, len(store)).double() @ (direction.double() / direction.double().norm())
    contexts = store.places()[:, 0]
    best = torch.stack([every[contexts == context].max() for context in contexts.unique()]).sort(descending=True).values
    assert np.allclose(result.values, best[:10])
    assert len(set(result.contexts.tolist())) == 10
    assert result.mean == pytest.approx(float(every.mean())) and result.rows == len(store)
    for context, position, text, at in zip(result.contexts, result.positions, result.texts, result.before, strict=True):
        ids = store.contexts(int(context), int(context) + 1).tokens[0]
        assert text[at] == model.labels(ids[int(position)][None].long())[0]


def test_a_planted_token_is_recovered_and_a_random_direction_gives_another(model, store, tmp_path):
    """The embedding of one token, less the mean of all: its examples are that token."""
    rows, places = store.tensor(EMBEDDED, 0, len(store)), store.places()
    ids = store.contexts().tokens[places[:, 0], places[:, 1]]
    token = int(ids.mode().values)
    direction = rows[ids == token].mean(0) - rows.mean(0)
    result = examples.run(model, store, {"token": direction}, k=3, hook=EMBEDDED)
    tokens = [text[at] for text, at in zip(result.examples[0].texts, result.examples[0].before, strict=True)]
    assert tokens == [model.labels(torch.tensor([token]))[0]] * 3
    assert results.load(result.save(tmp_path)) == result
    assert "a random direction" in report.render(result.page())
    file = tmp_path / "result.json"
    document = json.loads(file.read_text().replace('"examples":', '"found":'))  # as it was named before
    del document["checksum"]
    file.write_text(json.dumps(document | {"checksum": results._checksum(document)}))
    assert results.load(tmp_path) == result


@pytest.mark.browser
def test_the_pages_in_a_browser(model, store, tmp_path):
    with launched() as browser:
        direction = torch.randn(24, generator=torch.Generator().manual_seed(0))
        check_study(examples.run(model, store, {"a": direction}, k=5, hook=HOOK), tmp_path, screens=5, browser=browser)
        patterns = attention.run(model, ["the tower is in Paris", "a b"], ["L1H3", "L0H0"])
        check_study(patterns, tmp_path, screens=3, browser=browser)


def test_wrong_directions(model, store):
    for wrong, words in ((torch.zeros(24), "zero"), (torch.ones(5), "24 coordinates")):
        with pytest.raises(UsageError, match=words):
            cache.top_examples(store, wrong, hook=HOOK)
    with pytest.raises(UsageError, match="name one as hook="):
        cache.top_examples(store, torch.ones(24))
    with pytest.raises(UsageError, match="at least one direction"):
        examples.run(model, store, {})


def test_heads_on_prompts_are_the_models_patterns(model, tmp_path):
    prompts = ["the tower is in Paris", "a b"]
    result = attention.run(model, prompts, ["L1H3", "L0H0"])
    _, seen = model.run_with_cache(prompts[0], "blocks.1.attn.hook_pattern")
    assert np.allclose(result.patterns[0][0], seen["blocks.1.attn.hook_pattern"][0, 3], atol=1e-6)
    assert result.patterns[1].shape == (2, 2, 2) and results.load(result.save(tmp_path)) == result
    assert "What does the last token attend to?" in report.render(result.page())
    with pytest.raises(UsageError, match="L0H0 to L2H3"):
        attention.run(model, prompts, ["L3H0"])
