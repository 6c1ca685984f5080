"""Python's cyclic garbage collector while a command runs.

`torch` and `transformers` make a million objects when they are imported, which last as long as the process. The
collector would go through all of them several times during the imports and again at the end: two seconds of processor
time, in which nothing can be freed.
"""

from __future__ import annotations

import atexit
import gc
from collections.abc import Iterator
from contextlib import contextmanager

atexit.register(gc.freeze)  # nothing is searched for cycles when the interpreter ends


@contextmanager
def paused() -> Iterator[None]:
    """Pause the collector while libraries are imported; it ignores all that exists at the end."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if enabled:
            gc.enable()


@contextmanager
def resumed() -> Iterator[None]:
    """Let the collector see all objects again at the end, for processes that go on after a command."""
    try:
        yield
    finally:
        gc.unfreeze()
