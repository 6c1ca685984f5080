"""A tuned lens: nearer to the model's prediction than the logit lens on text it has not seen, and tied to its model."""

from __future__ import annotations

import dataclasses

import pytest
import torch

import interp
from interp.attribution import TunedLens, fit_lenses, lens_fit, logit_lens
from interp.attribution.lens_fit import _Objective, _sample
from interp.errors import DamagedFileError, UsageError
from tests import models

N_TEXT = 120


@pytest.fixture(scope="module")
def model():
    return models.load("llama")


@pytest.fixture(scope="module")
def lenses(model):
    return fit_lenses(model, models.tokens(N_TEXT, 16), steps=60, batch_size=128, lr=1e-2)


def divergence(model, lens: TunedLens | None) -> torch.Tensor:
    """KL from the model's own prediction at every row, over the whole vocabulary, on texts no lens has seen."""
    total = torch.zeros(model.spec.n_layer)
    for seed in range(8):
        tokens = models.tokens(1, 16, seed=1000 + seed)
        names = ["blocks.0.hook_resid_pre", *(f"blocks.{i}.hook_resid_post" for i in range(model.spec.n_layer))]
        _, cache = model.run_with_cache(tokens, names)
        own = model(tokens)[0].log_softmax(-1)
        for row, name in enumerate(names[:-1]):
            x = cache[name][0] if lens is None else lens.translate(row, cache[name][0])
            logits = interp.model.trace.unembed(model.weights, x[None], folded=False)[0][0].log_softmax(-1)
            total[row] += (own.exp() * (own - logits)).sum(-1).mean() / 8
    return total


def test_on_new_text_every_layer_is_nearer_than_the_logit_lens_and_the_bias_alone(model, lenses):
    without = divergence(model, None)
    result = {kind: divergence(model, lens) for kind, lens in lenses.items()}
    assert (result["bias"] < without).all()
    assert (result["linear"] < result["bias"]).all()
    assert (result["tuned"] < result["linear"]).all()


def test_of_a_random_translation_nothing_is_nearer(model, lenses):
    """The control: random weights of the same size do not make a lens."""
    lens = lenses["tuned"]
    generator = torch.Generator().manual_seed(0)
    random = torch.randn(lens.weights.shape, generator=generator) * lens.weights.std()
    assert (divergence(model, dataclasses.replace(lens, weights=random)) > divergence(model, lens)).all()


def test_training_never_ends_worse_than_it_began_on_its_validation_text(lenses):
    for lens in lenses.values():
        assert (lens.history.min(0).values <= lens.history[0]).all()
    assert not lenses["bias"].weights.any()
    assert len(lenses["linear"].history) == 2


def test_the_last_row_is_the_model_and_the_others_are_translated(model, lenses):
    tokens = models.tokens(1, 6)
    plain, tuned = logit_lens(model, tokens, [3]), logit_lens(model, tokens, [3], lens=lenses["tuned"])
    assert tuned.lens == "tuned"
    assert "Tuned lens" in tuned.table().caption
    assert (plain.logits[-1] == tuned.logits[-1]).all()
    assert tuned.error < 1e-5
    assert (plain.logits[:-1] != tuned.logits[:-1]).any()


def test_prediction_depth_is_the_layer_from_which_the_answer_stays(model):
    lens = logit_lens(model, models.tokens(1, 6))
    for position, depth in enumerate(lens.depth):
        texts = [row[position][0] for row in lens.top_tokens]
        assert set(texts[depth + 1 :]) == {texts[-1]}
        assert depth == -1 or texts[depth] != texts[-1]


def test_saved_is_loaded_and_another_unembedding_is_refused(model, lenses, tmp_path):
    file = lenses["tuned"].save(tmp_path / "lens.safetensors")
    loaded = TunedLens.load(file, model)
    for name in ("weights", "biases", "history"):
        assert torch.equal(getattr(loaded, name), getattr(lenses["tuned"], name))
    assert loaded.kind == "tuned"
    for other in (models.load("llama", seed=1), models.load("gpt2")):
        with pytest.raises(UsageError, match="whose unembedding is not that of"):
            TunedLens.load(file, other)
        with pytest.raises(UsageError, match="whose unembedding is not that of"):
            logit_lens(other, models.tokens(1, 6), lens=loaded)
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(DamagedFileError, match="is not a saved lens"):
        TunedLens.load(file)


def test_the_same_seed_gives_the_same_lens_alone_or_with_others(model, lenses):
    again = TunedLens.fit(model, models.tokens(N_TEXT, 16), kind="bias", steps=60, batch_size=128, lr=1e-2)
    assert torch.equal(again.biases, lenses["bias"].biases)


def test_the_sampled_divergence_is_the_whole_one_where_everything_is_sampled(model):
    x = torch.randn(1, 20, 24, generator=torch.Generator().manual_seed(0))
    last = torch.randn(20, 24, generator=torch.Generator().manual_seed(1))
    columns, bias = model.weights.unembed(torch.arange(64))

    def logits(stream):
        return stream / (stream.square().mean(-1, keepdim=True) + model.spec.norm_eps).sqrt() @ columns + bias

    own, other = logits(last).log_softmax(-1), logits(x[0]).log_softmax(-1)
    result = _Objective.of(model, last, 1000, torch.Generator().manual_seed(0))(x)
    assert float(result[0]) == pytest.approx(float((own.exp() * (own - other)).sum(-1).mean()), rel=1e-4)
    ids, factor = _sample(torch.tensor([3, 5]), 64, 10, torch.Generator().manual_seed(0))
    assert len(set(ids.tolist())) == 12
    assert float(factor.sum()) == pytest.approx(64)


def test_a_step_of_a_large_vocabulary_takes_fewer_positions(model, monkeypatch):
    """The model runs on as much text at a time, and is stepped through it."""
    assert lens_fit.positions_per_step(model) == 256
    monkeypatch.setattr(lens_fit, "LOGITS", 100 * models.D_VOCAB)
    assert lens_fit.positions_per_step(model) == 100 and lens_fit.positions_per_step(model, 300) == 300
    sizes = []
    step = lens_fit._Parameters.step
    monkeypatch.setattr(
        lens_fit._Parameters, "step", lambda self, one, x, lr: (sizes.append(x.shape[1]), step(self, one, x, lr))
    )
    lens = TunedLens.fit(model, models.tokens(200, 16), steps=7, lr=1e-2)
    assert sizes == [100] * 7
    assert (lens.history[-1] < lens.history[0]).all()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"kind": "deep"}, "kind must be one of tuned, linear, bias"),
        ({"steps": 1.5}, "steps must be a whole number"),
        ({"batch_size": 4096}, "at least 3 batches"),
    ],
)
def test_refusals(model, options, text):
    with pytest.raises(UsageError, match=text):
        TunedLens.fit(model, models.tokens(20, 16), **options)
