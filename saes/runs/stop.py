"""Handling of Ctrl-C and SIGTERM.

Training stops between two steps, after a checkpoint.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(KeyboardInterrupt):
    """Error raised when training was interrupted.

    The checkpoint is saved before it is raised. The text names the step.

    >>> str(Stopped("Stopped at step 40."))
    'Stopped at step 40.'
    """


@contextmanager
def stop_requested() -> Iterator[Callable[[], bool]]:
    """Yield a function that says whether Ctrl-C or SIGTERM was received.

    A second Ctrl-C raises `KeyboardInterrupt` at once. Outside the main thread, where Python delivers no signals, the
    function always returns False.

    >>> with stop_requested() as asked:
    ...     asked()
    False
    """
    received: list[int] = []

    def note(number: int, _: FrameType | None) -> None:
        if received and number == signal.SIGINT:
            raise KeyboardInterrupt
        received.append(number)

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = {number: signal.signal(number, note) for number in SIGNALS}
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
