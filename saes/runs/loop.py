"""Training runs in a folder.

A run can be interrupted at any time and continues from the last checkpoint.

The folder gets, in this order, `run.json` (description of the run), `metrics.jsonl`, `checkpoint.safetensors` at
intervals, and at the end the SAE (`cfg.json`, `sae_weights.safetensors`). A resumed run draws the same batches as an
uninterrupted one and ends, on a CPU, with the same bytes.
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
from saes.runs.activations import locate_not_finite
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
"""Names of temporary files that a killed process leaves."""


@dataclass(frozen=True)
class Place:
    """Folder and processes of a run.

    Attributes:
        folder: folder of the run; created if missing.
        resume: whether to continue from the checkpoint in it, or start if there is none. A finished run is loaded.
        processes: processes that share every batch. All must see the same folder; the first one writes.
    """

    folder: str | os.PathLike[str]
    resume: bool = False
    processes: Processes | None = None

    @property
    def writes(self) -> bool:
        """True if this process writes into the folder."""
        return self.processes is None or self.processes.rank == 0

    def locked(self) -> AbstractContextManager[None]:
        """Lock the folder for the writing process.

        Raises `UsageError` if another run has locked it.
        """
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
    """Train in a folder, or continue there, and return the SAE.

    The SAE is also saved.

    Args:
        config: training configuration.
        activations: see `saes.train`.
        place: folder and processes.
        run: device and intervals of checkpoints and log.
        metadata: written into the SAE.
        progress: called with the metrics of every step.

    Raises:
        UsageError: a folder with a run (without `resume`) or with another run, or in use by another process; too
            little disk space; a full disk; errors of `Trainer`.
        DamagedFileError: an altered checkpoint.
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
    """Train like `train`, for a caller that has locked the folder."""
    run, record = run or Run(), open_record(config, activations, place, metadata)
    if record.finished:
        return _load(Path(place.folder))
    with explain_errors(activations):
        trainer = Trainer(config, activations, device=run.device, metadata=metadata, group=place.processes)
    session = Session(trainer, record, activations, place, run, progress)
    with stop_requested() as asked:
        session.go(_agreed(asked, place.processes))
    return session.finish()


class Session:
    """Run in a folder, trained step by step with log and checkpoints.

    Attributes:
        trainer: trainer of the run.
    """

    def __init__(
        self, trainer: Trainer, record: Record, activations: Any, place: Place, run: Run, progress: Progress | None
    ) -> None:
        """Start, or continue from the checkpoint in the folder.

        `record` is the result of `open_record`.
        """
        self.trainer, self._record, self._run, self._progress = trainer, record, run, progress
        self._folder, self._place, self._activations = Path(place.folder), place, activations
        self._watch = Stopwatch()
        _load_checkpoint(trainer, self._folder)
        self._log = Log(writable_folder(self._folder), run.log_every, trainer.config.steps)
        if place.writes:
            _check_disk(trainer, self._folder)
            _clear(self._folder)
            record.save(self._folder)
            self._log.begin(trainer.history)
        if place.processes is not None:
            place.processes.gather(None)  # wait until all have read the checkpoint before the first process replaces it

    def go(self, asked: Callable[[], bool]) -> None:
        """Train all remaining steps and save checkpoints.

        Checkpoints are saved at intervals, at the end and before stopping.
        """
        while self.trainer.step_number < self.trainer.config.steps:
            self.step()
            with explain_errors(self._activations, self._folder):
                stop = asked()  # asks every process, and one may be lost
            if stop or self.due:
                self.save()
            if stop:
                self.stop()

    def step(self) -> None:
        """Train on one batch."""
        with explain_errors(self._activations, self._folder):
            metrics = self.trainer.step()
            if self._place.writes:
                self._log.add(metrics)
            if self._progress is not None:
                self._progress(metrics)

    @property
    def due(self) -> bool:
        """Whether a checkpoint must be saved after this step."""
        step = self.trainer.step_number
        return step == self.trainer.config.steps or step % self._run.checkpoint_every == 0

    def save(self) -> None:
        """Replace the checkpoint."""
        if self._place.writes:
            with explain_errors(self._activations, self._folder):
                checkpoint.save(self._folder, self.trainer.state())

    def stop(self) -> None:
        """Raise `Stopped`, unless every step is done."""
        step, last = self.trainer.step_number, self.trainer.config.steps
        if step < last:
            raise Stopped(f"interrupted at step {step:,} of {last:,}; {self._folder} has its checkpoint")

    def finish(self) -> SAE:
        """Save the SAE and its provenance, and return the SAE."""
        sae = self.trainer.finish()
        if self._place.writes:
            sae.save(self._folder)
            self.close()
        return sae

    def close(self) -> None:
        """Record that the run is finished, with its provenance."""
        names = {"model": "model_name", "weights_sha256": "model_weights_sha256", "dtype": "model_dtype"}
        model = {ours: str(self._record.metadata.get(theirs, "")) for ours, theirs in names.items()}
        done = self._watch.provenance(seed=self.trainer.config.seed, device=str(self.trainer.device), **model)
        self._record.done(asdict(done)).save(self._folder)


