"""Provenance of a result: model, seed, versions, commit and the command that reproduces it."""

from __future__ import annotations

import importlib.metadata
import platform
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

PACKAGES = (
    "interp",
    "torch",
    "transformers",
    "transformer-lens",
    "sae-lens",
    "numpy",
    "einops",
    "plotly",
    "safetensors",
)
"""The distributions whose versions are recorded; those not installed are left out."""


@dataclass(frozen=True)
class Provenance:
    """Record of what is needed to reproduce a result.

    In plain strings and numbers.

    `model`, `weights_sha256`, `tokenizer`, `dtype` and `device` are empty where no model took part, and `weights`
    (their kind, such as 4-bit) where the model's name says enough; `seed` is None where nothing was drawn at random;
    `dirty` is None outside a git checkout; `duration` is in seconds.
    """

    command: str
    started: str
    duration: float
    versions: dict[str, str] = field(default_factory=dict)
    model: str = ""
    weights_sha256: str = ""
    weights: str = ""
    tokenizer: str = ""
    dtype: str = ""
    device: str = ""
    seed: int | None = None
    commit: str = ""
    dirty: bool | None = None
    host: str = ""


@dataclass(frozen=True)
class Stopwatch:
    """Start time of a run, of which `provenance` makes the record.

    >>> Stopwatch().provenance(command="interp doctor", seed=0).seed
    0
    """

    started: datetime = field(default_factory=lambda: datetime.now(UTC))
    clock: float = field(default_factory=time.perf_counter)

    def provenance(self, *, command: str | None = None, seed: int | None = None, **model: str) -> Provenance:
        """Return the record of this run.

        Args:
            command: that of this process by default.
            seed: of the random draws, None without any.
            **model: the fields of `Model.identity()`.
        """
        commit, dirty = _git_state()
        return Provenance(
            command=_command() if command is None else command,
            started=self.started.isoformat(timespec="seconds"),
            duration=round(time.perf_counter() - self.clock, 3),
            versions=_versions(),
            seed=seed,
            commit=commit,
            dirty=dirty,
            host=f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
            **model,
        )


def _command() -> str:
    name = Path(sys.argv[0]).name
    if name in {"__main__.py", "-c", "-m", ""}:
        name = "python -m interp" if name == "__main__.py" else "python"
    return shlex.join([*name.split(), *sys.argv[1:]])


def _versions() -> dict[str, str]:
    result = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            result[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return result


def _git_state() -> tuple[str, bool | None]:
    """Return (commit, dirty flag) of the git checkout; ("", None) for an installed package."""
    root = Path(__file__).resolve().parents[1]
    if not (root / ".git").exists():
        return "", None
    try:
        commit = _git(root, "rev-parse", "HEAD")
        return commit, bool(_git(root, "status", "--porcelain"))
    except (OSError, subprocess.SubprocessError):
        return "", None


def _git(root: Path, *arguments: str) -> str:
    run = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True, timeout=10)
    return run.stdout.strip()
