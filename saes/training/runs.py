"""`saes.train` with a folder: checkpoints, a log and a record of the run; see `saes.running.loop`."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from interp.errors import UsageError
from saes.config import Config
from saes.running.loop import Place, train as _train
from saes.running.settings import Run

if TYPE_CHECKING:
    from saes.autoencoder import SAE


def train(
    config: Config,
    activations: Any,
    device: str | torch.device,
    metadata: dict[str, Any] | None,
    folder: str | os.PathLike[str] | None,
    resume: bool,
    progress: Callable[[dict[str, float]], None] | None,
) -> SAE:
    """Train in `folder`, from its checkpoint with `resume`; `UsageError` if there is no folder to resume from."""
    if folder is None:
        raise UsageError("resume=True needs the folder of the run: folder=...")
    run = Run(device=str(device))
    return _train(config, activations, Place(folder, resume), run=run, metadata=metadata, progress=progress)
