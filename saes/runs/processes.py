"""Several processes that train one SAE: each computes its part of every batch, all make the same update.

Started by `torchrun`, which tells each process its rank by environment variables. A batch of n rows is cut into equal
parts; with losses that are means over rows, the mean of the parts' gradients is the gradient of the batch, but for the
order in which float32 numbers are added (where latents are found in bfloat16, see `Config.precision`, that order can
also change which of two nearly equal latents is the k-th). Weights, moments, dead counters and the position in the
data are the same in every process, so a checkpoint is that of any number of them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous

from interp.errors import InterpError, UsageError
from saes.architectures.auxiliary import EVERY

T = TypeVar("T")
TIMEOUT = timedelta(minutes=5)
"""How long a process waits for the others when one is lost without a trace; a killed one is noticed at once."""


def started() -> bool:
    """Whether this process is one of several, as `torchrun` starts them."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


@dataclass(frozen=True)
class Processes:
    """The processes of a run, seen from one of them."""

    rank: int
    size: int
    device: torch.device
    store: Any = field(repr=False, compare=False)

    def check(self, batch_size: int) -> None:
        """`UsageError` for a batch without equal parts: dead latents learn from every so many rows, the same ones."""
        step = self.size * EVERY
        if batch_size % step:
            raise UsageError(
                f"sae.batch_size={batch_size} cannot be shared by {self.size} processes: make it a multiple of {step}."
            )

    def part(self, rows: Tensor) -> Tensor:
        """This process's rows of a batch."""
        count = len(rows) // self.size
        return rows[self.rank * count : (self.rank + 1) * count]

    def average(self, tensors: list[Tensor]) -> None:
        """Replace each tensor by its mean over the processes."""
        for tensor in tensors:
            whole = tensor.contiguous()
            _together(lambda whole=whole: dist.all_reduce(whole))
            tensor.copy_(whole.div_(self.size))

    def sum(self, number: float) -> float:
        """The sum of a number over the processes, the same in all of them."""
        tensor = torch.tensor(number, dtype=torch.float64, device=self.device)
        _together(lambda: dist.all_reduce(tensor))
        return float(tensor)

    def any(self, flag: bool) -> bool:
        """Whether it is true in one of them."""
        return self.sum(float(flag)) > 0

    def gather(self, value: T) -> list[T]:
        """The plain value of every process, in the order of ranks."""
        found: list[Any] = [None] * self.size
        _together(lambda: dist.all_gather_object(found, value))
        return found

    def claim(self) -> bool:
        """Whether this process is the first to ask: it speaks for all when they fail together."""
        try:
            return self.store.add("interp.spoken", 1) == 1
        except (RuntimeError, ConnectionError):  # the process that kept the score is lost
            return True

    def largest(self, values: Tensor, count: int) -> Tensor:
        """() the `count`-th largest of the (n) values of all processes; `n` differs between them."""
        sizes = self.gather(len(values))
        room = torch.full((max(sizes),), -torch.inf, device=values.device)
        room[: len(values)] = values
        found = [torch.empty_like(room) for _ in sizes]
        _together(lambda: dist.all_gather(found, room))
        return torch.cat(found).topk(count, sorted=False).values.min()


@contextmanager
def joined(device: str) -> Iterator[Processes]:
    """The processes `torchrun` started, connected: by gloo on the CPU, by nccl on GPUs, one each.

    Raises `InterpError` if they do not find one another.
    """
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    place = torch.device(device)
    if place.type == "cuda":
        place = torch.device("cuda", int(os.environ.get("LOCAL_RANK", rank)))
        torch.cuda.set_device(place)
    backend = "nccl" if place.type == "cuda" else "gloo"
    store = _together(lambda: next(rendezvous("env://", timeout=TIMEOUT))[0])
    _together(lambda: dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=TIMEOUT))
    try:
        yield Processes(rank, size, place, store)
    finally:
        dist.destroy_process_group()


def _together(action: Callable[[], Any]) -> Any:
    """Do what needs every process; one that is lost is one clear error."""
    try:
        return action()
    except (RuntimeError, ConnectionError) as error:
        reason = str(error).splitlines()[0][:120]
        raise InterpError(f"Another process of this run was lost ({reason}).") from error
