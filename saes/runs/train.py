"""`saes.train`: train in memory, or in a folder with checkpoints."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from interp.arguments import checked
from interp.errors import UsageError
from saes.config import Config
from saes.runs import loop
from saes.runs.settings import Run
from saes.training.data import Activations
from saes.training.trainer import Trainer

if TYPE_CHECKING:
    from saes.autoencoder import SAE


@checked
def train(
    config: Config,
    activations: Activations,
    *,
    device: str | torch.device = "cpu",
    metadata: dict[str, Any] | None = None,
    folder: str | os.PathLike[str] | None = None,
    resume: bool = False,
    progress: Callable[[dict[str, float]], None] | None = None,
) -> SAE:
    """Train a sparse autoencoder.

    Args:
        config: training configuration.
        activations: a tensor (n, d_in) ((n, layer, d) for a crosscoder, a pair for a transcoder), a store, an iterable
            of batches (or of pairs), or a callable that returns an iterator of them.
        device: device of the training.
        metadata: written into the SAE: model_name, hook_name, ...; a store provides these itself.
        folder: folder for checkpoints, metrics and the SAE; see `saes.runs.loop`. None trains in memory.
        resume: whether to continue from the checkpoint in `folder`.
        progress: called with the metrics of every step.

    Returns:
        The trained `SAE`.

    Raises:
        UsageError: activations that are empty, misshapen, NaN or infinite, or end too early; a batch larger than all
            of them; a folder with another run or in use.

    Example:
        >>> config = saes.Config(width=16, k=2, steps=2, batch_size=32)
        >>> saes.train(config, torch.randn(64, 4, generator=torch.Generator().manual_seed(0)))
        SAE(topk autoencoder, 16 latents of 4)
    """
    if config.variant == "crosslayer":
        raise UsageError("A cross-layer transcoder consists of several dictionaries: train it with saes.train_set.")
    if folder is not None:
        run = Run(device=str(device))
        place = loop.Place(folder, resume)
        return loop.train(config, activations, place, run=run, metadata=metadata, progress=progress)
    if resume:
        raise UsageError("resume=True needs the folder of the run: folder=...")
    unsaved = loop.Unsaved(Trainer(config, activations, device=device, metadata=metadata), progress)
    while unsaved.trainer.step_number < config.steps:
        unsaved.step()
    return unsaved.finish()
