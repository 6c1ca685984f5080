"""Pieces of work side by side: in order, each on one thread, and afterwards as many threads as before."""

from __future__ import annotations

import threading

import pytest
import torch

from interp.threads import on_a_thread_each
from tests.limits import SECONDS


@pytest.fixture(params=[1, 2])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def test_results_are_in_order_and_each_piece_has_one_thread(threads):
    met = threading.Barrier(threads, timeout=SECONDS)  # passed only if that many are at work at a time

    def work(item):
        met.wait()
        return item, torch.get_num_threads()

    assert on_a_thread_each(work, range(4)) == [(item, 1) for item in range(4)]
    assert torch.get_num_threads() == threads


def test_an_error_is_passed_on_and_the_threads_come_back(threads):
    def work(item):
        raise ValueError(f"item {item}")

    with pytest.raises(ValueError, match="item 0"):
        on_a_thread_each(work, [0])
    assert torch.get_num_threads() == threads


def test_results_do_not_depend_on_the_number_of_threads():
    rows = [torch.randn(300, 200, generator=torch.Generator().manual_seed(i)) for i in range(3)]
    before, result = torch.get_num_threads(), []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        result.append(on_a_thread_each(lambda x: x.T @ x, rows))
    torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(*result, strict=True))
