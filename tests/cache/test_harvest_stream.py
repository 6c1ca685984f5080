"""A stream gives every row once, mixed by its seed, computed only as far as it is needed."""

from __future__ import annotations

import pytest
import torch

from interp import cache
from interp.cache.stream import AT_ONCE
from interp.errors import UsageError
from tests import models

HOOK = "blocks.1.hook_resid_post"
CONFIG = cache.Config(hooks=(HOOK,), context=10, batch_size=16)
IDS = models.tokens(22, 10)
RAGGED = [row[: 1 + i % 10].tolist() for i, row in enumerate(IDS)]


@pytest.fixture(scope="module")
def model():
    return models.load("llama", text=True)


def streamed(model, source=IDS, **options):
    return list(
        cache.stream(model, source, HOOK, **{"seed": 0, "buffer": 50, "batch_size": 16, "context": 10} | options)
    )


def in_order(rows):
    return rows[rows[:, 0].argsort()]


@pytest.mark.parametrize(("buffer", "batch_size"), [(50, 16), (50, 50), (7, 3), (1000, 16), (1, 1)])
def test_a_stream_gives_each_row_once(buffer, batch_size, model, tmp_path):
    store = cache.harvest(model, RAGGED, CONFIG, tmp_path)
    stored = store.tensor(HOOK, 0, len(store))
    batches = streamed(model, RAGGED, buffer=buffer, batch_size=batch_size)
    assert {len(batch) for batch in batches[:-1]} <= {batch_size} and 0 < len(batches[-1]) <= batch_size
    given = torch.cat(batches)
    assert torch.equal(in_order(given), in_order(stored))
    assert buffer == 1 or not torch.equal(given, stored)


def test_a_stream_depends_on_its_seed_alone(model):
    first, again, other = (torch.cat(streamed(model, seed=seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_batches_stay_as_they_were_given(model):
    pairs = [
        (batch, batch.clone()) for batch in cache.stream(model, IDS, HOOK, seed=0, buffer=40, batch_size=8, context=10)
    ]
    assert all(torch.equal(batch, copy) for batch, copy in pairs)


def test_an_endless_stream_is_computed_on_demand(model):
    read = []

    def endless():
        while True:
            read.append(1)
            yield IDS[len(read) % len(IDS)]

    batches = cache.stream(model, endless(), HOOK, seed=0, buffer=100, batch_size=50, context=10)
    for _ in range(5):
        next(batches)
    # 250 rows yielded and 100 buffered, 9 in a context; a forward pass takes 16 contexts at once.
    assert len(read) <= 1 + (250 + 100) // 9 + 2 * AT_ONCE


def test_a_stream_that_cannot_be_is_refused_at_once(model):
    with pytest.raises(UsageError, match="batch_size=60 must be between 1 and the buffer of 50"):
        cache.stream(model, IDS, HOOK, seed=0, buffer=50, batch_size=60)
    with pytest.raises(UsageError, match="no hook"):
        cache.stream(model, IDS, "blocks.1.hook_rsid_post", seed=0)
