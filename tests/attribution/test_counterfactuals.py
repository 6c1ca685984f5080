"""Counterfactuals built from a prompt: what differs, and what is refused."""

from __future__ import annotations

import pytest

from interp import tasks
from interp.attribution import contrast
from interp.attribution.counterfactuals import from_task, mean_embedding, paired, shuffled_names, swapped
from interp.errors import UsageError
from tests import models


@pytest.fixture(scope="module")
def model():
    return models.load("llama", text=True)


def test_a_swapped_word_differs_where_it_stands(model):
    prompt = "the tower is in Paris in Paris"
    result = swapped(model, prompt, " Paris", " London")
    assert result.differs == (4, 6) and result.texts[4] == (" Paris", " London")
    assert swapped(model, prompt, " Paris", " London", occurrence=-1).differs == (6,)
    assert swapped(model, prompt, " Paris", " London", occurrence=0).differs == (4,)
    assert "2 of 7 tokens differ: ' Paris' → ' London' at 4" in repr(result)
    assert result.contrast(model).labels[4] == " Paris|London"
    assert len(result.table().rows) == 2


def test_shuffled_names_are_exchanged_everywhere(model):
    result = shuffled_names(model, "the Paris is in London in Paris", [" Paris", " London", " b"])
    assert [second for _, second in result.texts] == ["the", " London", " is", " in", " Paris", " in", " London"]
    assert result.differs == (1, 4, 6)


def test_a_mean_embedding_stands_where_it_is_asked_for(model):
    result = mean_embedding(model, "the tower is in Paris", [1, -1])
    assert result.differs == (1, 4) and result.texts[4] == (" Paris", "mean embedding")
    assert "2 of 5 tokens differ" in repr(result) and len(result.table().rows) == 2
    assert result.contrast(model).error < 1e-4


REFUSED = {
    "no position": (lambda m: mean_embedding(m, "the tower", 5), "Position 5 is outside the prompt"),
    "no positions": (lambda m: mean_embedding(m, "the tower", []), "at least one position"),
    "absent": (lambda m: swapped(m, "the tower", " Paris", " London"), "' Paris' does not occur in the prompt"),
    "no such one": (
        lambda m: swapped(m, "the tower", " tower", " Paris", occurrence=1),
        "occurs 1 times in the prompt: there is no occurrence 1",
    ),
    "one name": (lambda m: shuffled_names(m, "the Paris", [" Paris", " London"]), "fewer than two occur"),
    "lengths": (
        lambda m: paired(m, "the tower is", "the tower"),
        r"clean prompt has 3 tokens and the counterfactual 2(.|\n)*the \|  tower \|  is\n(.|\n)*the \|  tower\n",
    ),
    "lengths of a contrast": (
        lambda m: contrast(m, m.to_tokens("the tower is"), m.to_tokens("the tower")),
        "clean prompt has 3 tokens and the counterfactual 2",
    ),
    "unpaired": (
        lambda m: contrast(m, models.tokens(2, 4), models.tokens(3, 4)),
        "2 clean prompts but 3 counterfactual ones",
    ),
    "memory": (
        lambda m: contrast(m, models.tokens(2, 4), models.tokens(2, 4), max_gigabytes=1e-9),
        "A contrast of 2 pairs of 4 tokens needs",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refusals(case, model):
    call, text = REFUSED[case]
    with pytest.raises(UsageError, match=text):
        call(model)


def test_a_pair_of_a_task_differs_where_the_task_says(model):
    task = tasks.induction(model, n=3, seed=0, length=6)
    result = from_task(model, task, 1)
    assert result.differs == tuple(task.differs[1].nonzero()[:, 0].tolist()) and result.differs
    assert result.contrast(model).tokens[0].tolist() == task.clean[1].tolist()
