"""The command line over a fake analysis, run in this process."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from analyses.explain import study
from interp import model
from interp.cli import console, demo
from interp.cli.main import main
from tests.cli.fakes import Analysis


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Ended]


@pytest.fixture(autouse=True)
def no_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    """Print no lines of progress: on a busy machine they would stand among the errors that tests compare."""
    monkeypatch.setattr(console, "EVERY", math.inf)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """`run("doctor", "--json")` is `interp doctor --json`."""

    def ended(*words: str) -> Ended:
        capsys.readouterr()
        code = main(list(words))
        captured = capsys.readouterr()
        return Ended(code, captured.out, captured.err)

    return ended


@pytest.fixture
def analysis(monkeypatch: pytest.MonkeyPatch) -> Analysis:
    """What `interp explain` finds under the names of the model and the analysis."""
    fake = Analysis()
    monkeypatch.setattr(model, "load", fake.load)
    monkeypatch.setattr(study, "run", fake.run)
    monkeypatch.setattr(demo, "STEPS", demo.STEPS[:1])
    return fake
