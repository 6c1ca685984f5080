"""The page of a training run: its curves, updated while it runs."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from interp.errors import InterpError

NAME = "training.html"
EVERY = 30.0
"""Seconds between two drawings; the first comes after as many."""


@dataclass
class TrainingPage:
    """Writes `training.html` into the folder of a run.

    A page that cannot be written does not stop the training.
    """

    folder: Path
    settings: Any
    drawn: float = field(default_factory=time.monotonic)

    def refresh(self) -> None:
        """Draw the page again if the last drawing is `EVERY` seconds old."""
        if time.monotonic() - self.drawn >= EVERY:
            self.write()

    def write(self) -> None:
        """Draw the page of the training so far.

        It is listed in the index of the folder above.

        It shows steps up to the last logged one, once two are logged.
        """
        from analyses.dictionary.training import page
        from interp import report
        from interp.provenance import Stopwatch

        self.drawn = time.monotonic()
        histories = self._histories()
        if not histories:
            return
        with suppress(InterpError):
            provenance = Stopwatch().provenance(seed=self.settings.sae.seed, model=self.settings.data.model or "")
            report.write(page(histories, self.settings.sae.steps, provenance), self.folder, NAME)
            home = report.home(self.folder)
            if home != self.folder:  # the folder of a run has no index of its own
                report.write_index(home)

    def _histories(self) -> dict[str, Any]:
        """Return the logged metrics of the run, or of each dictionary of a set."""
        from saes.runs.metrics import read

        places = {"": self.folder} | {place.name: place for place in sorted(self.folder.iterdir()) if place.is_dir()}
        result = {name: read(place) for name, place in places.items()}
        return {name: history for name, history in result.items() if len(history.get("step", ())) > 1}