@contextmanager
def explain_errors(activations: Any, folder: Path | None = None) -> Iterator[None]:
    """Add explanations to the errors of a run.

    They are the position of values that are not finite, and the checkpoint of a started run.
    """
    try:
        yield
    except InterpError as error:
        checkpoint_hint = "" if folder is None else f" {_resume_hint(folder)}"
        raise type(error)(f"{error}{locate_not_finite(activations, error)}{checkpoint_hint}") from error


class Unsaved:
    """Run in memory with the methods of `Session`; nothing is written."""

    due = False

    def __init__(self, trainer: Trainer, progress: Progress | None = None) -> None:
        self.trainer, self._progress = trainer, progress

    def step(self) -> None:
        """Train on one batch."""
        metrics = self.trainer.step()
        if self._progress is not None:
            self._progress(metrics)

    def save(self) -> None:
        """Do nothing: a run in memory has no checkpoint."""

    def stop(self) -> None:
        """Raise `Stopped`; the training so far is lost."""
        raise Stopped(f"interrupted at step {self.trainer.step_number:,} of {self.trainer.config.steps:,}")

    def finish(self) -> SAE:
        """Return the SAE."""
        return self.trainer.finish()


def open_record(config: Config, activations: Any, place: Place, metadata: dict[str, Any] | None = None) -> Record:
    """Return the record of the run to start or continue.

    Raises `UsageError` for a folder with another run.
    """
    return _new_or_existing(Path(place.folder), Record.of(config, activations, metadata or {}), resume=place.resume)


def _new_or_existing(folder: Path, fresh: Record, *, resume: bool) -> Record:
    """Return `fresh`, or the existing record in the folder.

    An existing record must describe the same run.
    """
    existing = Record.load(folder)
    if existing is None:
        if (folder / checkpoint.NAME).exists():
            raise MissingInputError(f"{folder} has a checkpoint but no run.json: restore it, or choose another folder.")
        return fresh
    if not resume:
        state = "a finished run" if existing.finished else "a run that was stopped"
        raise UsageError(f"{folder} already has {state}: resume it, or choose another folder.")
    existing.check_same(fresh, folder)
    return existing


def _clear(folder: Path) -> None:
    """Remove temporary files of a killed process; `interp.results.write_all` chooses their names."""
    for file in folder.glob(".*"):
        if HALF_WRITTEN.fullmatch(file.name):
            file.unlink(missing_ok=True)


def _load_checkpoint(trainer: Trainer, folder: Path) -> None:
    state = checkpoint.load(folder)
    if state is not None:
        trainer.load_state(*state)


def _agreed(asked: Callable[[], bool], processes: Processes | None) -> Callable[[], bool]:
    """Return a function that says whether any process should stop.

    So all processes stop after the same step when one was asked to.
    """
    return asked if processes is None else lambda: processes.any(asked())


def _load(folder: Path) -> SAE:
    import saes

    return saes.load(folder)


def _check_disk(trainer: Trainer, folder: Path) -> None:
    """Check that there is enough disk space.

    It must fit two checkpoints, while one replaces the other, and the final weights.
    """
    weights = sum(weight.nbytes for weight in trainer.weights.values())
    needed = 2 * 3 * weights + weights  # a checkpoint holds them and Adam's two moments
    check_space(folder, needed, "The run, with its checkpoints,")


def _resume_hint(folder: Path) -> str:
    """Return what a failed run can continue from."""
    if not (folder / checkpoint.NAME).is_file():
        return f"There is no checkpoint in {folder} yet."
    return f"The last checkpoint in {folder} is complete: resume from it."
