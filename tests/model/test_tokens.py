"""Text to tokens and back, and the errors for input that no model can read."""

from __future__ import annotations

import numpy as np
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


def test_bos_follows_the_tokenizer_unless_set():
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
    ({"the": "tower"}, "not dict"),
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


@pytest.mark.parametrize("text", [None, 3, 1.5, ["the", None], object()])
def test_what_is_not_text_is_one_sentence(model, text):
    with pytest.raises(UsageError, match=r"^A text is a string, or a list of several, not .*\.$"):
        model.to_tokens(text)


@pytest.mark.parametrize("tokens", [None, 3, 1.5, torch.ones(3), [1, 2]])
def test_what_is_not_a_row_of_ids_is_one_sentence(model, tokens):
    with pytest.raises(UsageError, match=r"^Tokens must be a tensor of integer ids, not .*\.$"):
        model(tokens)
    with pytest.raises(UsageError, match=r"^Give a text, or one row of token ids in a tensor, not .*\.$"):
        model.to_str_tokens(tokens)


def test_a_text_is_run_as_its_tokens(model):
    assert torch.equal(model("the tower is"), model(model.to_tokens("the tower is")))
    assert model(["the tower is", "the tower"]).shape == (2, 3, 64)


def test_ids_beyond_32_bits_are_not_wrapped(model):
    for ids in (torch.tensor([[2**32 + 5]]), torch.tensor([[-1]])):
        with pytest.raises(UsageError, match=r"Token ids must lie in 0\.\.63"):
            model(ids)
        with pytest.raises(UsageError, match=r"Token ids must lie in 0\.\.63"):
            model.to_str_tokens(ids)


def test_a_token_by_text_or_id(model):
    assert model.token_id(" tower") == model.to_single_token(" tower")
    assert model.token_id(5) == model.token_id(torch.tensor(5)) == model.token_id(np.int64(5)) == 5
    for token in (5.0, True, None, torch.tensor(5.0), torch.tensor([1, 2]), [1]):
        with pytest.raises(UsageError, match="A token is given by its text or its id"):
            model.token_id(token)
    for token in (64, -1, 2**32 + 5):
        with pytest.raises(UsageError, match=f"Token id {token} does not exist: ids run from 0 to 63"):
            model.token_id(token)


def test_a_text_that_the_vocabulary_lacks_is_not_taken_for_the_unknown_token(model):
    with pytest.raises(UsageError, match="'zebra' is not in the vocabulary: it becomes <unk>"):
        model.to_single_token("zebra")


def test_labels_are_texts_or_numbers(model):
    assert model.labels(model.to_tokens("the tower")) == ("the", " tower")
    assert models.load("llama").labels(torch.tensor([[3, 4]])) == ("3", "4")


@pytest.mark.parametrize("mask", [[[1, 1]], 3, "all"])
def test_a_mask_is_a_tensor(model, mask):
    with pytest.raises(UsageError, match="The attention mask must be a tensor"):
        model(torch.tensor([[1, 2]]), mask)


@pytest.mark.parametrize("thing", ["gpt2", 3, object()])
def test_a_tokenizer_is_an_object(thing):
    with pytest.raises(UsageError, match="tokenizer= takes a transformers tokenizer"):
        interp.load(models.build("llama"), tokenizer=thing)


@pytest.mark.real
def test_smollm2_sets_digits_apart_first(smollm2):
    """The rule its GGUF names: every digit alone, then GPT-2's; a blank line before "1." is then one token."""
    assert smollm2.to_str_tokens("1234 56") == ["1", "2", "3", "4", " ", "5", "6"]
    assert smollm2.to_str_tokens("end\n\n1. a") == ["end", "\n\n", "1", ".", " a"]
    assert smollm2.to_str_tokens("a  1") == ["a", "  ", "1"]
