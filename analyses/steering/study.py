"""The study itself: a vector for each layer from contrasting prompts, then its dose-response on other prompts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from analyses.steering.result import Config, Steering
from interp import steering
from interp.errors import UsageError
from interp.fields import read_fields
from interp.files import read_json
from interp.model import Model
from interp.progress import Progress
from interp.provenance import Stopwatch
from interp.steering import Behaviour

N_LAYER = 5
"""Layers that are steered where none are named."""


def run(
    model: Model,
    config: Config | None = None,
    *,
    command: str | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Steering:
    """Make a vector in each layer and measure what it does.

    Raises `UsageError` for an unknown behaviour, method or layer, or answers that are not single tokens.
    """
    config = Config() if config is None else config
    watch = Stopwatch()
    what = read_behaviour(config.behaviour)
    layers = config.layers or spread(model.spec.n_layer)
    vectors = steering.vectors(model, what.positive, what.negative, layers, method=config.method, seed=seed)
    names = config.off_target
    if names is None:
        names = tuple(name for name in steering.names() if name != what.name)
    others = {one.name: (one.prompts, (one.right, one.wrong)) for one in map(steering.behaviour, names)}
    response = steering.dose_response(
        model,
        vectors,
        what.prompts,
        (what.right, what.wrong),
        strengths=config.strengths,
        off_target=others,
        neutral=config.neutral,
        n_random=config.n_random,
        seed=seed,
        progress=progress,
    )
    return Steering(
        config=replace(config, layers=tuple(layers), off_target=names),
        provenance=watch.provenance(command=command, seed=seed, **model.identity()),
        behaviour=what,
        response=response,
    )


def read_behaviour(name: str) -> Behaviour:
    """Return a behaviour by name, or the user's own from a JSON file with the fields of `Behaviour`."""
    if not name.endswith(".json"):
        return steering.behaviour(name)
    file = Path(name)
    own = read_fields(Behaviour, read_json(file), file)
    if not own.prompts:
        raise UsageError(f"{name} has no prompts to measure on.")
    return own


def spread(n_layer: int) -> tuple[int, ...]:
    """Return up to five layers, evenly spread between the first and the last sixth of the model.

    >>> spread(30)
    (5, 10, 15, 20, 25)
    """
    return tuple(sorted({round(n_layer * i / (N_LAYER + 1)) for i in range(1, N_LAYER + 1)} - {n_layer}))
