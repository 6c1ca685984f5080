"""Tasks: equal lengths, answers that differ, splits without a template in common, and pairs of the user's own."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from interp import tasks
from interp.errors import DamagedFileError, MissingInputError, UsageError
from tests import models
from tests.tasks import vocabulary


@pytest.fixture(scope="module")
def model():
    return vocabulary.model()


@pytest.mark.parametrize("name", tasks.names())
def test_every_task_has_pairs_of_one_length_that_differ(model, name):
    task = tasks.make(name, model, n=12, seed=3)
    assert len(task) == 12 and task.clean.shape == task.counterfactual.shape
    assert task.differs.any(1).all()
    assert torch.equal(task.end, torch.full((12,), task.clean.shape[1] - 1))
    right, wrong = (x.reshape(12, -1) for x in (task.right, task.wrong))
    for one, other in zip(right.tolist(), wrong.tolist(), strict=True):
        assert not {i for i in one if i >= 0} & {i for i in other if i >= 0}
    assert len({tuple(row) for row in torch.cat([task.clean, task.counterfactual], 1).tolist()}) == 12
    again, another = tasks.make(name, model, n=12, seed=3), tasks.make(name, model, n=12, seed=4)
    assert torch.equal(task.clean, again.clean) and not torch.equal(task.clean, another.clean)


def test_the_counterfactuals_of_ioi_differ_where_they_say(model):
    for kind, places in {
        "flip": {"S2"},
        "third": {"S2"},
        "swap": {"IO", "S1", "S2"},
        "new": {"IO", "S1", "S2"},
    }.items():
        task = tasks.ioi(model, n=8, seed=0, counterfactual=kind)
        expected = torch.zeros_like(task.differs)
        for place in places:
            expected[torch.arange(8), task.positions[place]] = True
        assert torch.equal(task.differs, expected), kind
    flip = tasks.ioi(model, n=8, seed=0)
    rows = torch.arange(8)
    assert torch.equal(flip.counterfactual[rows, flip.positions["S2"]], flip.clean[rows, flip.positions["IO"]])
    assert model.to_str_tokens(flip.right[:1]) == model.to_str_tokens(flip.clean[0, flip.positions["IO"][0]])


def test_digits_that_stand_alone_make_greater_than_a_question_of_the_next_digit(model):
    task = tasks.greater_than(model, n=10, seed=0)
    texts = [model.to_str_tokens(row) for row in task.clean]
    for row, right, wrong in zip(texts, task.right, task.wrong, strict=True):
        year = int("".join(token for token in row if token.isdigit())[2])
        digits = [{int(t) for t in model.to_str_tokens(ids[ids >= 0])} for ids in (right, wrong)]
        assert min(digits[0]) > year > max(digits[1], default=-1)


def test_induction_exchanges_the_keys_before_the_values():
    bare = models.load("llama")
    task = tasks.induction(bare, n=20, seed=1)
    rows = torch.arange(20)
    key, value, other = (task.positions[name] for name in ("key", "value", "other key"))
    asked = task.clean[rows, task.end]
    assert torch.equal(task.clean[rows, key], asked) and torch.equal(task.counterfactual[rows, other], asked)
    assert torch.equal(task.clean[rows, value], task.right)
    assert torch.equal(task.counterfactual[rows, other + 1], task.wrong)
    assert (task.differs.sum(1) == 2).all()
    query = tasks.induction(bare, n=20, seed=1, counterfactual="query")
    assert (query.differs.sum(1) == 1).all() and query.differs[rows, query.end].all()
    with pytest.raises(UsageError, match="tokenizer"):
        tasks.ioi(bare, n=4)


def test_a_split_shares_no_template_and_loses_no_pair(model):
    task = tasks.ioi(model, n=40, seed=0)
    first, second = task.split(seed=2)
    assert not set(first.templates) & set(second.templates)
    assert len(first) + len(second) == 40 and abs(len(first) - 20) <= 4
    assert {*first.labels, *second.labels} == {*task.labels}
    one, other = task.split(0.25, by="pair")
    assert (len(one), len(other)) == (10, 30)
    with pytest.raises(UsageError, match="cannot be split"):
        task[0].split()


def test_slices_keep_pairs_whole(model):
    task = tasks.key_value(model, n=6, seed=0)
    for part in (task[2:5], task[[2, 3, 4]], task[torch.tensor([2, 3, 4])]):
        assert torch.equal(part.clean, task.clean[2:5]) and part.labels == task.labels[2:5]
    assert len(task[-1]) == 1 and [len(part) for part in task.batches(4)] == [4, 2]
    with pytest.raises(IndexError):
        task[6]


def test_the_measure_is_the_log_odds_of_sets():
    logits = torch.randn(2, 3, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    right, wrong = torch.tensor([[0, 1], [2, -1]]), torch.tensor([[3, -1], [4, 5]])
    p = logits[:, -1].softmax(-1)
    expected = torch.stack([(p[0, 0] + p[0, 1]) / p[0, 3], p[1, 2] / (p[1, 4] + p[1, 5])]).log()
    assert torch.allclose(tasks.log_odds(logits[:, -1], right, wrong), expected, atol=1e-12)  # rounding of float64
    single = tasks.log_odds(logits[:, -1], torch.tensor([0, 1]), torch.tensor([2, 3]))
    assert torch.equal(single, torch.stack([logits[0, -1, 0] - logits[0, -1, 2], logits[1, -1, 1] - logits[1, -1, 3]]))


def test_a_random_model_cannot_do_a_task_and_a_real_one_can(model, smollm2):
    chance = tasks.ioi(model, n=40, seed=0).score(model)
    assert not chance.able and "cannot do" in chance.summary()
    real = tasks.ioi(smollm2, n=8, seed=0).score(smollm2)
    assert real.able and real.mean > 2 and real.accuracy_interval[0] < 1
    assert real.counterfactual.mean() < 0


def test_own_pairs_from_csv_and_jsonl(tmp_path, model):
    csv = tmp_path / "mine.csv"
    csv.write_text(
        "clean,counterfactual,right,wrong,template\n"
        '"The capital of France is"," The capital of Italy is"," Paris| Lisbon"," Rome",a\n'.replace('" The', '"The')
        + "The old city of France is,The old city of Italy is, Paris, Rome,b\n"
    )
    pairs = tasks.read(csv)
    task = pairs.encode(model)
    assert len(task) == 2 and task.right.shape == (2, 2) and task.templates == ("a", "b")
    assert task.end.tolist() == [4, 5] and task.clean.shape == (2, 6)
    assert torch.equal(tasks.read(csv, model).clean, task.clean)
    assert task[0].clean.shape == (1, 5)  # the filling of the shorter pair goes with the longer one
    lines = [{"clean": "The city of France", "counterfactual": "The city of Italy", "right": [" is"], "wrong": " was"}]
    jsonl = tmp_path / "mine.jsonl"
    jsonl.write_text("\n".join(map(json.dumps, lines)))
    assert len(tasks.read(jsonl, model)) == 1
    score = task.score(model)
    assert np.isfinite(score.clean).all()
    assert tasks.TaskScore.load(score.save(tmp_path / "score")) == score


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("clean,counterfactual,right\na,b,c\n", DamagedFileError, "no column wrong"),
        ("clean,counterfactual,right,wrong\nThe city,,a,b\n", DamagedFileError, 'Line 2 .* no text under "counterfac'),
        ("clean,counterfactual,right,wrong\n", DamagedFileError, "no pairs"),
        ("clean,counterfactual,right,wrong\nThe city of,The city, is, was\n", UsageError, "Pair 1 .* 3 tokens.* 2"),
        ("clean,counterfactual,right,wrong\nThe city,The city, is, was\n", UsageError, "Pair 1 .* same tokens"),
        ("clean,counterfactual,right,wrong\nThe city,The old, is, is\n", UsageError, "Pair 1"),
    ],
)
def test_bad_pairs_are_one_sentence(tmp_path, model, text, kind, message):
    file = tmp_path / "bad.csv"
    file.write_text(text)
    with pytest.raises(kind, match=message):
        tasks.read(file, model)


def test_bad_requests_are_one_sentence(tmp_path, model):
    with pytest.raises(UsageError, match="nearest"):
        tasks.make("ioj", model)
    with pytest.raises(UsageError, match="does not take"):
        tasks.make("key_value", model, n=2, colour="red")
    with pytest.raises(UsageError, match='nearest is "third"'):
        tasks.ioi(model, counterfactual="thrid")
    with pytest.raises(UsageError, match=r"only .* distinct pairs"):
        tasks.successor(model, n=300)
    with pytest.raises(MissingInputError, match="cannot be read"):
        tasks.read(tmp_path / "none.csv")
    with pytest.raises(UsageError, match=r"\.csv or \.jsonl"):
        tasks.read(tmp_path / "pairs.txt")
