"""Control the processor threads of torch, where more than one does harm."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


@contextmanager
def one_thread() -> Iterator[None]:
    """Use one CPU thread inside the block.

    After it there are as many as before.

    With hundreds of small matrices, several threads mostly wait for each other. A threaded product may also split
    the sums of one instance differently from those of many, so that results are not identical bit by bit.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def on_a_thread_each(work: Callable[[Item], Outcome], items: Sequence[Item]) -> list[Outcome]:
    """Run `work(item)` for every item, each on its own thread.

    Returns the results in order.

    As many run at a time as torch has threads. For many independent pieces of small matrices: two threads on two
    pieces do twice the work, two on one piece hardly more. The result of a piece does not depend on the number of
    threads.
    """
    workers = min(torch.get_num_threads(), len(items))
    with one_thread():
        if workers < 2:
            return [work(item) for item in items]
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return list(pool.map(work, items))
