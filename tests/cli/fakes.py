"""An analysis and a model without torch, put where the command line looks for the real ones by name."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from analyses.explain import Config
from interp import report, results
from interp.provenance import Stopwatch
from interp.results import Result

TOTAL = 8.76


@dataclass(frozen=True, eq=False)
class Finding(Result):
    """A result that saves, summarises itself and draws a page."""

    prompt: str
    total: float
    values: np.ndarray
    provenance: Any

    @property
    def tree(self) -> None:
        """Stands for the path tree, which only `neuronpedia_graph` looks at."""

    def summary(self) -> str:
        """What a person reads on the terminal."""
        return f"total {self.total}"

    def to_dict(self) -> dict[str, Any]:
        """What a program reads."""
        return {"total": self.total, "prompt": self.prompt}

    def page(self) -> report.Page:
        """The smallest page there is."""
        return report.Page("A finding", self.summary(), (), (), (), self.provenance)


class Analysis:
    """Stands for `interp.model` and `analyses.explain` at once; keeps what it was asked, may fail on demand."""

    def __init__(self) -> None:
        self.asked: dict[str, Any] = {}
        self.failure: BaseException | None = None
        self.Config = Config

    def use(self, name: str) -> Any:
        """In place of `interp.cli.lazy.use`."""
        known = {
            "interp.model": SimpleNamespace(load=self.load),
            "interp.attribution": SimpleNamespace(neuronpedia_graph=lambda tree, *, slug, scan: {"nodes": []}),
            "interp.results": results,
            "analyses.explain": self,
        }
        return known[name]

    def load(self, name: str, *, dtype: str, device: str) -> str:
        """In place of `interp.load`."""
        self.asked |= {"model": name, "dtype": dtype, "device": device}
        return name

    def run(self, model: str, config: Config, *, command: str, seed: int, progress: Any) -> Finding:
        """In place of `analyses.explain.run`."""
        self.asked |= {"config": config, "command": command, "seed": seed, "progress": progress}
        if self.failure is not None:
            raise self.failure
        record = Stopwatch().provenance(command=command, seed=seed, model=model)
        return Finding(prompt=config.prompt, total=TOTAL, values=np.arange(3.0), provenance=record)
