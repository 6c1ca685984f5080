"""Study of steering one behaviour.

A vector is made in each layer from contrasting prompts; its dose-response is measured on other prompts.
"""

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
"""Largest number of layers that are steered by default."""


def run(
    model: Model,
    config: Config | None = None,
    *,
    command: str | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Steering:
    """Make a steering vector in each layer and measure its effects.

    Args:
        model: the model.
        config: behaviour, method, layers and strengths; `Config()` by default.
        command: the command that the user typed, for the provenance.
        seed: seed of the random directions.
        progress: called with (steps done, steps in all, what is done).

    Returns:
        `Steering` with the slope in nats per norm of the stream, and its controls.

    Raises:
        UsageError: an unknown behaviour, method or layer, or answers that are not single tokens.

    Example:
        >>> result = run(model, study.config)  # study.config = steering.Config("place.json", ...)
        >>> round(result.response.slope[0], 2)
        -1.7
    """
    config = Config() if config is None else config
    watch = Stopwatch()
    target = read_behaviour(config.behaviour)
    layers = config.layers or spread(model.spec.n_layer)
    vectors = steering.vectors(model, target.positive, target.negative, layers, method=config.method, seed=seed)
    names = config.off_target
    if names is None:
        names = tuple(name for name in steering.names() if name != target.name)
    others = {one.name: (one.prompts, (one.right, one.wrong)) for one in map(steering.behaviour, names)}
    response = steering.dose_response(
        model,
        vectors,
        target.prompts,
        (target.right, target.wrong),
        strengths=config.strengths,
        off_target=others,
        neutral=config.neutral,
        n_controls=config.n_controls,
        seed=seed,
        progress=progress,
    )
    return Steering(
        config=replace(config, layers=tuple(layers), off_target=names),
        provenance=watch.provenance(command=command, seed=seed, **model.identity()),
        behaviour=target,
        response=response,
    )


def read_behaviour(name: str) -> Behaviour:
    """Return a behaviour by name or from a JSON file.

    The file has the fields of `Behaviour`.

    >>> read_behaviour("sentiment").name
    'sentiment'
    """
    if not name.endswith(".json"):
        return steering.behaviour(name)
    file = Path(name)
    own = read_fields(Behaviour, read_json(file), file)
    if not own.prompts:
        raise UsageError(f"{name} has no prompts to measure on.")
    return own


def spread(n_layer: int) -> tuple[int, ...]:
    """Return up to five layers, spread evenly over the model.

    They lie between the first and the last sixth of it.

    >>> spread(30)
    (5, 10, 15, 20, 25)
    """
    return tuple(sorted({round(n_layer * i / (N_LAYER + 1)) for i in range(1, N_LAYER + 1)} - {n_layer}))
