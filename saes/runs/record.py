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
from interp.errors import DamagedFileError
from interp.fields import read_fields
from interp.files import check_same, read_json, write_atomic
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
        check_same(f"The run in {folder}", self._compared(), fresh._compared())

    def _compared(self) -> dict[str, Any]:
        """What must be the same; weights say what a model is, wherever it lies, so that its name does not count."""
        data, metadata = dict(self.data), dict(self.metadata)
        if data.get("weights_sha256"):
            data.pop("model", None)
        if metadata.get("model_weights_sha256"):
            metadata.pop("model_name", None)
        return {"sae": self.sae, "data": data, "metadata": metadata}

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
        document = read_json(file)
        if not isinstance(document, dict) or document.pop("kind", None) != KIND or document.pop("format", None) != 1:
            raise DamagedFileError(f"{file} is not the record of a run of this version: restore it.")
        return read_fields(cls, document, file)
