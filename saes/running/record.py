"""run.json: what a run is, so that no other is mixed into its folder, and what finished it.

It names the configuration, the activations (by digest, wherever they lie) and the SAE's metadata; a run goes on only
where all three are the same. Rewritten once, at the end, with the provenance.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

from interp.cache.source import open_source
from interp.errors import DamagedFileError, UsageError
from interp.results import write_atomic
from saes.config import Config

NAME = "run.json"
KIND = "interp sae run"


@dataclass(frozen=True)
class Record:
    """A run.

    Attributes:
        sae: the fields of its `Config`.
        data: what identifies the activations; see `interp.cache.source.Source.identity`.
        metadata: of the SAE.
        finished: whether the final weights are in the folder.
        provenance: of the process that finished it; empty before.
    """

    sae: dict[str, Any]
    data: dict[str, Any]
    metadata: dict[str, Any]
    finished: bool = False
    provenance: dict[str, Any] | None = None

    @classmethod
    def of(cls, config: Config, activations: Any, metadata: dict[str, Any]) -> Self:
        """Of a run that has not begun."""
        return cls(
            *(json.loads(json.dumps(part)) for part in (asdict(config), open_source(activations).identity(), metadata))
        )

    def check_same(self, fresh: Record, folder: Path) -> None:
        """`UsageError` with the first difference, unless `fresh` is the run in `folder`."""
        for part in ("sae", "data", "metadata"):
            ours, theirs = getattr(fresh, part), getattr(self, part)
            for key in [*ours, *(key for key in theirs if key not in ours)]:
                if ours.get(key) != theirs.get(key):
                    raise UsageError(
                        f"The run in {folder} was begun with {part}.{key} = {_short(theirs.get(key))}, but this one "
                        f"has {_short(ours.get(key))}: resume with what it was begun with, or choose another folder."
                    )

    def done(self, provenance: dict[str, Any]) -> Record:
        """The record of the finished run."""
        return replace(self, finished=True, provenance=provenance)

    def save(self, folder: Path) -> None:
        """Write it, all at once."""
        write_atomic(folder / NAME, json.dumps({"kind": KIND, "format": 1, **asdict(self)}, indent=1).encode())

    @classmethod
    def load(cls, folder: Path) -> Self | None:
        """The record in `folder`, None if there is no run; `DamagedFileError` if it cannot be read."""
        file = folder / NAME
        if not file.is_file():
            return None
        try:
            document = json.loads(file.read_text(encoding="utf-8"))
            if document.pop("kind") != KIND or document.pop("format") != 1:
                raise ValueError("another kind of file")
            return cls(**document)
        except (OSError, UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            raise DamagedFileError(f"{file} is damaged or not of this version ({error}): restore it.") from error


def _short(value: Any) -> str:
    text = "nothing" if value is None else f'"{value}"' if isinstance(value, str) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
