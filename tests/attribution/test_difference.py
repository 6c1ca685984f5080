"""Differences of attributions and trees sum to the difference of what they explain; sets of tokens are their mean."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from interp import results
from interp.attribution import direct, direction, edges, freeze, logit, logit_difference, orders, path_tree, sources
from interp.attribution.results import Attribution, Direct, Edges
from interp.errors import UsageError
from tests import models


@pytest.fixture(scope="module")
def model():
    return models.load("gpt2", torch.float64)


@pytest.fixture(scope="module")
def pair(model):
    """Two frozen prompts, the second one longer."""
    return freeze(model, models.tokens(1, 5, seed=1)), freeze(model, models.tokens(1, 7, seed=2))


@pytest.mark.parametrize("measure", [direct, sources, orders, edges])
def test_a_difference_sums_to_the_difference(model, pair, measure):
    target = logit_difference(model, 3, 5)
    first, second = (measure(frozen, target) for frozen in pair)
    result = first - second
    assert result.total == pytest.approx(first.value - second.value, abs=1e-12)
    assert result.value == first.value - second.value
    assert result.error < 1e-10
    one, other = (dict(zip(each.labels, each.array.tolist(), strict=True)) for each in (first, second))
    for label, value in zip(result.labels, result.array.tolist(), strict=True):
        assert value == pytest.approx(one.get(label, 0) - other.get(label, 0), abs=1e-14)
    assert set(result.labels) == set(first.labels) | set(second.labels)
    assert (first - first).array.any() == 0
    assert "first less second" in result.target


def test_what_has_the_same_labels_stays_what_it_is(model, pair):
    target = logit(model, 3)
    assert isinstance(direct(pair[0], target) - direct(pair[1], target), Direct)
    flow = edges(pair[0], target) - edges(pair[1], target)
    assert isinstance(flow, Edges)
    # The flow into a component less what it adds itself still leaves it again.
    inside = flow.readers[:-1]
    out = dict(zip(flow.writers, flow.flow.sum(0), strict=True))
    for i, reader in enumerate(inside):
        assert out[reader] == pytest.approx(flow.flow[i].sum() + flow.own[i], abs=1e-12)
    assert type(sources(pair[0], target) - sources(pair[1], target)) is Attribution


def test_what_cannot_be_subtracted_is_refused(model, pair):
    target = logit(model, 3)
    with pytest.raises(UsageError, match="can be subtracted from another one only, not a Sources"):
        direct(pair[0], target) - sources(pair[0], target)
    with pytest.raises(UsageError, match="can be subtracted from another one only, not a float"):
        direct(pair[0], target) - 1.0  # type: ignore[operator]
    with pytest.raises(UsageError, match="in logits and residual units"):
        direct(pair[0], target) - direct(pair[0], direction(model, torch.ones(24), 2))


def test_trees_are_compared_path_by_path(model, tmp_path):
    """Fully grown, two trees hold every path, and the differences explain all; barely grown, what is missing is NaN."""
    target = logit_difference(model, 3, 5)
    inputs = [freeze(model, models.tokens(1, 2, seed=seed)) for seed in (1, 2)]
    whole = [path_tree(frozen, target, 10**6) for frozen in inputs]
    result = whole[0] - whole[1]
    assert result.listed == pytest.approx(result.total, abs=1e-9)
    assert result.total == pytest.approx(whole[0].total - whole[1].total)
    assert np.isfinite(result.array).all()
    small = whole[0] - path_tree(inputs[1], target, 20)
    unknown = np.isnan(small.second)
    assert unknown.any()
    assert np.isnan(small.array[unknown]).all()
    known = {path: value for path, value in zip(result.paths, result.array, strict=True)}
    for path, value in zip(small.paths, small.array, strict=True):
        assert np.isnan(value) or value == pytest.approx(known[path], abs=1e-12)
    rows = small.table(3).rows
    assert len(rows) == 6
    assert [row[3] is None for row in rows] == [False] * 3 + [True] * 3
    assert results.load(small.save(tmp_path)) == small
    with pytest.raises(UsageError, match="other components, units or nodes"):
        whole[0] - path_tree(inputs[0], target, 5, nodes="component")


def test_a_set_of_tokens_is_the_mean_of_its_logits(model, pair):
    single = [direct(pair[0], logit(model, token)).array for token in (3, 4, 5)]
    both = logit_difference(model, [3, 4], [5])
    result = direct(pair[0], both)
    np.testing.assert_allclose(result.array, (single[0] + single[1]) / 2 - single[2], atol=1e-12)
    logits = model(pair[0].tokens[None])[0, -1]
    assert result.value == pytest.approx(float((logits[3] + logits[4]) / 2 - logits[5]))
    assert both.name == "logit of mean of token 3, token 4 − token 5"
    assert logit_difference(model, [3], 5).name == logit_difference(model, 3, 5).name
    assert logit(model, list(range(5))).name == "logit of mean of token 0, token 1, token 2, 2 more"


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda m: logit(m, []), "must hold different tokens, at least one"),
        (lambda m: logit(m, [3, 3]), "must hold different tokens"),
        (lambda m: logit_difference(m, [3, 4], [4]), "are the same: token 4"),
        (lambda m: logit(m, 3.0), "by its text or its id, not by float"),
        (lambda m: logit(m, None), "by its text or its id, not by NoneType"),
        (lambda m: logit(m, 3, 1.5), "A position must be a whole number, not 1.5"),
        (lambda m: direction(m, None, 0), "must be a tensor of numbers, not NoneType"),
        (lambda m: direction(m, torch.ones(24), None), "A layer must be a whole number, not None"),
    ],
)
def test_refused_targets(model, call, text):
    with pytest.raises(UsageError, match=text):
        call(model)


def test_a_text_outside_the_vocabulary_cannot_be_a_target():
    model = models.load("gpt2", text=True)
    with pytest.raises(UsageError, match="'zebra' is not in the vocabulary"):
        logit(model, "zebra")
    assert logit(model, " Paris").name == "logit of ' Paris'"


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda f, t, tree: direct(f, None), "A target is made by logit, .* not NoneType"),
        (lambda f, t, tree: path_tree(f, t, 5.5), "max_expansions must be a whole number or None, not 5.5"),
        (lambda f, t, tree: path_tree(f, t, top="x"), 'top must be a whole number, not "x"'),
        (lambda f, t, tree: orders(f, t, max_order=1.5), "max_order must be a whole number, not 1.5"),
        (lambda f, t, tree: tree.paths(2.5), "k must be a whole number, not 2.5"),
        (lambda f, t, tree: tree.grouped("x"), 'by must be "token" or "component", not "x"'),
        (lambda f, t, tree: direct(f, t).top(-1), "k=-1, but it must be at least 0"),
        (lambda f, t, tree: direct(f, t).top(None), "k must be a whole number, not None"),
    ],
)
def test_arguments_of_wrong_kinds_are_one_sentence(model, pair, call, text):
    target = logit(model, 3)
    with pytest.raises(UsageError, match=text):
        call(pair[0], target, path_tree(pair[0], target, 5))
