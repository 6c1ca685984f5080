"""Activations in any form are read alike: the same rows, in the order asked for, with what is known of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from interp import cache
from interp.cache.source import open_source
from interp.cache.tensors import all_finite, check_finite
from interp.errors import NotFiniteError, UsageError
from tests import models

HOOK, OTHER = "blocks.1.hook_resid_post", "blocks.0.hook_mlp_out"
X = torch.arange(40.0).reshape(20, 2)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    config = cache.Config(hooks=(HOOK, OTHER), context=10, batch_size=4)
    return cache.harvest(models.load("llama"), models.tokens(9, 10), config, tmp_path_factory.mktemp("store"))


def joined(batches):
    return [torch.cat(part) for part in zip(*batches, strict=True)]


@pytest.mark.parametrize("form", [X, X.numpy(), list(X.split(7)), lambda: X.split(7), [(part,) for part in X.split(3)]])
def test_every_form_gives_the_same_rows_again_and_again(form):
    source = open_source(form)
    assert source.again and source.store is None
    for _ in range(2):
        assert torch.equal(joined(source.batches(6))[0], X)


def test_an_iterator_is_read_once():
    source = open_source(iter(X.split(7)))
    assert not source.again and source.rows is None
    assert len(list(source.batches(6))) == 3
    assert not list(source.batches(6))


def test_a_pair_and_a_store_stay_aligned_in_every_order(store):
    pair = open_source((X, X + 100))
    for seed in (None, 3):
        x, y = joined(pair.batches(6, seed=seed))
        assert torch.equal(x + 100, y) and sorted(x[:, 0].tolist()) == X[:, 0].tolist()
        late = joined(pair.batches(6, seed=seed, start=5))[0]
        assert torch.equal(late, x[5:])
    source = open_source(store)
    assert source.hooks == (HOOK, OTHER) and source.rows == len(store) and source.store is store
    swapped = open_source(store, (OTHER, HOOK))
    a, b = joined(source.batches(8, seed=1)), joined(swapped.batches(8, seed=1))
    assert torch.equal(a[0], b[1]) and torch.equal(a[1], b[0]) and not torch.equal(a[0], a[1])


def test_a_selection_is_the_store_with_other_hooks(store):
    chosen = store.select((OTHER,))
    assert chosen.hooks == (OTHER,) and torch.equal(
        chosen.mean, torch.tensor(store.statistics(OTHER).mean, dtype=torch.float64)
    )
    assert next(chosen.batches(4, seed=0)).equal(next(store.batches(4, seed=0, hook=OTHER)))
    assert open_source(chosen).identity()["hooks"] == [OTHER]
    assert open_source(chosen).identity()["sha256"] == open_source(store).identity()["sha256"]
    with pytest.raises(UsageError, match=f'no hook "{HOOK}x"; the nearest is "{HOOK}"'):
        store.select((f"{HOOK}x",))


def test_what_holds_no_activations_is_refused():
    with pytest.raises(UsageError, match="batches of tensors, not float"):
        open_source(1.5)
    with pytest.raises(UsageError, match="the callable gave int"):
        open_source(lambda: 3).batches(4)
    with pytest.raises(UsageError, match="20 inputs and 4 outputs"):
        open_source((X, X[:4]))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_not_finite_are_named_by_row(value):
    x = X.clone()
    x[3, 1] = x[17, 0] = value
    with pytest.raises(NotFiniteError, match=r"The rows hold NaN or infinite values in 2 of 20 rows \(row 103, 117\)"):
        check_finite(x, "rows", first=100)


def test_large_values_whose_sum_overflows_are_finite():
    assert all_finite(torch.full((4, 4), 3e38)) and all_finite(torch.full((9, 9), 6e4, dtype=torch.float16))
    assert not all_finite(torch.tensor(np.nan))
