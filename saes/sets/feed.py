"""Batches of one stream for several trainers.

The trainers advance in step, each with its own hooks.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import Any

from torch import Tensor

from interp.cache import ModelStream
from interp.errors import UsageError
from saes.config import Config
from saes.training.data import SAMPLE, Pair

NEED_THE_LAST = ("batchtopk", "matryoshka")
"""Architectures whose threshold is measured on the last batches."""


class Window:
    """Current batch of a stream, with its first and last batches.

    The first batches are for measurements; the last ones are stored only if needed.

    Attributes:
        first: batches with `saes.training.data.SAMPLE` rows from the start, until `begin` releases them.
        last: the same number of most recent batches; empty for architectures that do not need them.
    """

    def __init__(self, config: Config, stream: ModelStream) -> None:
        self._stream, self._steps, self._used = stream, config.steps, 0
        self._read = self._endless()
        count = -(-SAMPLE // config.batch_size)
        self.first = list(islice(self._read, count))
        if not self.first:
            raise UsageError("There are no activations to train on: the text is shorter than a batch.")
        self._ahead = deque(self.first)
        self.last: deque[tuple[Tensor, ...]] = deque(maxlen=count if config.architecture in NEED_THE_LAST else 0)
        self.now: tuple[Tensor, ...] = ()

    def begin(self) -> None:
        """Release the first batches; they are returned again, in order, by `advance`."""
        self.first = []

    def advance(self) -> None:
        """Move to the next batch; raise `UsageError` if the text has ended."""
        batch = self._ahead.popleft() if self._ahead else next(self._read, None)
        if batch is None:
            raise UsageError(f"The activations ended after {self._used} of {self._steps} batches: give more text.")
        self.now, self._used = batch, self._used + 1
        self.last.append(batch)

    def _endless(self) -> Iterator[tuple[Tensor, ...]]:
        """Yield the stream repeatedly; end if it is empty."""
        while True:
            count = 0
            for batch in self._stream():
                count += 1
                yield batch if isinstance(batch, tuple) else (batch,)
            if not count:
                return


class Feed:
    """View of a window for the trainer of one dictionary.

    It is a `Source` of `saes.training.data`.
    """

    layers = 1

    def __init__(self, window: Window, stream: ModelStream, hooks: tuple[str, ...]) -> None:
        self._window, self._columns = window, tuple(stream.hooks.index(hook) for hook in hooks)
        self.metadata: dict[str, Any] = {}

    def batches(self, start: int) -> Iterator[Pair]:  # noqa: ARG002
        """Yield the current batch of the window.

        The owner of the window stores the step number.
        """
        while True:
            yield self._pair(self._window.now)

    def recent(self, step: int) -> list[Pair]:
        """Return recent batches, see `saes.training.data.Source`."""
        return [self._pair(batch) for batch in (self._window.last if step else self._window.first)]

    def _pair(self, batch: tuple[Tensor, ...]) -> Pair:
        x = batch[self._columns[0]]
        return x, batch[self._columns[-1]]
