"""Start of a run from its settings.

It handles config.toml and the activations, and then trains one SAE or a set.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from interp.errors import UsageError
from interp.files import check_same, writable_folder, write_atomic
from saes.autoencoder import SAE
from saes.runs import activations, metrics, settings
from saes.runs.loop import Place, train_locked
from saes.runs.record import NAME as RECORD, Record
from saes.runs.settings import Settings
from saes.sets import train_set
from saes.sets.dictionaries import DictionarySet
from saes.sets.folders import NAME as INDEX
from saes.sets.train_set import Progress as SetProgress


@dataclass(frozen=True, eq=False)
class Outcome:
    """Outcome of a run.

    Attributes:
        trained: the SAE, or the set of them, as saved in the folder.
        metrics: metrics of the last step, by input hook for a set, under "" for one SAE.
        already: whether the run was finished before, so that nothing was done.
    """

    trained: SAE | DictionarySet
    metrics: dict[str, dict[str, float]]
    already: bool


def start(
    chosen: Settings,
    place: Place,
    *,
    harvested: activations.Progress | None = None,
    progress: SetProgress | None = None,
) -> Outcome:
    """Harvest if needed, train, and save everything in the folder.

    Args:
        chosen: the settings.
        place: folder and processes; `place.resume` continues a run.
        harvested: called with the progress of a harvest.
        progress: called with the input hook ("" for one SAE) and the metrics of every step.

    Raises:
        InterpError: see `saes.runs.activations.open_activations` and `saes.runs.loop.train`.
    """
    if place.processes is not None:
        place.processes.check(chosen.sae.batch_size)
        for asked, what in ((chosen.data.stream, "data.stream"), (bool(chosen.data.hooks), "data.hooks")):
            if asked:
                raise UsageError(f"{what} works with one process only.")
    with place.locked():
        return _start(chosen, place, harvested, progress)


def _start(
    chosen: Settings, place: Place, harvested: activations.Progress | None, progress: SetProgress | None
) -> Outcome:
    folder, group = Path(place.folder), place.processes
    renamed = _check_settings(chosen, folder, resume=place.resume)
    already = _finished(folder)
    if group is not None:
        group.gather(None)  # wait until all processes have read the folder
    if place.writes:
        writable_folder(folder)
        if not (folder / settings.NAME).exists():
            write_atomic(folder / settings.NAME, settings.to_toml(chosen).encode())
    try:
        opened, metadata = activations.open_activations(
            chosen.data, chosen.sae, folder, device=chosen.run.device, progress=harvested, group=group, check=renamed
        )
        trained = _trained(chosen, opened, place, metadata, progress)
    except BaseException:
        if place.writes:
            _remove_unused_config(folder)
        raise
    if isinstance(trained, SAE):
        return Outcome(trained, {"": metrics.last(folder)}, already)
    return Outcome(trained, {hook: metrics.last(folder / hook) for hook in trained}, already)


def _trained(
    chosen: Settings, opened: Any, place: Place, metadata: dict[str, Any], progress: SetProgress | None
) -> SAE | DictionarySet:
    """Train one SAE, or a set of them.

    It is a set if the settings have patterns of hooks.
    """
    if chosen.data.hooks:
        hooks = chosen.data.hooks
        return train_set.train_locked(
            chosen.sae, opened, hooks, place, run=chosen.run, metadata=metadata, progress=progress
        )
    report = None if progress is None else partial(progress, "")
    return train_locked(chosen.sae, opened, place, run=chosen.run, metadata=metadata, progress=report)


def _finished(folder: Path) -> bool:
    """Return whether the folder has a finished run.

    It has the final weights of a run, or of every run of a set.
    """
    record = Record.load(folder)
    return (folder / INDEX).exists() if record is None else record.finished


def _check_settings(chosen: Settings, folder: Path, *, resume: bool) -> bool:
    """Check that a run can use this folder.

    Refuses a folder with a run, or with `resume` another run. Returns whether the model has another name.

    [run] may change, and so may the paths of the model and the store, whose contents are compared.
    """
    file = folder / settings.NAME
    if not file.exists():
        return False
    if not resume:
        raise UsageError(f"{folder} already has a run: resume it, or choose another folder.")
    theirs = settings.complete(settings.read(file), str(file))
    check_same(f"The run in {folder}", _fixed(theirs), _fixed(chosen))
    return chosen.data.model != theirs.data.model


def _fixed(chosen: Settings) -> dict[str, Any]:
    data = {name: value for name, value in asdict(chosen.data).items() if name not in ("model", "store")}
    return {"sae": asdict(chosen.sae), "data": data | {"store": bool(chosen.data.store)}}


def _remove_unused_config(folder: Path) -> None:
    """Remove config.toml if neither a harvest nor a training has started."""
    harvest = folder / activations.FOLDER
    records = (folder / RECORD, *folder.glob(f"*/{RECORD}"))
    if not any(file.exists() for file in records) and not (harvest / activations.MANIFEST).exists():
        (folder / settings.NAME).unlink(missing_ok=True)
