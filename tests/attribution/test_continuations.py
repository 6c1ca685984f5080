"""Answers of several tokens: each token where it is predicted, and sums that are conserved."""

from __future__ import annotations

import pytest
import torch

from interp import attribution
from interp.errors import UsageError
from tests import models


@pytest.mark.parametrize("what", ["direct", "sources"])
def test_the_sum_is_that_of_the_logits_where_each_token_is_predicted(what):
    model, answer = models.load("gpt2", dtype=torch.float64), [5, 9, 2]
    prompt = models.tokens(1, 4)
    tokens, targets = attribution.continuation(model, prompt, answer)
    assert tokens[0].tolist() == [*prompt[0].tolist(), 5, 9]
    frozen = attribution.freeze(model, tokens)
    result = attribution.summed([getattr(attribution, what)(frozen, target) for target in targets])
    expected = sum(float(model(tokens[:, : 4 + i])[0, -1, token]) for i, token in enumerate(answer))
    assert result.value == pytest.approx(expected, abs=1e-9) and result.total == pytest.approx(expected, abs=1e-9)
    assert result.array.sum() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("kind", ["frozen", "contrast"])
def test_edges_of_several_tokens_are_the_sum_of_each_tokens(kind):
    """The flow into the target sums to the logits of all tokens, and each component still conserves its flow."""
    model, answer = models.load("llama", dtype=torch.float64), [5, 9, 2]
    tokens, targets = attribution.continuation(model, models.tokens(1, 4), answer)
    linear = attribution.freeze(model, tokens)
    if kind == "contrast":
        linear = attribution.contrast(model, tokens, models.tokens(1, 6, seed=3))
    single = [attribution.edges(linear, target) for target in targets]
    result = attribution.summed(single)
    assert result.value == pytest.approx(sum(one.value for one in single), abs=1e-9)
    assert result.flow == pytest.approx(sum(one.flow for one in single), abs=1e-9)
    assert result.flow[-1].sum() + result.own[-1] == pytest.approx(result.value, abs=1e-9)
    assert result.readers[-1] == result.target == " + ".join(one.target for one in single)
    assert result.labels[-1].endswith(result.target)


def test_one_token_is_the_plain_logit_and_text_is_split():
    model = models.load("llama", text=True)
    tokens, (target,) = attribution.continuation(model, "the tower is", " Paris")
    assert torch.equal(tokens, model.to_tokens("the tower is"))
    assert target == attribution.logit(model, " Paris", 2)
    assert len(attribution.continuation(model, "the tower is", " Paris London")[1]) == 2


def test_what_does_not_fit_is_refused():
    model = models.load("llama", text=True)
    frozen = attribution.freeze(model, model.to_tokens("the tower"))
    target = attribution.logit(model, 3)
    with pytest.raises(UsageError, match="of one kind"):
        attribution.summed([attribution.direct(frozen, target), attribution.sources(frozen, target)])
    with pytest.raises(UsageError, match="at least one"):
        attribution.summed([])
    with pytest.raises(UsageError, match="answer is empty"):
        attribution.continuation(model, "the tower", [])
    with pytest.raises(UsageError, match="one prompt"):
        attribution.continuation(model, models.tokens(2, 3), [3])
