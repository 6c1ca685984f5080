"""Ctrl-C and SIGTERM as a wish that is granted between two steps, so that what is saved is whole."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(KeyboardInterrupt):
    """Training was interrupted and its checkpoint saved; the text says how far it is."""


@contextmanager
def stop_requested() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C or SIGTERM came since. A second Ctrl-C does not wait: it raises `KeyboardInterrupt` at once.

    Outside the main thread, where Python delivers no signals, the answer is always no.
    """
    came: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        if came and number == signal.SIGINT:
            raise KeyboardInterrupt
        came.append(number)

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = {number: signal.signal(number, note) for number in SIGNALS}
    try:
        yield lambda: bool(came)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
