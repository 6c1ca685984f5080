"""Text to tokens and back, and what is said about input no model can read."""

from __future__ import annotations

import pytest
import torch

import interp
from interp.errors import UsageError
from tests import models


@pytest.fixture(scope="module")
def model():
    return models.load("llama", text=True)


def test_there_and_back(model):
    text = "the tower is in Paris 🗼 naïve </script><b> \n"
    assert "".join(model.to_str_tokens(text)) == text
    assert model.to_str_tokens(model.to_tokens(text)) == model.to_str_tokens(text)


def test_bos_is_the_tokenizers_habit_unless_told():
    habit = interp.load(models.build("llama"), tokenizer=models.tokenizer(bos=True))
    without = interp.load(models.build("llama"), tokenizer=models.tokenizer())
    assert (habit.spec.prepends_bos, without.spec.prepends_bos) == (True, False)
    assert models.load("llama").spec.prepends_bos is None
    plain = without.to_tokens("the tower")
    with_bos = habit.to_tokens("the tower")
    assert with_bos.tolist() == [[1, *plain[0].tolist()]]
    for model in (habit, without):
        assert torch.equal(model.to_tokens("the tower", prepend_bos=True), with_bos)
        assert torch.equal(model.to_tokens("the tower", prepend_bos=False), plain)


def test_several_texts_are_padded_on_the_right_and_the_padding_changes_nothing(model):
    rows = model.to_tokens(["the tower is in Paris", "the tower"])
    assert rows.shape == (2, 5)
    assert rows[1, 2:].tolist() == [2, 2, 2]
    torch.testing.assert_close(model(rows)[1, :2], model(model.to_tokens("the tower"))[0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("text", "message"), [
    ("the tower", r"'the tower' is not one token but 2: 'the', ' tower'\.$"),
    ("", r"'' is not one token but 0: nothing\.$"),
])  # fmt: skip
def test_a_target_that_is_not_one_token_names_its_pieces(model, text, message):
    with pytest.raises(UsageError, match=message):
        model.to_single_token(text)


@pytest.mark.real
def test_the_hint_of_a_leading_blank(smollm2):
    with pytest.raises(
        UsageError, match=r"'Lisbon' is not one token but 3: .* Most words begin with a blank: try ' Lisbon'"
    ):
        smollm2.to_single_token("Lisbon")
    with pytest.raises(UsageError, match=r"'ce'\.$"):  # no hint where a blank would not help
        smollm2.to_single_token("Dolmabahce")
    assert smollm2.to_str_tokens(torch.tensor([smollm2.to_single_token(" Paris")])) == [" Paris"]


@pytest.mark.parametrize("texts", ["", [], ["the", ""]])
def test_an_empty_text(model, texts):
    with pytest.raises(UsageError, match="The text is empty: give at least one token"):
        model.to_tokens(texts)


def test_without_a_tokenizer():
    with pytest.raises(UsageError, match=r"loaded without a tokenizer: use interp\.load\(hf_model, tokenizer=\.\.\.\)"):
        models.load("llama").to_tokens("the")


def test_a_tokenizer_without_bos_or_padding():
    tokenizer = models.tokenizer()
    tokenizer.bos_token = tokenizer.pad_token = None
    model = interp.load(models.build("llama"), tokenizer=tokenizer)
    with pytest.raises(UsageError, match="prepend_bos=True, but this tokenizer has no BOS token"):
        model.to_tokens("the", prepend_bos=True)
    with pytest.raises(UsageError, match="neither pad nor EOS token"):
        model.to_tokens(["the", "the tower"])


@pytest.mark.parametrize(("tokens", "text"), [
    (torch.ones(1, 3), r"Tokens must be a tensor of integer ids, not torch\.float32: use model\.to_tokens"),
    (torch.ones(1, 3, dtype=torch.bool), "not torch.bool"),
    ([1, 2], "not list"),
    ("the tower", "not str"),
    (torch.zeros(1, 0, dtype=torch.long), r"at least one token, not \(1, 0\)"),
    (torch.zeros(1, 1, 1, dtype=torch.long), r"not \(1, 1, 1\)"),
    (torch.zeros(1, 41, dtype=torch.long), "has 41 tokens, but llama object reads at most 40: shorten it"),
    (torch.tensor([[0, 64]]), r"ids must lie in 0\.\.63, but these run from 0 to 64"),
    (torch.tensor([[-1]]), "run from -1 to -1"),
])  # fmt: skip
def test_tokens_no_model_can_read(model, tokens, text):
    for read in (model, lambda ids: model.run_with_cache(ids, "hook_embed")):
        with pytest.raises(UsageError, match=text):
            read(tokens)


def test_a_single_row_and_small_integers_will_do(model):
    ids = models.tokens()
    assert torch.equal(model(ids[0].to(torch.uint8)), model(ids))
