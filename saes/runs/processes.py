"""Several processes that train one SAE.

Each computes its part of every batch, and all make the same update.

They are started by `torchrun`, which sets the rank of each process in environment variables. A batch of n rows is
divided into equal parts. Losses are means over rows, so that the mean of the parts' gradients is the gradient of the
batch, up to the order of float32 additions (with bfloat16 selection, see `Config.precision`, this order can also change
which of two nearly equal latents is the k-th). Weights, moments, dead counters and the position in the data are the
same in every process, so that a checkpoint can be continued with any number of processes.
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
"""Time that a process waits for a lost one; a killed process is noticed at once."""


def started() -> bool:
    """Return whether `torchrun` started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


@dataclass(frozen=True)
class Processes:
    """Processes of a run, as seen from one of them."""

    rank: int
    size: int
    device: torch.device
    store: Any = field(repr=False, compare=False)

    def check(self, batch_size: int) -> None:
        """Raise `UsageError` if a batch cannot be divided equally.

        This includes the rows of the auxiliary loss.
        """
        step = self.size * EVERY
        if batch_size % step:
            raise UsageError(
                f"sae.batch_size={batch_size} cannot be shared by {self.size} processes: make it a multiple of {step}."
            )

    def part(self, rows: Tensor) -> Tensor:
        """Return this process's rows of a batch."""
        count = len(rows) // self.size
        return rows[self.rank * count : (self.rank + 1) * count]

    def average(self, tensors: list[Tensor]) -> None:
        """Replace each tensor by its mean over the processes."""
        for tensor in tensors:
            whole = tensor.contiguous()
            _collective(lambda whole=whole: dist.all_reduce(whole))
            tensor.copy_(whole.div_(self.size))

    def sum(self, number: float) -> float:
        """Return the sum of a number over the processes."""
        tensor = torch.tensor(number, dtype=torch.float64, device=self.device)
        _collective(lambda: dist.all_reduce(tensor))
        return float(tensor)

    def any(self, flag: bool) -> bool:
        """Return whether the flag is set in any process."""
        return self.sum(float(flag)) > 0

    def gather(self, value: T) -> list[T]:
        """Return the plain value of every process, in the order of ranks."""
        values: list[Any] = [None] * self.size
        _collective(lambda: dist.all_gather_object(values, value))
        return values

    def claim(self) -> bool:
        """Return whether this process is the first to call this.

        The first one reports an error of all processes.
        """
        try:
            return self.store.add("interp.spoken", 1) == 1
        except (RuntimeError, ConnectionError):  # the process with the counter is lost
            return True

    def largest(self, values: Tensor, count: int) -> Tensor:
        """Return the `count`-th largest value of all processes.

        Their numbers of values may differ.
        """
        sizes = self.gather(len(values))
        padded = torch.full((max(sizes),), -torch.inf, device=values.device)
        padded[: len(values)] = values
        gathered = [torch.empty_like(padded) for _ in sizes]
        _collective(lambda: dist.all_gather(gathered, padded))
        return torch.cat(gathered).topk(count, sorted=False).values.min()


@contextmanager
def joined(device: str) -> Iterator[Processes]:
    """Join the processes that `torchrun` started into one group.

    Uses gloo on the CPU and nccl on GPUs. Raises `InterpError` if they cannot connect.
    """
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    place = torch.device(device)
    if place.type == "cuda":
        place = torch.device("cuda", int(os.environ.get("LOCAL_RANK", rank)))
        torch.cuda.set_device(place)
    backend = "nccl" if place.type == "cuda" else "gloo"
    store = _collective(lambda: next(rendezvous("env://", timeout=TIMEOUT))[0])
    _collective(lambda: dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=TIMEOUT))
    try:
        yield Processes(rank, size, place, store)
    finally:
        dist.destroy_process_group()


def _collective(action: Callable[[], Any]) -> Any:
    """Run a collective operation.

    Raises one clear error if a process is lost.
    """
    try:
        return action()
    except (RuntimeError, ConnectionError) as error:
        reason = str(error).splitlines()[0][:120]
        raise InterpError(f"Another process of this run was lost ({reason}).") from error
