"""Universality: a model equals itself, random models do not agree, and planted partners are recovered."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from analyses import universality
from analyses.universality.alignment import aligned
from analyses.universality.similarity import best_correlations, cka
from analyses.universality.study import untrained
from interp import report, results
from interp.cli.main import main
from interp.errors import UsageError
from tests import models
from tests.report.browser import check_study

TEXTS = (
    "the tower is in Paris a b the London is",
    "b a the is tower in London Paris the a",
    "in the London tower is a Paris b is the",
    "a is the b tower Paris London in the is",
    "London the in is Paris b a tower is b",
)
TOKENS = torch.tensor([[1, 2, 3]])
CONFIG = universality.Config(texts=TEXTS, draws=40, length=8)


@pytest.fixture(scope="module")
def pair():
    return models.load("llama", text=True), models.load("gpt2", text=True, seed=3)


@pytest.fixture(scope="module")
def result(pair):
    return universality.run(*pair, CONFIG)


def test_similarity_is_one_of_a_rotation_and_nothing_of_noise():
    rng = np.random.default_rng(0)
    x, noise = rng.normal(size=(60, 30)), rng.normal(size=(200, 60, 30))
    turn = np.linalg.qr(rng.normal(size=(30, 30)))[0]
    grams = np.stack([x @ x.T])
    np.testing.assert_allclose(cka(grams, np.stack([(y := 2 * x @ turn) @ y.T])), 1, atol=1e-12)
    values = cka(grams, noise @ noise.mT)[0]
    # Unbiased: the mean of 200 independent draws is within three standard errors of 0; the biased form has 0.33.
    assert abs(values.mean()) < 3 * values.std() / np.sqrt(200)


def test_a_model_is_like_itself(pair):
    same = universality.run(pair[0], pair[0], CONFIG)
    np.testing.assert_allclose(np.diag(same.cka), 1, atol=1e-9)
    assert (same.best > same.bar).all()
    first, second = same.heads
    assert np.array_equal(first.scores, second.scores)
    assert same.doing("induction")[0] == same.doing("induction")[1]


def test_chance_is_measured_and_the_result_is_whole(result, pair, tmp_path):
    assert result.cka.shape == (pair[0].spec.n_layer, pair[1].spec.n_layer)
    assert result.null.shape == (40, pair[0].spec.n_layer)
    assert (result.low <= result.best).all()
    assert (result.best <= result.high).all()
    assert pair[0].name in result.finding()
    result.save(tmp_path / "out")
    assert results.load(tmp_path / "out") == result
    html = report.render(result.page())
    assert "Heads with the same behaviour" in html


def test_models_that_have_learned_nothing_are_not_called_alike(result, pair):
    """Random weights read the same words and so are alike beyond random texts; the untrained control says so."""
    assert (result.best > result.bar).any()
    assert not result.alike.all()
    second = pair[1]
    scrambled = untrained(second, 0)
    before, after = (dict(model.hf.named_parameters()) for model in (second, scrambled))
    for name, parameter in before.items():
        assert torch.equal(parameter.flatten().sort()[0], after[name].flatten().sort()[0])
    assert not torch.equal(second(TOKENS), scrambled(TOKENS))


def test_positions_are_those_that_have_read_the_same_text(pair):
    for first, second in aligned(*pair, TEXTS[0]):
        read = ["".join(m.to_str_tokens(TEXTS[0])[: at + 1]) for m, at in zip(pair, (first, second), strict=True)]
        assert read[0] == read[1]


def test_planted_latents_are_matched_and_others_are_not(pair):
    rng = np.random.default_rng(1)
    codes = np.maximum(rng.normal(size=(80, 6)), 0)
    best, partner = best_correlations(codes, codes[:, ::-1])
    assert partner.tolist() == [5, 4, 3, 2, 1, 0]
    np.testing.assert_allclose(best, 1)
    sae = SimpleNamespace(hook="blocks.1.hook_resid_post", W_dec=torch.eye(24), encode=lambda x: x.relu())
    same = universality.run(pair[0], pair[0], CONFIG, dictionaries=[sae, sae])
    assert same.matches is not None
    assert np.array_equal(same.matches.latents, same.matches.partners)
    assert same.matches.share > 0.9
    assert (same.matches.null > same.matches.bar).mean() <= 0.011


def test_what_cannot_be_compared_is_refused(pair):
    with pytest.raises(UsageError, match="no dictionary or two"):
        universality.run(*pair, CONFIG, dictionaries=[SimpleNamespace()])
    with pytest.raises(UsageError, match="at least four texts, not 1"):
        universality.run(*pair, universality.Config(texts=TEXTS[:1]))
    with pytest.raises(UsageError, match="has no tokenizer"):
        universality.run(pair[0], models.load("gpt2"), CONFIG)


def test_the_command(monkeypatch, capsys, tmp_path, pair):
    monkeypatch.setattr("interp.model.load", lambda name, **_: pair[name == "b"])
    (tmp_path / "texts.txt").write_text("\n".join(TEXTS))
    out = tmp_path / "out"
    monkeypatch.setattr("analyses.universality.Config", lambda **changed: replace(CONFIG, **changed))
    arguments = ["universality", "a", "b", "--texts", str(tmp_path / "texts.txt"), "--draws", "10", "--out", str(out)]
    assert main([*arguments, "--json", "--quiet"]) == 0
    assert json.loads(capsys.readouterr().out)["models"] == [model.name for model in pair]
    assert (out / "report.html").exists()


@pytest.mark.browser
def test_the_page_in_a_browser(result, tmp_path):
    check_study(result, tmp_path, screens=5)
