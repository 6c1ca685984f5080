"""Estimates of a run before it starts.

Sizes come from the settings, time from a few steps on random data.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from interp import cache
from interp.cache.config import ITEM_BYTES
from interp.cache.plan import seconds as harvest_seconds
from saes.config import BY_K, Config
from saes.runs.activations import documents, harvest_config, hooks_read, load_model, open_activations
from saes.runs.settings import Settings
from saes.sets.hooks import resolve
from saes.training.data import SAMPLE
from saes.training.trainer import Trainer

STEPS = 5
"""Number of steps on random data that measure the time of a step; the first is not counted."""
MEASURED = 8192
"""Largest batch for the measurement; the time of larger ones is assumed proportional to their rows."""
POOL = 16_384
"""Rows that a store shuffles at a time, in memory."""


@dataclass(frozen=True)
class Plan:
    """Estimated size and cost of a run.

    Attributes:
        dictionaries: number of dictionaries.
        d_in: input width of the first dictionary.
        d_out: output width of the first dictionary.
        width: number of latents of each.
        parameters: number of parameters of all.
        tokens: number of tokens that the model will read; 0 with a store.
        rows: number of different activations; 0 if unknown (a stream without a limit).
        activations: number of activations that each is trained on, steps times batch_size.
        epochs: number of times each row is seen; 0 if unknown.
        flops: FLOPs of training all of them, see `flops`.
        harvest_bytes: disk space for activations.
        run_bytes: maximal disk space for checkpoints and weights.
        memory_bytes: estimated peak memory of training, without the libraries.
        harvest_seconds: time of the second forward pass over one batch, times the number of batches; 0 with a store.
        train_seconds: median time of `STEPS - 1` steps on random data, times the number of steps, plus the model's
            passes of a stream.
    """

    dictionaries: int
    d_in: int
    d_out: int
    width: int
    parameters: int
    tokens: int
    rows: int
    activations: int
    epochs: float
    flops: float
    harvest_bytes: int
    run_bytes: int
    memory_bytes: int
    harvest_seconds: float
    train_seconds: float

    def table(self) -> dict[str, Any]:
        """Return the fields as a dictionary."""
        return asdict(self)


def plan(settings: Settings) -> Plan:
    """Estimate the time and memory of a run with these settings.

    Reads text and model but writes nothing. Raises the errors of `start` for a missing store, an unknown hook or too
    little text.
    """
    config = settings.sae
    widths, facts = _of_store(settings) if settings.data.store else _of_text(settings)
    every = _dimensions(settings, widths)
    measured = {size: _step_seconds(config, *size, settings.run.device) for size in dict.fromkeys(every)}
    parameters = [measured[size][1] for size in every]
    activations = config.steps * config.batch_size
    streamed, memory = 0.0, facts.pop("model_bytes")
    if settings.data.stream:  # the model runs while training, once for every row that is used
        streamed = facts["harvest_seconds"] * activations / max(facts["rows"], 1)
        facts |= {"harvest_seconds": 0.0, "harvest_bytes": 0}
        memory += sum(_trainer_bytes(config, count, *size[:2]) for count, size in zip(parameters, every, strict=True))
        memory += _stream_bytes(settings, sum(widths.values()))
    else:  # one after another
        memory += max(_trainer_bytes(config, n, *size[:2]) for n, size in zip(parameters, every, strict=True))
        memory += 4 * 2 * POOL * max(sum(size[:2]) for size in every)
    return Plan(
        dictionaries=len(every),
        d_in=every[0][0],
        d_out=every[0][1],
        width=config.width,
        parameters=sum(parameters),
        activations=activations,
        epochs=activations / facts["rows"] if facts["rows"] else 0.0,
        flops=sum(flops(config, *size[:2]) for size in every),
        run_bytes=_run_bytes(parameters, settings),
        memory_bytes=memory,
        train_seconds=sum(measured[size][0] for size in every) * config.steps + streamed,
        **facts,
    )


def flops(config: Config, d_in: int, d_out: int) -> float:
    """Compute the number of floating-point operations of a run.

    2 · activations · (d_in · width + active · (2 d_in + 3 d_out)): encoder and sparse products. `active` is k, or the
    number at the initial density if no k is set.

    >>> flops(Config(width=100, k=10, steps=1, batch_size=1), d_in=8, d_out=8)
    2400.0
    """
    active = config.k if config.architecture in BY_K else config.first_density * config.width
    rows = float(config.steps) * config.batch_size
    return 2 * rows * (d_in * config.width + active * (2 * d_in + 3 * d_out))


def _of_store(settings: Settings) -> tuple[dict[str, int], dict[str, Any]]:
    store, _ = open_activations(settings.data, settings.sae, Path(), device=settings.run.device)
    widths = {hook: store.manifest.hook(hook).width for hook in store.hooks}
    return widths, {"tokens": 0, "rows": len(store), "harvest_bytes": 0, "harvest_seconds": 0.0, "model_bytes": 0}


def _of_text(settings: Settings) -> tuple[dict[str, int], dict[str, Any]]:
    data = settings.data
    model = load_model(data, settings.run.device)
    how = harvest_config(data, hooks_read(data, settings.sae, tuple(model.hooks())))
    planned = cache.plan(model, documents(data), how)
    return {hook.name: hook.width for hook in planned.manifest.hooks}, {
        "tokens": planned.manifest.tokens,
        "rows": planned.manifest.rows,
        "harvest_bytes": planned.disk_bytes,
        "harvest_seconds": harvest_seconds(model, planned),
        "model_bytes": planned.memory_bytes,
    }


def _dimensions(settings: Settings, widths: dict[str, int]) -> list[tuple[int, int, int]]:
    """Return (d_in, d_out, layers) of every dictionary."""
    config, sizes = settings.sae, [*widths.values()]
    if settings.data.hooks:
        every = resolve(settings.data.hooks, tuple(widths), config.variant)
        sizes = [(widths[ends.reads], widths[ends.writes], 1) for ends in every]
        if config.variant == "crosslayer":
            return [(sum(one[0] for one in sizes), sum(one[1] for one in sizes), len(sizes))]
        return sizes
    if config.variant == "transcoder":
        return [(sizes[0], sizes[-1], 1)]
    if config.variant == "crosscoder":
        return [(sum(sizes), sum(sizes), len(sizes))]
    return [(sizes[0], sizes[0], 1)]


def _step_seconds(config: Config, d_in: int, d_out: int, layers: int, device: str) -> tuple[float, int]:
    """Return seconds per step and number of parameters.

    They come from real steps on random rows.
    """
    measured = replace(config, batch_size=min(config.batch_size, MEASURED))
    generator = torch.Generator().manual_seed(config.seed)
    x = torch.randn(2 * measured.batch_size, d_in, generator=generator)
    y = torch.randn(len(x), d_out, generator=generator)
    if config.variant in ("crosscoder", "crosslayer"):
        x, y = (part.unflatten(1, (layers, -1)) for part in (x, y))
    trainer = Trainer(measured, (x, y) if config.variant in ("transcoder", "crosslayer") else x, device=device)
    times = []
    for _ in range(min(STEPS, config.steps)):
        start = time.perf_counter()
        trainer.step()
        times.append(time.perf_counter() - start)
    later = sorted(times[1:] or times)
    per_row = later[len(later) // 2] / measured.batch_size
    return per_row * config.batch_size, sum(weight.numel() for weight in trainer.weights.values())


def _trainer_bytes(config: Config, parameters: int, d_in: int, d_out: int) -> int:
    """Return the bytes that a trainer needs.

    They are the bytes of weights, gradients, two moments, two checkpoints of three parts, and a batch of codes.
    """
    state = parameters * (4 + (1 if config.average else 0) + 2 * 3)
    return 4 * (state + config.batch_size * (config.width + 6 * (d_in + d_out)))


def _stream_bytes(settings: Settings, width: int) -> int:
    """Return the bytes that a stream needs.

    They are those of the rows that it shuffles, and of the first measurements in float32.
    """
    rows = max(settings.data.buffer, 4 * settings.sae.batch_size)
    return width * (2 * rows * ITEM_BYTES[settings.data.store_dtype] + 4 * (SAMPLE + 2 * settings.sae.batch_size))


def _run_bytes(parameters: list[int], settings: Settings) -> int:
    """Return the bytes that a run needs on disk.

    They are those of two checkpoints (weights and two moments), while one replaces the other, and final weights.

    With a stream every dictionary has a checkpoint until the end; with a store, one at a time.
    """
    checkpoints = sum(parameters) + max(parameters) if settings.data.stream else 2 * max(parameters)
    return 4 * (3 * checkpoints + sum(parameters))
