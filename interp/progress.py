"""Progress callbacks: stages, rates and the time left."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

Progress = Callable[[int, int, str], None]
"""Called with (steps done, steps in all, what is being done)."""


def advance(progress: Progress | None, done: int, total: int, what: str) -> None:
    """Call `progress`, if there is one."""
    if progress is not None:
        progress(done, total, what)


def every(progress: Progress | None, steps: int, what: str) -> Progress | None:
    """Return a callback that reports one step in `steps`.

    It reports them as `what`, for loops such as those of a training.

    >>> report = every(lambda done, total, what: print(done, total, what), 2, "first task")
    >>> for step in range(4):
    ...     report(step, 3, "training")
    0 3 first task
    2 3 first task
    3 3 first task
    """
    if progress is None:
        return None

    def report(done: int, total: int, _: str) -> None:
        if done % steps == 0 or done == total:
            progress(done, total, what)

    return report


def stages(progress: Progress | None, names: Sequence[str]) -> Callable[[int], None]:
    """Return a function that reports the start of a stage.

    It takes the stage's index.

    The last name is that of the end.

    >>> step = stages(lambda done, total, what: print(done, total, what), ("read", "fit", "done"))
    >>> step(1)
    1 2 fit
    """
    return lambda index: advance(progress, index, len(names) - 1, names[index])


def duration(seconds: float) -> str:
    """Return a time as people write it.

    >>> [duration(s) for s in (39.6, 200, 7500)]
    ['40 s', '3 min 20 s', '2 h 5 min']
    """
    minutes, rest = divmod(round(seconds), 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


class Rate:
    """Progress of counted work, with its rate and the time left.

    Rates are measured from the construction of the object.

    Args:
        progress: what is called; None reports nothing.
        total: units of work in all.
        unit: what a rate counts, such as "tokens".
        size: how many of these one unit of work has, such as the activations of a batch.
        done: units of work done before.
    """

    def __init__(self, progress: Progress | None, total: int, unit: str, *, size: int = 1, done: int = 0) -> None:
        self._progress, self._total, self._unit, self._size = progress, total, unit, size
        self._first, self._done, self._start = done, done, time.perf_counter()

    def add(self, count: int) -> None:
        """Report `count` more units of work."""
        self.reach(self._done + count)

    def reach(self, done: int, what: str = "") -> None:
        """Report that `done` units are finished in all.

        `what` is put before the rate.
        """
        self._done = done
        rate = (done - self._first) / max(time.perf_counter() - self._start, 1e-9)
        parts = [what] if what else []
        if rate:
            parts += [f"{rate * self._size:,.0f} {self._unit}/s", f"{duration((self._total - done) / rate)} left"]
        advance(self._progress, done, self._total, ", ".join(parts))
