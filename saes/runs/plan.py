"""What a run will take, known before it starts: sizes from the settings, time from a few steps on random data."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from interp import cache
from interp.cache.config import ITEM_BYTES
from interp.cache.planning import seconds as harvest_seconds
from saes.config import BY_K, Config
from saes.runs.activations import harvest_config, hooks_read, load_model, open_activations
from saes.runs.settings import Settings
from saes.sets.hooks import resolve
from saes.training.data import SAMPLE
from saes.training.trainer import Trainer

STEPS = 5
"""Run on random data to measure the time of a step; the first is not counted."""
MEASURED = 8192
"""Largest batch of which a step is measured; the time of a larger one is taken as proportional to its rows."""
POOL = 16_384
"""Rows a store mixes at a time, in memory."""


@dataclass(frozen=True)
class Plan:
    """A run that has not begun.

    Attributes:
        dictionaries: how many are trained.
        d_in: values an input, of the first of them.
        d_out: values an output, likewise.
        width: latents of each.
        parameters: of all of them.
        tokens: that the model will read; 0 with a store.
        rows: different activations there are; 0 if that is not known (a stream without a limit).
        activations: each is trained on, steps times batch_size.
        epochs: times each row is seen; 0 if that is not known.
        flops: of training, see `flops`, of all of them.
        harvest_bytes: of disk for activations.
        run_bytes: of disk for checkpoints and weights, at its most.
        memory_bytes: estimate of the peak of training, beside the libraries.
        harvest_seconds: the second forward pass over one batch, times the batches; 0 with a store.
        train_seconds: the median of `STEPS - 1` steps on random data, times the steps. The model's passes of a
            stream are added.
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
        """As plain values."""
        return asdict(self)


def plan(settings: Settings) -> Plan:
    """What `start` with these settings will do. Reads text and model, writes nothing.

    Raises what `start` raises before it begins: no store, an unknown hook, too little text.
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
    """2 · activations · (d_in · width + active · (2 d_in + 3 d_out)): the encoder's product, and the sparse rest.

    `active` is k, or at the start's density where no k is set; there a run that is less sparse takes more.
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
    planned = cache.plan(model, cache.documents(*data.text), how)
    return {hook.name: hook.width for hook in planned.manifest.hooks}, {
        "tokens": planned.manifest.tokens,
        "rows": planned.manifest.rows,
        "harvest_bytes": planned.disk_bytes,
        "harvest_seconds": harvest_seconds(model, planned),
        "model_bytes": planned.memory_bytes,
    }


def _dimensions(settings: Settings, widths: dict[str, int]) -> list[tuple[int, int, int]]:
    """(d_in, d_out, layers) of every dictionary."""
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
    """(seconds a step, parameters), from real steps on random rows."""
    measured = replace(config, batch_size=min(config.batch_size, MEASURED))
    generator = torch.Generator().manual_seed(config.seed)
    x = torch.randn(2 * measured.batch_size, d_in, generator=generator)
    y = torch.randn(len(x), d_out, generator=generator)
    if config.variant in ("crosscoder", "crosslayer"):
        x, y = (part.unflatten(1, (layers, -1)) for part in (x, y))
    trainer = Trainer(measured, (x, y) if config.variant in ("transcoder", "crosslayer") else x, device=device)
    times = []
    for _ in range(min(STEPS, config.steps)):
        begun = time.perf_counter()
        trainer.step()
        times.append(time.perf_counter() - begun)
    later = sorted(times[1:] or times)
    per_row = later[len(later) // 2] / measured.batch_size
    return per_row * config.batch_size, sum(weight.numel() for weight in trainer.weights.values())


def _trainer_bytes(config: Config, parameters: int, d_in: int, d_out: int) -> int:
    """Weights, gradients and two moments, a checkpoint of three parts twice, a batch of codes."""
    state = parameters * (4 + (1 if config.average else 0) + 2 * 3)
    return 4 * (state + config.batch_size * (config.width + 6 * (d_in + d_out)))


def _stream_bytes(settings: Settings, width: int) -> int:
    """The rows that are mixed, of which half are given out, and those of the first measurements in float32."""
    rows = max(settings.data.buffer, 4 * settings.sae.batch_size)
    return width * (2 * rows * ITEM_BYTES[settings.data.store_dtype] + 4 * (SAMPLE + 2 * settings.sae.batch_size))


def _run_bytes(parameters: list[int], settings: Settings) -> int:
    """A checkpoint (weights and two moments) twice while one replaces the other, and the final weights of all.

    Side by side every dictionary has its checkpoint until the end; one after another, one at a time.
    """
    checkpoints = sum(parameters) + max(parameters) if settings.data.stream else 2 * max(parameters)
    return 4 * (3 * checkpoints + sum(parameters))
