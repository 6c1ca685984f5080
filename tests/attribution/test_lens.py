"""The logit lens: first row the embedding, last row the model, rows between what the final norm makes of the stream."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import interp
from interp import results
from interp.attribution import logit_lens
from interp.errors import CheckFailedError, UsageError
from tests import models

IDS = models.tokens(1, 6)


@pytest.mark.parametrize("name", models.NAMES)
def test_rows_are_the_stream_through_the_models_own_norm_and_unembedding(name):
    model = models.load(name)
    lens = logit_lens(model, IDS, [7, 40], k=3)
    assert lens.error < 1e-5
    _, cache = model.run_with_cache(IDS, [f"blocks.{layer}.hook_resid_pre" for layer in range(3)])
    with torch.no_grad():
        for layer in range(3):
            x = cache[f"blocks.{layer}.hook_resid_pre"]
            logits = model.hf.get_output_embeddings()(model.parts.final_norm(x))[0]
            if model.spec.logit_softcap:
                logits = torch.tanh(logits / 3.0) * 3.0
            # float32 through one norm and one product, logits of size one to ten.
            np.testing.assert_allclose(lens.logits[layer], logits[:, [7, 40]], rtol=1e-4, atol=1e-4)
            expected = [[(row > row[i]).sum() for i in (7, 40)] for row in logits]
            np.testing.assert_array_equal(lens.ranks[layer], expected)
            np.testing.assert_allclose(
                lens.top_probabilities[layer], logits.softmax(-1).topk(3).values, rtol=1e-4, atol=1e-6
            )


def test_the_last_row_is_the_model():
    model = models.load("gemma2", torch.float64)
    lens, logits = logit_lens(model, IDS, [7]), model(IDS)[0]
    np.testing.assert_allclose(lens.logits[-1, :, 0], logits[:, 7], rtol=1e-6)
    assert [row[0] for row in lens.top_tokens[-1]] == [str(i) for i in logits.argmax(-1).tolist()]
    assert lens.labels == ("embed", "layer 0", "layer 1", "layer 2")
    assert len(lens.top_tokens) == 4


@pytest.mark.parametrize("position", [0, 3, -1])
def test_one_position_is_that_of_the_whole(position):
    model = models.load("gemma2", torch.float64)
    assert logit_lens(model, IDS, [7], position=position) == logit_lens(model, IDS, [7]).at(position)


def test_saved_is_loaded(tmp_path):
    model = models.load("llama", text=True)
    lens = logit_lens(model, model.to_tokens("the tower is in"), [" Paris", 5])
    assert lens.tracked == (" Paris", model.to_str_tokens(torch.tensor([5]))[0])
    loaded = results.load(lens.save(tmp_path))
    assert loaded == lens
    assert loaded.table() == lens.table()
    assert logit_lens(model, IDS % 20).logits.shape == (4, 6, 0)  # nothing tracked


@pytest.mark.parametrize(("call", "text"), [
    (lambda m: logit_lens(m, models.tokens(2)), "A logit lens reads one prompt at a time: the tokens have 2 rows"),
    (lambda m: logit_lens(m, IDS, position=6), "Position 6 is outside the prompt, which has 6 tokens"),
    (lambda m: logit_lens(m, IDS, k=65), "k=65: the vocabulary has 64 tokens"),
    (lambda m: logit_lens(m, IDS, [64]), "Token id 64 does not exist"),
    (lambda m: logit_lens(m, IDS, [-1]), "Token id -1 does not exist"),
])  # fmt: skip
def test_refusals(call, text):
    with pytest.raises(UsageError, match=text):
        call(models.load("llama"))


def test_not_a_number_does_not_pass():
    hf = models.build("llama")
    hf.model.layers[2].mlp.down_proj.weight.data[0, 0] = torch.nan
    with pytest.raises(CheckFailedError, match="does not reproduce the model's logits: relative error nan"):
        logit_lens(interp.load(hf), IDS)


@pytest.mark.real
def test_paris_rises_late(smollm2):
    lens = logit_lens(smollm2, smollm2.to_tokens("The Eiffel Tower is located in the city of"), [" Paris"])
    rank = lens.ranks[:, -1, 0]
    assert rank[-1] == 0
    assert rank[:20].min() > 100
