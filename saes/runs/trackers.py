"""Trackers of a run's metrics.

Besides metrics.jsonl, metrics are sent to Weights & Biases or TensorBoard.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from interp.errors import UsageError
from saes.runs import settings
from saes.runs.settings import Settings

Send = Callable[[dict[str, float]], Any]
FOLDER = "tensorboard"
"""Of a run's folder: what TensorBoard reads."""


@contextmanager
def opened(chosen: Settings, folder: Path) -> Iterator[Send | None]:
    """Open the trackers of [run] and yield a function for metrics.

    The function sends a step's metrics to all trackers. Yields None if no tracker is named. Only the steps that
    `run.log_every` names are sent.

    Raises:
        UsageError: a package that is not installed or cannot start.
    """
    with ExitStack() as stack:
        senders: list[Send] = []
        if chosen.run.wandb:
            senders.append(_wandb(chosen, folder))
        if chosen.run.tensorboard:
            senders.append(stack.enter_context(_tensorboard(folder)))

        def send(metrics: dict[str, float]) -> None:
            if int(metrics["step"]) % chosen.run.log_every == 0:
                for one in senders:
                    one(metrics)

        yield send if senders else None


def _wandb(chosen: Settings, folder: Path) -> Send:
    try:
        import wandb
    except ImportError as error:
        raise UsageError(_missing("wandb")) from error
    try:
        run = wandb.init(project=chosen.run.wandb, dir=str(folder), config=settings.complete_table(chosen))
    except Exception as error:  # its own kinds, of its login and its network
        raise UsageError(f"wandb could not start ({error}): fix that, or omit --wandb.") from error
    # The steps of a set begin again with every dictionary, which a tracker's own count must not
    return lambda metrics: run.log(metrics, step=None if chosen.data.hooks else int(metrics["step"]))


@contextmanager
def _tensorboard(folder: Path) -> Iterator[Send]:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UsageError(_missing("tensorboard")) from error
    with ExitStack() as stack:
        writers: list[SummaryWriter] = []

        def send(metrics: dict[str, float]) -> None:
            if not writers:  # it makes its folder, which a run that is refused must not leave behind
                writers.append(stack.enter_context(SummaryWriter(str(folder / FOLDER), flush_secs=10)))
            for name, value in metrics.items():
                if name != "step":
                    writers[0].add_scalar(name, value, int(metrics["step"]))

        yield send


def _missing(package: str) -> str:
    return (
        f'{package} is not installed: pip install "interp[{package}]", or leave out --{package}; '
        "metrics.jsonl has all metrics."
    )
