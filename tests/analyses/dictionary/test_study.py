"""A study from a store: saved equals loaded, the page needs no torch, and what does not belong together is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from analyses.dictionary import Config, DictionaryStudy, run
from analyses.dictionary.page import page
from analyses.dictionary.passages import Corpus
from analyses.dictionary.sections import pareto
from analyses.dictionary.weights import final_scale, logits
from interp import cache, report
from interp.errors import UsageError
from saes import build
from tests import models
from tests.report.browser import check_page

HOOK = "blocks.1.hook_resid_post"
CONFIG = Config(top=3, drawn=8, before=3, after=2, tokens=4, inhibitor_candidates=4)


@pytest.fixture(scope="module")
def model():
    return models.load("llama", text=True)


@pytest.fixture(scope="module")
def store(model, tmp_path_factory):
    config = cache.Config(hooks=(HOOK, "blocks.0.hook_resid_post"), context=10, shard_megabytes=0.02)
    return cache.harvest(model, models.tokens(41, 10), config, tmp_path_factory.mktemp("store"))


def autoencoder(model, *, hook: str = HOOK, k: int = 4, seed: int = 0, **metadata):
    """Random weights."""
    d, width = model.spec.d_model, 32
    draw = torch.Generator().manual_seed(seed)
    W_dec = torch.nn.functional.normalize(torch.randn(width, d, generator=draw), dim=1)
    tensors = {"W_enc": W_dec.T.clone(), "W_dec": W_dec, "b_enc": torch.zeros(width), "b_dec": torch.zeros(d)}
    return build("topk", "autoencoder", tensors, {"k": k}, {"hook_name": hook, **metadata})


@pytest.fixture(scope="module")
def study(model, store):
    sae = autoencoder(model, token_sha256=store.manifest.token_sha256, training={"steps": 10, "batch_size": 4})
    history = {"step": range(1, 11), "fvu": [1 / step for step in range(1, 11)], "l0": [4.0] * 10}
    sae.history = {name: np.asarray(values) for name, values in history.items()}
    return run(
        sae,
        store,
        model=model,
        config=CONFIG,
        others={"wider": autoencoder(model, k=8, seed=1)},
        command="interp sae evaluate runs/x",
    )


def test_a_saved_study_is_the_same_and_draws_the_same_page_without_torch(study, tmp_path):
    study.save(tmp_path)
    assert DictionaryStudy.load(tmp_path) == study
    drawn = report.write(page(study), tmp_path, "drawn.html")
    code = (
        "import sys; from interp.cli.main import main; code = main(sys.argv[1:]);"
        "sys.exit('torch was loaded' if 'torch' in sys.modules else code)"
    )
    again = [sys.executable, "-c", code, "report", str(tmp_path), "--quiet"]
    ended = subprocess.run(again, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert (tmp_path / "report.html").read_bytes() == drawn.read_bytes()


def test_raised_tokens_are_those_of_the_unembedding_itself(model, store):
    sae = autoencoder(model)
    up, down = logits(sae, model, 2.0, 5)
    hf = model.hf
    gained = sae.W_dec * hf.model.norm.weight.detach()
    effect = gained @ hf.lm_head.weight.detach().T / 2.0
    effect = effect - effect.mean(1, keepdim=True)
    for ranked, wanted in ((up, effect.topk(5, 1)), (down, effect.topk(5, 1, largest=False))):
        # The same product in float32, once with the gain folded into the other factor.
        assert torch.allclose(ranked.value, wanted.values, atol=1e-5)
        assert torch.allclose(effect.gather(1, ranked.index), wanted.values, atol=1e-5)


def test_the_scale_is_what_the_final_norm_divides_by(model, store):
    tokens = store.contexts(0, 4).tokens.long()
    hf = model.hf
    with torch.no_grad():
        last = model.run_with_cache(tokens, ["blocks.2.hook_resid_post"])[1]["blocks.2.hook_resid_post"]
        normed = hf.model.norm(last)
    scales = (last * hf.model.norm.weight / normed)[:, 1:]
    assert final_scale(model, tokens) == pytest.approx(1 / float((1 / scales).mean()), rel=1e-4)


def test_examples_hold_the_text_of_the_store(model, study, store):
    tokens, places = store.contexts().tokens, study.features.where
    words, band = study.features.vocabulary, study.features.band
    assert (band == 0).sum() > 32
    for latent in range(8):
        for example in (band[latent] == 0).nonzero()[0]:
            context, position = places[latent, example].tolist()
            assert position > 0  # position 0 is in no store
            own = model.to_str_tokens(tokens[context, position : position + 1])
            assert words[study.features.tokens[latent, example, CONFIG.before]] == own[0]


def test_measures_on_the_text_trained_on_are_in_doubt_and_on_other_text_not(study, model, store):
    assert study.in_doubt == (True,)
    fresh = run(autoencoder(model, token_sha256="other"), store, config=replace(CONFIG, features=False))
    assert fresh.in_doubt == (False,)
    assert fresh.features is None


def test_the_page_says_what_it_was_judged_on_and_names_every_part(study):
    result = page(study)
    assert [section.id for section in result.sections] == [
        "features",
        "quality",
        "trade",
        "frequency",
        "training",
        "made",
    ]
    text = report.render(result)
    assert "which are those it was trained on" in text
    assert "Published dictionaries are trained on" in text
    values = study.to_dict()
    assert json.loads(json.dumps(values)) == values
    assert set(values["others"]) == {"wider"}
    read = run(autoencoder(models.load("llama", text=True)), planted_corpus(), config=Config(judge=False))
    assert [section.id for section in page(read).sections] == ["features", "frequency", "made"]


def planted_corpus():
    draw = torch.Generator().manual_seed(0)
    return Corpus.of_tensors(torch.randn(4, 10, 24, generator=draw), torch.randint(0, 9, (4, 10), generator=draw))


def test_dominated_points_are_identified():
    assert pareto([(32, 0.2), (64, 0.1), (64, 0.3), (32, 0.2)]) == [True, True, False, True]
    assert pareto([(8, 0.5)]) == [True]


def test_an_autoencoder_of_another_model_or_store_is_refused(model, store):
    wrong = [
        (autoencoder(model, hook="blocks.2.hook_resid_post"), model, "reads blocks.2.hook_resid_post, but the store"),
        (autoencoder(model, model_name="other/model"), model, "is of other/model, but the store was harvested from"),
        (autoencoder(model, hook=""), model, "does not say which hook it reads"),
        (autoencoder(model), models.load("gpt2", text=True), "load the one it was harvested from"),
    ]
    for sae, given, message in wrong:
        with pytest.raises(UsageError, match=message):
            run(sae, store, model=given, config=CONFIG)


def test_without_a_model_tokens_are_numbers_and_raised_tokens_are_explained(model, store):
    result = run(autoencoder(model), store, config=replace(CONFIG, judge=False))
    assert result.features.vocabulary[0].startswith("#")
    assert "the model was not given" in report.render(page(result))
    other = run(autoencoder(model, hook=HOOK), store, model=model, config=replace(CONFIG, judge=False))
    assert other.features.no_logits == ""


@pytest.mark.parametrize("variant", ["transcoder", "crosscoder"])
def test_transcoders_and_crosscoders_are_judged_and_read(model, store, variant):
    d, width, layers = model.spec.d_model, 32, 2 if variant == "crosscoder" else 1
    draw = torch.Generator().manual_seed(0)
    W_dec = torch.randn(width, layers * d, generator=draw)
    tensors = {"W_enc": W_dec.T.clone(), "W_dec": W_dec, "b_enc": torch.zeros(width), "b_dec": torch.zeros(layers * d)}
    settings = {"k": 4, "layers": 2} if layers > 1 else {"k": 4}
    hooks = {"hook_name": HOOK, "hook_name_out": "blocks.0.hook_resid_post"}
    about = {"hook_name": HOOK, "hook_names": list(store.hooks)} if layers > 1 else hooks
    study = run(build("topk", variant, tensors, settings, about), store, model=model, config=CONFIG)
    assert study.features.fired.sum() == 4 * study.features.rows
    assert (study.features.no_logits != "") == (layers > 1)
    assert study.features.inhibitor_candidates.shape == (width, 0)  # what it writes is not what it reads
    assert study.features.inhibitors(0) == ()
    assert report.render(page(study))


@pytest.mark.browser
def test_the_page_is_right_in_the_browser(study, tmp_path: Path, browser):
    path = report.write(page(study), tmp_path)
    check_page(path, "light", browser=browser, layout=True, screens=5)
    check_page(path, "dark", browser=browser, axe=False, layout=True)
    check_page(path, "light", browser=browser, width=390, axe=False, layout=True)
