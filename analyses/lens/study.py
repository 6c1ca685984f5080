"""Study of lenses.

They are fitted on most of the documents and compared on the others.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import count

import torch
from torch import Tensor

from analyses.lens.result import Config, Lenses
from interp import attribution, cache
from interp.attribution import TunedLens
from interp.attribution.lens_fit import positions_per_step
from interp.cache.contexts import rows_of
from interp.errors import UsageError
from interp.model import Model
from interp.progress import Progress
from interp.provenance import Stopwatch

HELD_OUT = 10
"""Number of documents of which one is held out."""


def fit(
    model: Model, config: Config | None = None, *, seed: int = 0, progress: Progress | None = None
) -> dict[str, TunedLens]:
    """Fit every kind of lens without using the held-out contexts.

    Args:
        model: the model.
        config: text, kinds of lenses and training; `Config()` by default.
        seed: seed of the order of the positions.
        progress: called with (steps done, steps in all, what is done).

    Returns:
        A lens for each kind, by name.

    Raises:
        UsageError: too little text.

    Example:
        >>> list(fit(model, study.config))  # study.config = lens.Config(("notes.jsonl",), kinds=("bias",))
        ['bias']
    """
    config = Config() if config is None else config
    tokens, _ = contexts(model, config)
    return attribution.fit_lenses(
        model,
        tokens,
        config.kinds,  # pyright: ignore[reportArgumentType]
        steps=config.steps,
        batch_size=config.batch_size,
        seed=seed,
        progress=progress,
    )


def run(
    model: Model,
    lenses: Mapping[str, TunedLens],
    config: Config | None = None,
    *,
    command: str | None = None,
    seed: int | None = None,
    progress: Progress | None = None,
) -> Lenses:
    """Compare lenses on held-out contexts.

    Args:
        model: the model.
        lenses: name -> lens, as `fit` returns them.
        config: text and number of contexts; `Config()` by default.
        command: the command that the user typed, for the provenance.
        seed: seed of the fit, for the provenance.
        progress: called with (steps done, steps in all, what is done).

    Returns:
        `Lenses` with the cross-entropy in nats of each lens at each layer.

    Raises:
        UsageError: too little text, or lenses of another model.

    Example:
        >>> lenses = fit(model, study.config)  # study.config = lens.Config(("notes.jsonl",), ...)
        >>> run(model, lenses, study.config).comparison.names
        ('logit', 'bias')
    """
    config, watch = Config() if config is None else config, Stopwatch()
    _, held_out = contexts(model, config)
    comparison = attribution.compare_lenses(
        model, held_out, lenses, n_position=config.n_position, seed=seed or 0, progress=progress
    )
    depths = {
        name: tuple(depth.flatten().tolist()) for name, depth in zip(comparison.names, comparison.depth, strict=True)
    }
    used = {"batch_size": positions_per_step(model, config.batch_size), "n_position": comparison.n_position}
    return Lenses(
        config=replace(config, **used),
        provenance=watch.provenance(command=command, seed=seed, **model.identity()),
        comparison=comparison,
        depths=depths,
    )


def contexts(model: Model, config: Config) -> tuple[Tensor, Tensor]:
    """Return the contexts to fit on and the held-out contexts.

    The two are of different documents. Raises `UsageError` if the text has too few.

    >>> fitted, unseen = contexts(model, study.config)  # study = lens.run(model, lenses, config)
    >>> fitted.shape, unseen.shape
    (torch.Size([20, 8]), torch.Size([4, 8]))
    """
    fitted: list[Tensor] = []
    unseen: list[Tensor] = []
    for number, document in zip(count(), cache.documents(*config.text), strict=False):
        side, wanted = (unseen, config.held_out) if number % HELD_OUT == 0 else (fitted, config.contexts)
        rows, _, _ = rows_of(model, [document], length=config.context)
        n_new = min(config.per_document, wanted - len(side))
        side += [torch.from_numpy(row).long() for _, row in zip(range(n_new), rows, strict=False)]
        if len(fitted) >= config.contexts and len(unseen) >= config.held_out:
            return torch.stack(fitted), torch.stack(unseen)
    raise UsageError(
        f"The text gives {len(fitted)} contexts to fit on and {len(unseen)} to hold out, of {config.contexts} and "
        f"{config.held_out} that are asked for: give more documents, or ask for fewer."
    )
