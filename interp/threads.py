"""How many processor threads linear algebra may use, for the few places where more than one does harm."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


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
