"""A training run in a folder: whatever kills it, what was done up to the last checkpoint is there, and it goes on.

The folder gets, in this order, `run.json` (what the run is), `metrics.jsonl`, every so many steps
`checkpoint.safetensors`, and at the end the SAE (`cfg.json`, `sae_weights.safetensors`). A step is never repeated in
part: a run that goes on from a checkpoint draws the same batches, and ends, on a CPU, with the same bytes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interp.errors import InterpError, MissingInputError, UsageError
from interp.files import check_space, locked, writable_folder
from interp.provenance import Stopwatch
from saes.config import Config
from saes.runs import checkpoint
from saes.runs.activations import whereabouts
from saes.runs.metrics import Log
from saes.runs.record import Record
from saes.runs.settings import Run
from saes.runs.stop import Stopped, stop_requested
from saes.training.trainer import Trainer

if TYPE_CHECKING:
    from saes.autoencoder import SAE
    from saes.runs.processes import Processes

Progress = Callable[[dict[str, float]], None]
HALF_WRITTEN = re.compile(r"\..+\.(toml|json|jsonl|safetensors)\.\w{8}")
"""Bytes of disk left free beyond what the run takes."""


@dataclass(frozen=True)
class Place:
    """Where a run is trained.

    Attributes:
        folder: made if missing.
        resume: go on from the checkpoint in it; from the start where there is none. A finished run is loaded.
        processes: that share every batch; all must see the same folder, and the first one writes.
    """

    folder: str | os.PathLike[str]
    resume: bool = False
    processes: Processes | None = None

    @property
    def writes(self) -> bool:
        """Whether this process writes into the folder."""
        return self.processes is None or self.processes.rank == 0

    def locked(self) -> AbstractContextManager[None]:
        """The lock of the folder, which the process that writes holds; `UsageError` if another run holds it."""
        return locked(Path(self.folder)) if self.writes else nullcontext()


def train(
    config: Config,
    activations: Any,
    place: Place,
    *,
    run: Run | None = None,
    metadata: dict[str, Any] | None = None,
    progress: Progress | None = None,
) -> SAE:
    """Train in a folder, or go on there, and return the SAE that is then saved in it.

    Args:
        config: what to train and how.
        activations: see `saes.train`.
        place: the folder, and who works there.
        run: device, and how often to save and log.
        metadata: kept in the SAE.
        progress: called with the metrics of every step.

    Raises:
        UsageError: a folder that holds a run already (without `resume`) or another one, or in which another process
            trains; too little free disk; a disk that fills up; whatever `Trainer` refuses.
        DamagedFileError: a checkpoint that is not what was written.
        Stopped: by Ctrl-C or SIGTERM, after a checkpoint.
    """
    with place.locked():
        return train_locked(config, activations, place, run=run, metadata=metadata, progress=progress)


def train_locked(
    config: Config,
    activations: Any,
    place: Place,
    *,
    run: Run | None = None,
    metadata: dict[str, Any] | None = None,
    progress: Progress | None = None,
) -> SAE:
    """`train` for a caller that has locked the folder."""
    run, record = run or Run(), begun(config, activations, place, metadata)
    if record.finished:
        return _load(Path(place.folder))
    with explained(activations):
        trainer = Trainer(config, activations, device=run.device, metadata=metadata, group=place.processes)
    session = Session(trainer, record, activations, place, run, progress)
    with stop_requested() as asked:
        session.go(_agreed(asked, place.processes))
    return session.finish()


class Session:
    """A run that is going on in a folder: one step at a time, with its log and its checkpoints.

    Attributes:
        trainer: of the run.
    """

    def __init__(
        self, trainer: Trainer, record: Record, activations: Any, place: Place, run: Run, progress: Progress | None
    ) -> None:
        """Begin, or go on from the checkpoint in the folder; `record` is what `begun` returned."""
        self.trainer, self._record, self._run, self._progress = trainer, record, run, progress
        self._folder, self._place, self._activations = Path(place.folder), place, activations
        self._watch = Stopwatch()
        _go_on(trainer, self._folder)
        self._log = Log(writable_folder(self._folder), run.log_every, trainer.config.steps)
        if place.writes:
            _check_disk(trainer, self._folder)
            _clear(self._folder)
            record.save(self._folder)
            self._log.begin(trainer.history)
        if place.processes is not None:
            place.processes.gather(None)  # all have read the checkpoint before the first process replaces it

    def go(self, asked: Callable[[], bool]) -> None:
        """Train every step that is left, with a checkpoint every so often, at the end, and before stopping."""
        while self.trainer.step_number < self.trainer.config.steps:
            self.step()
            with explained(self._activations, self._folder):
                stop = asked()  # of every process: one may be gone
            if stop or self.due:
                self.save()
            if stop:
                self.stop()

    def step(self) -> None:
        """Train on one batch."""
        with explained(self._activations, self._folder):
            metrics = self.trainer.step()
            if self._place.writes:
                self._log.add(metrics)
            if self._progress is not None:
                self._progress(metrics)

    @property
    def due(self) -> bool:
        """Whether a checkpoint is due behind this step."""
        step = self.trainer.step_number
        return step == self.trainer.config.steps or step % self._run.checkpoint_every == 0

    def save(self) -> None:
        """Replace the checkpoint."""
        if self._place.writes:
            with explained(self._activations, self._folder):
                checkpoint.save(self._folder, self.trainer.state())

    def stop(self) -> None:
        """Raise `Stopped`, unless every step is done."""
        step, last = self.trainer.step_number, self.trainer.config.steps
        if step < last:
            raise Stopped(f"interrupted at step {step:,} of {last:,}; {self._folder} holds its checkpoint")

    def finish(self) -> SAE:
        """Write the SAE and what finished it."""
        sae = self.trainer.finish()
        if self._place.writes:
            sae.save(self._folder)
            self.close()
        return sae

    def close(self) -> None:
        """Record that what was trained is in the folder, and what finished it."""
        names = {"model": "model_name", "weights_sha256": "model_weights_sha256", "dtype": "model_dtype"}
        model = {ours: str(self._record.metadata.get(theirs, "")) for ours, theirs in names.items()}
        done = self._watch.provenance(seed=self.trainer.config.seed, device=str(self.trainer.device), **model)
        self._record.done(asdict(done)).save(self._folder)


@contextmanager
def explained(activations: Any, folder: Path | None = None) -> Iterator[None]:
    """Add to an error where in a store bad values are and, of a run that has begun in `folder`, where to go on from."""
    try:
        yield
    except InterpError as error:
        left = "" if folder is None else f" {_kept(folder)}"
        raise type(error)(f"{error}{whereabouts(activations, error)}{left}") from error


class Unsaved:
    """A run in memory: the steps of a `Session`, with nothing written."""

    due = False

    def __init__(self, trainer: Trainer, progress: Progress | None = None) -> None:
        self.trainer, self._progress = trainer, progress

    def step(self) -> None:
        """Train on one batch."""
        metrics = self.trainer.step()
        if self._progress is not None:
            self._progress(metrics)

    def save(self) -> None:
        """Save nothing."""

    def stop(self) -> None:
        """Raise `Stopped`: what was done is lost."""
        raise Stopped(f"interrupted at step {self.trainer.step_number:,} of {self.trainer.config.steps:,}")

    def finish(self) -> SAE:
        """Return the SAE."""
        return self.trainer.finish()


def begun(config: Config, activations: Any, place: Place, metadata: dict[str, Any] | None = None) -> Record:
    """Return the record of the run to begin or go on with in a folder; `UsageError` where it holds another run."""
    return _begin(Path(place.folder), Record.of(config, activations, metadata or {}), resume=place.resume)


def _begin(folder: Path, fresh: Record, *, resume: bool) -> Record:
    """The run to go on with: `fresh`, or the one in the folder, which must be the same."""
    found = Record.load(folder)
    if found is None:
        if (folder / checkpoint.NAME).exists():
            raise MissingInputError(
                f"{folder} holds a checkpoint but no run.json: restore it, or choose another folder."
            )
        return fresh
    if not resume:
        state = "a finished run" if found.finished else "a run that was stopped"
        raise UsageError(f"{folder} holds {state} already: resume it, or choose another folder.")
    found.check_same(fresh, folder)
    return found


def _clear(folder: Path) -> None:
    """Remove what a killed process left half written: see `interp.results.write_all` for the names."""
    for file in folder.glob(".*"):
        if HALF_WRITTEN.fullmatch(file.name):
            file.unlink(missing_ok=True)


def _go_on(trainer: Trainer, folder: Path) -> None:
    state = checkpoint.load(folder)
    if state is not None:
        trainer.load_state(*state)


def _agreed(asked: Callable[[], bool], processes: Processes | None) -> Callable[[], bool]:
    """Whether any process was asked to stop: they must all stop behind the same step."""
    return asked if processes is None else lambda: processes.any(asked())


def _load(folder: Path) -> SAE:
    import saes

    return saes.load(folder)


def _check_disk(trainer: Trainer, folder: Path) -> None:
    """Two checkpoints are on disk while one replaces the other, then one and the final weights."""
    weights = sum(weight.nbytes for weight in trainer.weights.values())
    needed = 2 * 3 * weights + weights  # a checkpoint holds them and Adam's two moments
    check_space(folder, needed, "The run, with its checkpoints,")


def _kept(folder: Path) -> str:
    """What a run that failed can go on from."""
    if not (folder / checkpoint.NAME).is_file():
        return f"There is no checkpoint in {folder} yet."
    return f"The last checkpoint in {folder} is whole: resume from it."
