"""How many processor threads linear algebra may use, for the few places where more than one does harm."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch

Item = TypeVar("Item")
Found = TypeVar("Found")


@contextmanager
def one_thread() -> Iterator[None]:
    """One CPU thread inside, as many as before afterwards.

    Several only wait for one another on hundreds of small matrices, and a threaded product may split the sums of one
    instance differently than those of many, which costs bit-identity.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def on_a_thread_each(work: Callable[[Item], Found], items: Sequence[Item]) -> list[Found]:
    """`work` of every item, in order, as many at a time as torch has threads, each on one of them.

    For many independent pieces of small matrices: two threads on two pieces do twice the work, two on one piece hardly
    more. torch lets other threads run while it computes. A piece's result does not depend on the number of threads.
    """
    workers = min(torch.get_num_threads(), len(items))
    with one_thread():
        if workers < 2:
            return [work(item) for item in items]
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return list(pool.map(work, items))
