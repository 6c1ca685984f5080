"""Commands that `torchrun` starts in several processes."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from typing import Any

from interp.errors import InterpError


def run_in_group(args: Namespace, device: str, work: Callable[[Any], int]) -> int:
    """Run a command in this process or in a `torchrun` group.

    The first process prints; of an error of all of them one process reports.

    Args:
        args: options of the command; `quiet` is set in all processes but the first.
        device: where the processes compute; "cuda" stands for one GPU each.
        work: the command; it takes the group, None for one process, and returns the exit code.
    """
    from saes.runs import processes

    if not processes.started():
        return work(None)
    with processes.joined(device) as group:
        if group.rank:
            args.quiet = True
        try:
            return work(group)
        except InterpError as error:
            if group.claim():
                raise
            return error.exit_code


def is_first(group: Any) -> bool:
    """Return whether this process prints and writes for all.

    >>> is_first(None)
    True
    """
    return group is None or group.rank == 0
