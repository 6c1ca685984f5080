"""Attributions over prompts: means of single ones, sums conserved, and a null whose interval holds zero."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from interp import attribution, edit, results, tasks
from interp.attribution import averages
from interp.errors import UsageError
from tests import models

PROMPTS = models.tokens(6, 7)


@pytest.fixture(scope="module")
def model():
    return models.load("llama", dtype=torch.float64, text=True)


@pytest.mark.parametrize("what", ["direct", "sources", "orders", "edges"])
def test_a_mean_is_that_of_single_prompts_and_sums_to_the_mean_value(model, what, tmp_path):
    result = attribution.over(model, PROMPTS, what, (3, 7))
    target, attribute = attribution.logit_difference(model, 3, 7), getattr(attribution, what)
    single = np.stack([attribute(attribution.freeze(model, row), target).array.reshape(-1) for row in PROMPTS])
    if single.shape[1] == len(result.labels):
        assert np.allclose(result.mean, single.mean(0)) and np.allclose(result.deviation, single.std(0, ddof=1))
        assert np.allclose(result.arrays, single, atol=1e-5)
    logits = model(PROMPTS)[:, -1]
    assert result.observed == pytest.approx((logits[:, 3] - logits[:, 7]).numpy())
    if what != "edges":  # where a writer's flow to all readers is counted once for each
        assert result.total == pytest.approx(result.observed.mean(), abs=1e-9)
    assert results.load(result.save(tmp_path)) == result


def test_intervals_are_students_and_spread_is_that_of_prompts(model):
    averaged = attribution.over(model, PROMPTS, target=(3, 7))
    label = averaged.top(1)[0][0]
    column = averaged.arrays[:, averaged.labels.index(label)]
    low, high = (bound[averaged.labels.index(label)] for bound in averaged.interval)
    assert low < column.mean() < high
    assert averaged.spread(label)[0] == pytest.approx(column.min()) and averaged.spread(label)[4] == pytest.approx(
        column.max()
    )
    one = attribution.over(model, PROMPTS[:1], target=(3, 7))
    assert np.isnan(one.deviation).all() and np.isnan(one.interval[0]).all()
    assert averaged.figure().table.rows and len(averaged.table(5).rows) == 5


def test_memory_is_bounded_by_leaving_single_prompts_out(model, monkeypatch):
    whole = attribution.over(model, PROMPTS, target=3)
    monkeypatch.setattr(averages, "LARGEST", 2 * len(whole.labels))
    result = attribution.over(model, PROMPTS, target=3)
    assert np.array_equal(result.mean, whole.mean) and result.arrays.shape == (0, len(whole.labels))
    with pytest.raises(UsageError, match="too many to store"):
        result.spread(result.labels[0])


def test_a_task_has_its_own_answers_and_prompts_their_own_likeliest(model):
    task = tasks.induction(model, n=4, seed=0)
    result = attribution.over(model, task)
    logits = model(task.clean)[torch.arange(4), task.end]
    right, wrong = (logits.gather(1, answers.reshape(4, -1)).mean(1) for answers in (task.right, task.wrong))
    assert result.observed == pytest.approx((right - wrong).numpy())
    likeliest = attribution.over(model, ["the tower is", "a b"])
    assert likeliest.observed == pytest.approx([float(model(text)[0, -1].max()) for text in ("the tower is", "a b")])


def test_the_difference_of_two_random_targets_has_no_mean_component(model):
    """The null: the sign of the target is drawn for each prompt, so that the average vanishes."""
    signs = np.random.default_rng(0).choice([-1, 1], 40)
    single = attribution.over(model, models.tokens(40, 5, seed=3), target=(3, 7))
    values = single.arrays * signs[:, None]
    half = 2.02 * values.std(0, ddof=1) / np.sqrt(40)
    inside = (np.abs(values.mean(0)) <= half)[values.std(0) > 0]
    assert inside.mean() > 0.6  # components are few and correlated; without random signs most are outside
    low, high = single.interval
    assert ((low > 0) | (high < 0)).mean() > 1 - inside.mean()


@pytest.mark.parametrize("what", ["direct", "sources", "orders", "edges"])
def test_pairs_are_contrasted_and_their_means_sum_to_the_mean_difference(model, what):
    others = models.tokens(6, 7, seed=4)
    result = attribution.over(model, PROMPTS, what, (3, 7), counterfactual=others)
    clean, other = (model(ids)[:, -1] for ids in (PROMPTS, others))
    difference = (clean[:, 3] - clean[:, 7] - other[:, 3] + other[:, 7]).numpy()
    assert result.observed == pytest.approx(difference)
    if what != "edges":
        assert result.total == pytest.approx(difference.mean(), abs=1e-9)
    same = attribution.over(model, PROMPTS[:2], what, (3, 7), counterfactual=PROMPTS[:2])
    assert not same.mean.any()  # the null: no difference, nothing attributed


def test_a_tasks_own_counterfactuals(model):
    with pytest.raises(UsageError, match="counterfactual=True takes a task's own"):
        attribution.over(model, PROMPTS, counterfactual=True)
    with pytest.raises(UsageError, match="a counterfactual of its length"):
        attribution.over(model, PROMPTS, counterfactual=models.tokens(6, 5))
    task = tasks.induction(model, n=3, seed=0)
    result = attribution.over(model, task, counterfactual=True)
    assert result.total == pytest.approx(result.observed.mean(), abs=1e-9)


def test_an_edited_model_is_averaged_too(model):
    edited = model.edited(edit.zero("blocks.1.hook_mlp_out"))
    result = attribution.over(edited, PROMPTS, target=3)
    assert result.mean[result.labels.index("MLP1")] == 0 and result.observed == pytest.approx(
        edited(PROMPTS)[:, -1, 3].numpy()
    )


def test_wrong_requests(model):
    with pytest.raises(UsageError, match='nearest is "direct"'):
        attribution.over(model, PROMPTS, "direkt")
    with pytest.raises(UsageError, match="one length"):
        attribution.over(model, ["a b", "the tower is"], "sources")
    with pytest.raises(UsageError, match="at least one prompt"):
        attribution.over(model, [])
    with pytest.raises(UsageError, match="not str"):
        attribution.over(model, "a b")
