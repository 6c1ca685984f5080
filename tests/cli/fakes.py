"""An analysis and a model that take no time, put where the command line imports the real ones from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from analyses.explain import Config
from analyses.study import Study
from interp import report
from interp.provenance import Stopwatch

TOTAL = 8.76


@dataclass(frozen=True, eq=False)
class Finding(Study):
    """A result that saves, summarises itself and draws a page."""

    prompt: str
    total: float
    values: np.ndarray
    provenance: Any

    def finding(self) -> str:
        """What a person reads on the terminal."""
        return f"total {self.total}"

    def extra_files(self) -> dict[str, bytes]:
        """Stands for the graph of the path tree."""
        return {"graph.json": b"{}"}

    def to_dict(self) -> dict[str, Any]:
        """What a program reads."""
        return {"total": self.total, "prompt": self.prompt}

    def page(self) -> report.Page:
        """The smallest page there is."""
        return report.Page("A finding", self.finding(), (), (), (), self.provenance)


class Analysis:
    """Stands for `interp.model.load` and `analyses.explain.run`; keeps what it was asked, may fail on demand."""

    def __init__(self) -> None:
        self.asked: dict[str, Any] = {}
        self.failure: BaseException | None = None
        self.during: Callable[[], None] | None = None

    def load(self, name: str, *, dtype: str, device: str) -> str:
        """In place of `interp.model.load`."""
        self.asked |= {"model": name, "dtype": dtype, "device": device}
        return name

    def run(self, model: str, config: Config, *, command: str, seed: int, progress: Any) -> Finding:
        """In place of `analyses.explain.run`."""
        self.asked |= {"config": config, "command": command, "seed": seed, "progress": progress}
        if self.during is not None:
            self.during()
        if self.failure is not None:
            raise self.failure
        record = Stopwatch().provenance(command=command, seed=seed, model=model)
        return Finding(prompt=config.prompt, total=TOTAL, values=np.arange(3.0), provenance=record)
