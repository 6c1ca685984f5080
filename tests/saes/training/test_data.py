"""Where batches come from: each row once an epoch, resumable, and one clear sentence for what cannot be used."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from interp.errors import UsageError
from saes.config import Config
from saes.training import data
from saes.training.data import open_source

ROWS = torch.arange(50.0).unsqueeze(1) * torch.ones(50, 3)
SMALL = Config(width=8, k=2, batch_size=8, steps=20)


def numbers(batches: list[tuple[Tensor, Tensor]]) -> list[list[float]]:
    return [x[:, 0].tolist() for x, _ in batches]


class Store:
    """What the trainer uses of `interp.cache.Store`."""

    def __init__(self, count: int = 1, rows: int = 50) -> None:
        self.hooks = tuple(f"hook{i}" for i in range(count))
        self.rows = rows

    def __len__(self) -> int:
        return self.rows

    def batches(self, size: int, *, seed: int, hook: str, start: int) -> Iterator[Tensor]:
        order = torch.randperm(self.rows, generator=torch.Generator().manual_seed(seed))[start:]
        for part in order.split(size):
            yield (part + 100 * self.hooks.index(hook)).unsqueeze(1) * torch.ones(1, 3)


SOURCES: list[Any] = [ROWS, Store(), lambda: (ROWS[i : i + 8] for i in range(0, 48, 8)), list(ROWS[:48].split(8))]


@pytest.mark.parametrize("given", SOURCES)
def test_batches_can_start_anywhere(given: Any) -> None:
    """What comes from batch 7 on is the same whether or not 0 to 6 were asked for, across the end of an epoch."""
    whole = numbers(list(islice(open_source(SMALL, given).batches(0), 15)))
    assert numbers(list(islice(open_source(SMALL, given).batches(7), 8))) == whole[7:]


@pytest.mark.parametrize("given", SOURCES[:2])
def test_each_row_comes_once_an_epoch_in_an_order_of_the_seed(given: Any) -> None:
    epoch = 50 // 8
    result = numbers(list(islice(open_source(SMALL, given).batches(0), 2 * epoch)))
    for part in (result[:epoch], result[epoch:]):
        assert len({row for batch in part for row in batch}) == 8 * epoch
    assert result[:epoch] != result[epoch:]
    other = Config(width=8, k=2, batch_size=8, seed=1)
    assert numbers(list(islice(open_source(other, given).batches(0), epoch))) != result[:epoch]


def test_a_stream_loses_no_batch_to_the_first_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "SAMPLE", 32)
    source = open_source(SMALL, iter(ROWS.split(5)))
    first = numbers(source.recent(0))
    assert len(first) == 4 and numbers(source.recent(0)) == first
    result = numbers(list(islice(source.batches(0), 10)))
    assert result == [part[:, 0].tolist() for part in ROWS.split(5)]
    assert numbers(source.recent(10)) == result[-4:]


def test_a_stream_that_ends_says_when() -> None:
    batches = open_source(SMALL, iter(ROWS.split(25))).batches(0)
    assert len(list(islice(batches, 2))) == 2
    with pytest.raises(UsageError, match=r"ended after 2 of 20 batches: give more, or set steps=2"):
        next(batches)


def test_a_stream_cannot_go_back() -> None:
    source = open_source(SMALL, iter(ROWS.split(5)))
    list(islice(source.batches(0), 3))
    with pytest.raises(UsageError, match="past batch 1 already"):
        next(source.batches(1))


def test_stores_of_several_hooks_stay_aligned() -> None:
    pairs = open_source(Config(width=8, k=2, batch_size=8, variant="transcoder"), Store(2)).batches(0)
    x, y = next(pairs)
    assert torch.equal(x + 100, y)
    crossed = open_source(Config(width=8, k=2, batch_size=8, variant="crosscoder"), Store(3))
    x, y = next(crossed.batches(0))
    assert crossed.layers == 3 and x.shape == (8, 9) and y is x
    assert torch.equal(x[:, 3:6], x[:, :3] + 100)


@pytest.mark.parametrize(
    ("given", "variant", "says"),
    [
        (torch.zeros(0, 3), "autoencoder", "the tensor or store is empty"),
        (Store(rows=0), "autoencoder", "the tensor or store is empty"),
        (torch.zeros(4, 2, 3), "autoencoder", r"tensors \(n, d\); given was \(4, 2, 3\)"),
        (torch.zeros(4, 3), "crosscoder", r"tensors \(n, layer, d\); given was \(4, 3\)"),
        (torch.zeros(4, 3, dtype=torch.long), "autoencoder", "floating-point"),
        ((torch.zeros(4, 3), torch.zeros(5, 3)), "transcoder", "4 inputs and 5 outputs"),
        (Store(2), "autoencoder", "holds 2 hooks .hook0, hook1.; autoencoder training needs 1"),
        (Store(1), "transcoder", "needs 2"),
        ((torch.zeros(4, 3), torch.zeros(4, 3)), "autoencoder", '2 tensors in a tuple .* variant="transcoder"'),
        (torch.zeros(4, 3), "transcoder", "trained on pairs"),
        (SimpleNamespace(), "autoencoder", "batches of tensors, not SimpleNamespace"),
    ],
)
def test_what_cannot_be_trained_on_is_refused(given: Any, variant: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        open_source(Config(width=8, k=2, variant=variant), given)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ([torch.zeros(0, 3)], "A batch has 0 inputs"),
        ({"x": torch.zeros(4, 3)}, "each batch. must be a Tensor or ndarray, not str"),
        ([(torch.zeros(4, 3), torch.zeros(4, 3))], "2 tensors in a tuple"),
    ],
)
def test_batches_that_cannot_be_trained_on_are_refused(given: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        open_source(SMALL, given).recent(0)


def test_batches_may_come_in_tuples_and_from_a_graph() -> None:
    """As a DataLoader of a TensorDataset gives them, and as a model does that was not run under no_grad."""
    x, y = open_source(SMALL, [(ROWS.clone().requires_grad_(),)]).recent(0)[0]
    assert torch.equal(x, ROWS) and not x.requires_grad and not y.requires_grad


def test_an_empty_stream_is_refused() -> None:
    with pytest.raises(UsageError, match="the iterable is empty"):
        open_source(SMALL, iter(())).recent(0)
