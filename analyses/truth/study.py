"""Run of the study: collect and sweep each set, then test transfer."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

import probes
from analyses.truth.result import Config, Plane, SetOf, TruthStudy
from interp.arguments import checked
from interp.errors import MissingInputError, UsageError, nearest
from interp.model import Model
from interp.progress import Progress, advance
from interp.provenance import Stopwatch
from probes import Activations, LeftOut, Statements, Sweep, Transfer
from probes.erasure_report import ErasureReport
from probes.intervention.results import Intervention
from probes.protocol.checks import check_pairs
from probes.protocol.leave_one_out import By
from probes.statements import sharing_facts

PROBES = {
    "logistic": "LogisticRegression",
    "mass-mean": "MassMean",
    "lda": "LDA",
    "ridge": "Ridge",
    "ccs": "CCS",
    "crc": "CRC",
    "ttpd": "TTPD",
    "saplma": "SAPLMA",
}
ASKED = 40
"""Number of test statements that the model is asked about while the direction is changed.

They are those of the first set.
"""
ONE_SIDE = 0.2
"""Least fraction of each polarity for a set to be tested from one polarity to the other."""


@checked
def run(
    model: Model,
    config: Config | None = None,
    *,
    data: Sequence[Statements] = (),
    probes_to: str | os.PathLike[str] | None = None,
    command: str | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> TruthStudy:
    """Probe a model for truth on one or several sets of statements.

    Args:
        model: model whose residual stream is read.
        config: settings of the study.
        data: statements already read, in place of those the configuration names.
        probes_to: folder in which the chosen probe of each set is saved.
        command: the command that reproduces the study, for the provenance.
        seed: seed of splits, folds, resamples, controls and generated sets.
        progress: called with (steps done, steps in all, what is being done).

    Returns:
        `TruthStudy` with a sweep over layers for each set, transfer between sets, controls and verdicts.

    Raises:
        MissingInputError: a file does not exist.
        UsageError: a set cannot be split or probed; the message says why.

    Example:
        >>> from analyses import truth
        >>> config = truth.Config(probe="mass-mean", layers=(0, 1), controls=False)
        >>> truth.run(model, config, data=[places]).sweeps[0]  # places = probes.read_statements("places.csv")
        Sweep(MassMean on places, 2 layers, 52 train and 20 test rows, best Score(layer 0, position last: accuracy ...
    """
    config = Config() if config is None else config
    watch, probe = Stopwatch(), probe_of(config.probe)
    identity = model.identity()
    # Each fact is on the same side in every sweep and transfer.
    sets = sharing_facts(tuple(data) or read_all(config, seed))
    total = 2 * len(sets) + 2
    acts, sweeps = _each(model, sets, config, seed, progress)
    advance(progress, total - 2, total, "transfer")
    skipped: list[str] = []
    transfer, left_out = _across(acts, probe, seed, skipped)
    advance(progress, total - 1, total, "planes, erasure, interventions")
    changed = partial(_intervention, model, sweeps[0], acts[0], seed)
    caused = _or_skipped(changed, "intervention", skipped) if config.causal else None
    erasures = _erasures(sweeps, acts, skipped) if config.controls else {}
    result = TruthStudy(
        config=config,
        provenance=watch.provenance(command=command, seed=seed, **identity),
        sets=tuple(_set(one) for one in sets),
        sweeps=tuple(sweeps),
        transfer=transfer,
        left_out=left_out,
        planes={s.name: _plane(s, a) for s, a in zip(sweeps, acts, strict=True) if len(s.direction)},
        erasures=erasures,
        intervention=caused,
        skipped=tuple(skipped),
    )
    if probes_to is not None:
        _save_probes(Path(probes_to), sweeps, acts)
    advance(progress, total, total, "done")
    return replace(result, provenance=watch.provenance(command=command, seed=seed, **identity))


def _each(
    model: Model, sets: Sequence[Statements], config: Config, seed: int, progress: Progress | None
) -> tuple[list[Activations], list[Sweep]]:
    """Collect and sweep every set by itself."""
    acts, sweeps = [], []
    for i, one in enumerate(sets):
        advance(progress, 2 * i, 2 * len(sets) + 2, f"reading {one.name}")
        activations, log_probs = _collected(model, one, config)
        acts.append(activations)
        advance(progress, 2 * i + 1, 2 * len(sets) + 2, f"probing {one.name}")
        probe = probe_of(config.probe)
        sweeps.append(probes.sweep(acts[-1], probe=probe, controls=config.controls, seed=seed, log_probs=log_probs))
    return acts, sweeps


def _collected(model: Model, data: Statements, config: Config) -> tuple[Activations, np.ndarray | None]:
    """Collect activations and, with controls, log-probabilities, in one pass."""
    layers = config.layers or "all"
    if config.controls:
        return probes.collect_with_log_probs(model, data, layers=layers, position=config.position)
    return probes.collect(model, data, layers=layers, position=config.position), None


def read_all(config: Config, seed: int = 0) -> tuple[Statements, ...]:
    """Return the statements that a configuration names.

    The probe is checked too, before any model is loaded.

    >>> [data.name for data in read_all(Config(("cities", "neg_cities")))]
    ['cities', 'neg_cities']
    """
    probe = probe_of(config.probe)
    if not config.data:
        raise UsageError('No statements: give files or names of generated sets, such as data=("cities",).')
    sets = tuple(statements_of(name, config.group, seed) for name in config.data)
    names = [one.name for one in sets]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UsageError(f'The set "{twice[0]}" is given twice: give each set once, or files of other names.')
    for one in sets:
        check_pairs(one, probe)
    return sets


def probe_of(name: str) -> Any:
    """Return the unfitted probe of a name.

    Raises:
        UsageError: the name is unknown.

    Example:
        >>> probe_of("mass-mean")
        MassMean()
    """
    if name not in PROBES:
        raise UsageError(f'unknown probe "{name}"{nearest(name, PROBES)}: choose one of {", ".join(PROBES)}.')
    return getattr(probes, PROBES[name])()


def statements_of(name: str, group: str | None, seed: int) -> Statements:
    """Return the statements of a file or of a generated set.

    Args:
        name: a file, or a generated set: "capitals", "neg_capitals" (negated), "capitals:3" (3 wordings).
        group: column or regular expression of the entities of a file.
        seed: seed of a generated set.

    Raises:
        MissingInputError: there is no such file and no such set.

    Example:
        >>> statements_of("neg_cities", None, seed=0)
        Statements(neg_cities: 408 statements, 204 true)
    """
    if Path(name).is_file() or name.startswith("hf:"):
        return probes.read_statements(name, group=group)
    base, _, wordings = name.removeprefix("neg_").partition(":")
    if base in probes.GENERATED and (not wordings or wordings.isdecimal()):
        return probes.generate(base, negated=name.startswith("neg_"), templates=int(wordings or 1), seed=seed)
    raise MissingInputError(
        f'There is no file "{name}", and no generated set of that name{nearest(name, probes.GENERATED)} (generated: '
        f"{', '.join(probes.GENERATED)}; neg_NAME denies them, NAME:3 words them in 3 ways)."
    )


def _across(
    acts: Sequence[Activations], probe: Any, seed: int, skipped: list[str]
) -> tuple[Transfer | None, tuple[LeftOut, ...]]:
    """Compute transfer between sets, and accuracies on parts left out.

    A single set is tested from one polarity to the other. Sets, topics and templates are left out one at a time, where
    there are enough of them.
    """
    parts = [part for one in acts for part in (_polarities(one) if len(acts) == 1 else [one])]
    transfer = None
    if len(parts) > 1:
        transfer = _or_skipped(partial(probes.transfer, parts, probe=probe, seed=seed), "transfer", skipped)
    kinds: list[tuple[By, Sequence[Activations]]] = [("set", acts)] if len(acts) > 2 else []
    kinds.extend(("topic", [one]) for one in acts if _several(one.data.topic))
    kinds.extend(("template", [one]) for one in acts if _several(one.data.template))
    results = [
        _or_skipped(
            partial(probes.leave_one_out, some, probe=probe, by=by, seed=seed),
            f"leaving out one {by} of {', '.join(one.data.name for one in some)}",
            skipped,
        )
        for by, some in kinds
    ]
    return transfer, tuple(one for one in results if one is not None)


def _or_skipped(work: Callable[[], Any], what: str, skipped: list[str]) -> Any:
    """Return the result of `work`, or None on a `UsageError`.

    The reason is added to `skipped`: a set too small for one question can still answer the others.
    """
    try:
        return work()
    except UsageError as error:
        skipped.append(f"{what}: {error}")
        return None


def _polarities(acts: Activations) -> list[Activations]:
    """Split a set into its affirmative and its negated rows.

    A set without enough of both is returned alone.
    """
    signs = acts.data.polarity
    if signs is None or min((signs == 1).mean(), (signs == -1).mean()) < ONE_SIDE:
        return [acts]
    parts = []
    for sign, word in ((1, "affirmative"), (-1, "negated")):
        part = acts.take(signs == sign)
        parts.append(replace(part, data=replace(part.data, name=f"{acts.data.name}, {word}")))
    return parts


def _several(values: tuple[str, ...] | None) -> bool:
    return values is not None and len(set(values)) > 1


def _set(data: Statements) -> SetOf:
    entities = len({entity for row in data.groups for entity in row})
    return SetOf(
        name=data.name,
        n=len(data),
        n_true=int(data.labels.sum()),
        entities=entities,
        grouped_by=data.grouped_by,
        polarity_by=data.polarity_by,
        sha256=data.sha256(),
        problems=tuple(map(str, data.problems)),
    )


def _plane(sweep: Sweep, acts: Activations) -> Plane:
    """Project test rows on the probe direction and an orthogonal component.

    It is the first principal component orthogonal to the direction.
    """
    X = acts.at(sweep.best.layer, sweep.best.position).double()
    sides = probes.split(acts.data, sweep.seed)
    direction = torch.from_numpy(sweep.direction)
    length = float(direction.norm()) or 1.0
    unit = direction / length
    known = X[torch.from_numpy(sides.train)]
    mean = known.mean(0)
    rest = known - mean
    along = rest @ unit
    rest = rest - along[:, None] * unit
    _, values, axes = torch.linalg.svd(rest, full_matrices=False)
    new = X[torch.from_numpy(sides.test)] - mean
    across = (new - (new @ unit)[:, None] * unit) @ axes[0]
    whole = float(along.square().sum() + values.square().sum()) or 1.0
    return Plane(
        x=(sweep.predictions.scores / length).astype(np.float32),
        y=across.numpy().astype(np.float32),
        shares=(float(along.square().sum()) / whole, float(values[0] ** 2) / whole),
    )


def _erasures(sweeps: Sequence[Sweep], acts: Sequence[Activations], skipped: list[str]) -> dict[str, ErasureReport]:
    pairs = zip(sweeps, acts, strict=True)
    reports = {s.name: _or_skipped(partial(_erasure, s, a), f"erasure on {s.name}", skipped) for s, a in pairs}
    return {name: report for name, report in reports.items() if report is not None}


def _erasure(sweep: Sweep, acts: Activations) -> ErasureReport:
    sides = probes.split(acts.data, sweep.seed)
    rows = sides.train | sides.test
    part = acts.data.take(rows)
    X = acts.at(sweep.best.layer, sweep.best.position)[torch.from_numpy(rows)]
    return probes.erasure_report(X, part.labels, part.groups, test=sides.test[rows], seed=sweep.seed)


def _intervention(model: Model, sweep: Sweep, acts: Activations, seed: int) -> Intervention:
    """Add the direction to test statements at the chosen layer.

    Half of the statements are true and half false.
    """
    if not len(sweep.direction):
        raise UsageError(f"{sweep.probe} does not have a single direction to add: choose a linear probe.")
    test = np.flatnonzero(probes.split(acts.data, sweep.seed).test)
    labels = acts.data.labels[test]
    rows = np.sort(np.concatenate([test[labels == label][: ASKED // 2] for label in (0, 1)]))
    return probes.intervene(
        model, sweep.direction, acts.data.take(rows), layers=sweep.best.layer, strengths=(-1.0, 1.0), seed=seed
    )


def _save_probes(folder: Path, sweeps: Sequence[Sweep], acts: Sequence[Activations]) -> None:
    for sweep, one in zip(sweeps, acts, strict=True):
        salt = f"v{sweep.seed + 1}"
        name = "".join(c if c.isalnum() or c in "-_" else "-" for c in sweep.name)
        best = sweep.best
        sweep.refit(one).save(folder / name, acts=one, layer=best.layer, position=best.position, split=salt)
